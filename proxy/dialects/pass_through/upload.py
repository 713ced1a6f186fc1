"""A form with files, kept as the bytes that it is: in memory up to a limit, then in a file.

Of its fields only `model` and `stream` are read. Where the upstream knows the model by another
name, that one value is replaced on the way; all other bytes are the client's.
"""

import asyncio
import logging
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from proxy.errors import BadRequest
from proxy.providers.base import Usage
from proxy.providers.upstream import StreamedBody
from proxy.schemas.completions import MODEL_CHARACTERS, MODEL_RULE, check_model, wrong

READ_BYTES = 256 * 1024
"""How much of a form is sent on at once."""

READ_FIELDS = frozenset({b"model", b"stream"})

# It warns of every broken form, with what stands there; the client is told.
logging.getLogger("python_multipart").setLevel(logging.ERROR)

NO_FORM = "The body is not a whole multipart/form-data form; send it again"


class Upload:
    """A form that has come whole; `close` it in the end.

    `model` is None where the form names none.
    """

    def __init__(self, content_type: str, *, memory_bytes: int, directory: Path | None) -> None:
        media_type, options = parse_options_header(content_type)
        self._boundary = options.get(b"boundary", b"")
        if media_type != b"multipart/form-data" or not self._boundary:
            raise BadRequest("Send the form as multipart/form-data with a boundary")
        self.model: str | None = None
        self.wants_stream = False
        self._content_type = content_type
        self._memory_bytes = memory_bytes
        # Without a name, and gone with the process.
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            memory_bytes, dir=None if directory is None else str(directory)
        )
        self._lock = threading.Lock()
        self._size = 0
        self._model_at = (0, 0)
        """Where the model's name begins and ends."""

    async def read(self, body: AsyncIterator[bytes]) -> "Upload":
        """Take a form as it comes; what is none is let go of at once.

        Raises:
            BadRequest: it is none, or its fields cannot be told apart.
        """
        try:
            await self._take(await self._keep(body))
        except BaseException:
            self.close()
            raise
        return self

    async def _keep(self, body: AsyncIterator[bytes]) -> "_Fields":
        fields = _Fields(self._boundary)
        async for data in body:
            fields.feed(data)
            self._size += len(data)
            if self._size <= self._memory_bytes:
                self._file.write(data)
            else:
                await asyncio.to_thread(self._file.write, data)
        fields.end()
        return fields

    async def _take(self, fields: "_Fields") -> None:
        found = fields.found
        self.wants_stream = found.get(b"stream", (0, b""))[1].strip().lower() in (b"true", b"1")
        if b"model" not in found:
            # Where a part that names one can go: before the first boundary.
            first = await self._part(0, 4)
            self._model_at = 0, len(first) - len(first.lstrip())
            return
        begin, value = found[b"model"]
        self._model_at = begin, begin + len(value)
        if await self._part(begin - 4, begin + len(value)) != b"\r\n\r\n" + value:
            raise BadRequest(NO_FORM)
        try:
            self.model = value.decode()
        except UnicodeDecodeError:
            raise wrong("model", MODEL_RULE) from None
        if not self.model.isprintable():
            raise wrong("model", MODEL_RULE)
        check_model(self.model)

    # On its way

    def body_for(self, model: str) -> StreamedBody:
        """Return the form with this model; an empty name leaves it to the upstream."""
        name = model.encode()
        if model == (self.model or ""):
            return StreamedBody(self._chunks(0, self._size), self._size, self._content_type)
        begin, end = self._model_at
        if self.model is None:
            name = b'--%b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n' % (
                self._boundary,
                name,
            )
        length = self._size - (end - begin) + len(name)
        return StreamedBody(self._spliced(begin, name, end), length, self._content_type)

    async def _spliced(self, begin: int, middle: bytes, end: int) -> AsyncIterator[bytes]:
        async for data in self._chunks(0, begin):
            yield data
        yield middle
        async for data in self._chunks(end, self._size):
            yield data

    async def _chunks(self, begin: int, end: int) -> AsyncIterator[bytes]:
        while begin < end and (data := await self._part(begin, min(end, begin + READ_BYTES))):
            begin += len(data)
            yield data

    async def _part(self, begin: int, end: int) -> bytes:
        if self._size <= self._memory_bytes:
            return self._read(begin, end)
        return await asyncio.to_thread(self._read, begin, end)

    def _read(self, begin: int, end: int) -> bytes:
        # A route that is given up may still be reading when the next one begins.
        with self._lock:
            self._file.seek(max(begin, 0))
            return self._file.read(end - begin)

    def estimate(self) -> Usage | None:
        """Return nothing: what a file costs, only the upstream can tell."""
        return None

    def close(self) -> None:
        """Let go of the form."""
        with self._lock:
            self._file.close()


class _Fields:
    """Finds the small fields of a form: where the value of each begins, and what it is."""

    def __init__(self, boundary: bytes) -> None:
        self.found: dict[bytes, tuple[int, bytes]] = {}
        self._at = 0
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value = b"", b""
        self._begins_at = 0
        self._name = b""
        self._data = b""
        self._is_whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_began,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ended,
                "on_headers_finished": self._headers_ended,
                "on_part_data": self._part_data,
                "on_part_end": self._part_ended,
                "on_end": self._ended,
            },
        )

    def feed(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except (FormParserError, ValueError):
            raise BadRequest(NO_FORM) from None
        self._at += len(data)

    def end(self) -> None:
        if not self._is_whole:
            raise BadRequest(NO_FORM)

    def _part_began(self) -> None:
        self._headers.clear()
        self._data = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        # After the last one come two line ends, then what the part holds.
        self._begins_at = self._at + end + 4

    def _header_ended(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _headers_ended(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise BadRequest("Every part of the form needs a name in its Content-Disposition")
        self._name = options[b"name"] if options[b"name"] in READ_FIELDS else b""
        if self._name in self.found:
            raise BadRequest(f"{self._name.decode()}: send it once", param=self._name.decode())

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name:
            self._data += data[start:end]
            if len(self._data) > 4 * MODEL_CHARACTERS:
                raise wrong(self._name.decode(), MODEL_RULE)

    def _part_ended(self) -> None:
        if self._name:
            self.found[self._name] = (self._begins_at, self._data)

    def _ended(self) -> None:
        self._is_whole = True
