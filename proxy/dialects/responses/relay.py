"""A response that nobody keeps, from an upstream that speaks Responses: its own bytes, passed on.

Frames are looked at until the first word, where another route may still answer, and at the end.
"""

import asyncio
import re

import orjson

from proxy.dialects.event_frames import WholeFrames
from proxy.dialects.responses.input import Unseal
from proxy.dialects.responses.numbering import frame, keepalive
from proxy.documents.base import Raw
from proxy.errors import ProxyError, ReplyTruncated, UpstreamError, UpstreamProtocolError
from proxy.providers.base import Usage
from proxy.providers.openai import RESPONSES, OpenAIProvider, RawResponse
from proxy.providers.responses_reader import ENDS, usage_in
from proxy.providers.upstream import JSON_BODY_BYTES
from proxy.sse import DONE, SSEDecoder

_ENDS = re.compile(rb'response\.(?:completed|incomplete|failed|cancelled)"|"error"')
"""What a frame has that may be the last one; a text may have it, too."""

_NUMBERS = re.compile(rb'"sequence_number": ?(\d{1,15})')

_BEGINS = frozenset({"response.created", "response.queued", "response.in_progress"})


class RelayedResponse:
    """An answer whose first word is here; `first` is the whole body of one that is no stream.

    `usage` is known once it was read to its end.
    """

    def __init__(self, provider: OpenAIProvider, model: str, response: RawResponse) -> None:
        self.provider = provider.name
        self.model = model
        self.response = response
        self.is_stream = False
        self.first = b""
        self.usage: Usage | None = None
        self.deltas = 0
        """How many pieces of text came: about as many tokens."""
        self.status = ""
        """How the response ended; empty until then."""
        self.last: Raw = {}
        """The response as its last event has it."""
        self.said_done = False
        self._begun: Raw = {}
        self._last_block = b""
        self._faults = response.faults
        self._frames = WholeFrames()

    @classmethod
    async def open(
        cls,
        provider: OpenAIProvider,
        body: bytes,
        model: str,
        *,
        open_seconds: float | None = None,
    ) -> "RelayedResponse":
        """Ask, and wait for the first word of a stream or for the whole body.

        A stream that has begun is not waited for longer than `open_seconds`: a client may take
        one that says nothing at all for broken.

        Raises:
            UpstreamError: it refused, broke, or said before its first word that it failed.
        """
        response = await provider.open(body, model=model, path=RESPONSES)
        self = cls(provider, model, response)
        try:
            await self._read_beginning(open_seconds)
        except BaseException:
            response.close()
            raise
        return self

    async def _read_beginning(self, open_seconds: float | None) -> None:
        parts: list[bytes] = []
        size = 0
        decoder = SSEDecoder()
        while data := await self._read_soon(open_seconds if self._begun else None):
            size += len(data)
            if size > JSON_BODY_BYTES:
                raise UpstreamProtocolError("The model's provider sent too long an answer")
            if not parts:
                data = data.lstrip()
                self.is_stream = data[:1] not in (b"{", b"[", b"<")
            parts.append(data)
            if self.is_stream and self._has_begun(decoder, data):
                break
        whole = b"".join(parts)
        if not self.is_stream:
            self.last = self._body(whole)
            self.first = whole
        else:
            self.first = self._looked_at(self._frames.feed(whole))

    async def _read_soon(self, seconds: float | None) -> bytes:
        """Return what comes within some seconds; empty where nothing does, or at the end."""
        if seconds is None:
            return await self.response.read()
        try:
            async with asyncio.timeout(seconds):
                return await self.response.read()
        except TimeoutError:
            return b""

    def _has_begun(self, decoder: SSEDecoder, data: bytes) -> bool:
        """Whether more came than that the response has begun.

        Raises:
            UpstreamError: it says that it failed.
        """
        for name, payload in decoder.feed_events(data):
            event = _object(payload)
            kind = event.get("type") or name
            if kind == "error":
                raise self._faults.in_band(event.get("error") or event, self.model)
            if kind == "response.failed":
                response = event.get("response") or {}
                raise self._faults.in_band(response.get("error") or {}, self.model)
            if kind not in _BEGINS:
                return True
            self._begun = event.get("response") or self._begun
        return False

    def _body(self, body: bytes) -> Raw:
        found = _object(body)
        if found.get("object") != "response" and "output" not in found:
            if error := found.get("error"):
                raise self._faults.in_band(error, self.model)
            raise self._faults.unreadable() if body else ReplyTruncated()
        self.usage = usage_in(found)
        self.status = str(found.get("status") or "completed")
        return found

    async def read(self) -> bytes:
        """Return the stream's next whole frames; `b""` at the end.

        Raises:
            UpstreamError: it broke or ended early; all whole frames before that were given.
        """
        block, self.first = self.first, b""
        while not block and not self.said_done:
            try:
                data = await self.response.read()
            except UpstreamError:
                if not self.status:
                    raise
                break
            block = self._looked_at(self._frames.feed(data) if data else self._frames.rest())
            if not data:
                break
        if not block and not self.status:
            raise ReplyTruncated("The provider ended the reply early")
        return block

    def _looked_at(self, block: bytes) -> bytes:
        self.deltas += block.count(b'.delta"')
        self._last_block = block or self._last_block
        if block[-14:] == DONE:
            self.said_done = True
        if _ENDS.search(block):
            for name, payload in SSEDecoder().feed_events(block):
                self._look(name, payload)
        return block

    def _look(self, name: str, payload: bytes) -> None:
        if not _ENDS.search(payload):
            return
        event = _object(payload)
        kind = str(event.get("type") or name)
        if kind == "error":
            self.status = "failed"
        elif kind.removeprefix("response.") in ENDS:
            self.status = kind.removeprefix("response.")
            found = event.get("response")
            self.last = found if isinstance(found, dict) else {}
            self.usage = usage_in(self.last)

    def close(self) -> None:
        """Close the connection unless the answer was read to its end."""
        self.response.close()

    def waiting(self) -> bytes:
        """Return an event that says nothing, while the upstream does not."""
        return keepalive(self._number())

    def _number(self) -> int:
        """Return the last event's number that is known."""
        numbers = _NUMBERS.findall(self._last_block)
        return int(numbers[-1]) if numbers else self.deltas + 1

    def failure(self, error: ProxyError) -> bytes:
        """Return the end of a stream that broke: an error, and the response that failed."""
        number = self._number() + 1
        about = {"code": error.code or error.type, "message": error.detail}
        failed = {**self._begun, "status": "failed", "error": about}
        end = frame("error", {**about, "param": error.param, "sequence_number": number})
        end += frame("response.failed", {"response": failed, "sequence_number": number + 1})
        return end + DONE

    async def whole(self) -> bytes:
        """Return the response of a stream that a client did not want as one.

        Raises:
            UpstreamError: it broke or ended early.
        """
        while self.is_stream and await self.read():
            pass
        return orjson.dumps(self.last)

    def as_events(self) -> bytes:
        """Return a body that a client wanted as a stream: each item at once, then the end."""
        begun = {**self.last, "status": "in_progress", "output": [], "usage": None}
        events: list[tuple[str, Raw]] = [
            ("response.created", {"response": begun}),
            ("response.in_progress", {"response": begun}),
        ]
        for index, item in enumerate(self.last.get("output") or ()):
            for what in ("added", "done"):
                event = {"output_index": index, "item": item}
                events.append((f"response.output_item.{what}", event))
        events.append((f"response.{self.status}", {"response": self.last}))
        return b"".join(
            frame(type_, {**fields, "sequence_number": number})
            for number, (type_, fields) in enumerate(events)
        )


def can_pass(body: Raw, unseal: Unseal) -> bool:
    """Whether a call says all by itself: no id of ours in its input, nothing that we encrypted."""
    given = body.get("input")
    for item in given if isinstance(given, list) else ():
        kind = item.get("type") or ("message" if "role" in item else "item_reference")
        if kind == "item_reference":
            return False
        sealed = item.get("encrypted_content")
        if isinstance(sealed, str) and unseal(sealed) is not None:
            return False
    return True


def _object(payload: bytes) -> Raw:
    try:
        found = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
