"""An upstream's completion passed on as its own bytes, a stream as whole frames."""

from functools import partial

from proxy.dialects.event_frames import FRAME_ENDS, TAIL_BYTES, FrameSieve
from proxy.errors import ReplyTruncated, UpstreamError, UpstreamProtocolError
from proxy.providers.base import Usage
from proxy.providers.openai import CHAT_COMPLETIONS, OpenAIProvider, RawResponse
from proxy.providers.reply_reader import ReplyReader, usual_body
from proxy.schemas.completions import BOM

BODY_BYTES = 64 * 1024 * 1024
"""The largest answer that is not a stream."""


class Relayed:
    """An answer whose first word is here.

    `is_stream` says what it is, whatever its label says; `first` is the whole body of one that
    is not a stream. `usage` and about how many `text_bytes` there were are known once it is
    closed.
    """

    _sieve: FrameSieve

    def __init__(self, provider: OpenAIProvider, model: str, response: RawResponse) -> None:
        self.provider = provider.name
        self.model = model
        self.response = response
        self.is_stream = False
        self.first = b""
        self.usage: Usage | None = None
        self.text_bytes = 0
        self.new_reader = partial(provider.reader, model)
        self._is_complete: bool | None = None

    @classmethod
    async def open(
        cls, provider: OpenAIProvider, body: bytes, model: str, path: str = CHAT_COMPLETIONS
    ) -> "Relayed":
        """Ask, and wait for the first word of a stream or for the whole body.

        Raises:
            UpstreamError: it refused, broke, or said before its first word that it failed.
        """
        response = await provider.open(body, model=model, path=path)
        self = cls(provider, model, response)
        try:
            await self._read_beginning()
        except BaseException:
            response.close()
            raise
        return self

    async def _read_beginning(self) -> None:
        data = await self.response.read()
        while not (start := data.removeprefix(BOM).lstrip()[:1]):
            # Empty lines say that a provider lives, in front of either.
            if not (data := await self.response.read()):
                raise _too_short()
        if start in b"{[":
            await self._read_whole(data)
        else:
            await self._read_until_begun(data)

    async def _read_whole(self, data: bytes) -> None:
        parts = [data]
        size = len(data)
        while not self.response.has_ended and (data := await self.response.read()):
            parts.append(data)
            size += len(data)
            _check_size(size)
        self.first = b"".join(parts)
        self._is_complete = True
        self.usage = usual_body(self.first)
        if self.usage is None:
            reader = self.new_reader()
            delta = reader.feed(self.first) or reader.end()
            if reader.error is not None and not reader.has_begun:
                raise reader.error
            self.usage = delta and delta.usage
            self.text_bytes = 0 if self.usage else len(self.first)

    async def _read_until_begun(self, data: bytes) -> None:
        self.is_stream = True
        self._sieve = FrameSieve(self.new_reader)
        reader = self.new_reader()
        parts: list[bytes] = []
        size = 0
        while True:
            begun = self._feed_until_begun(reader, data)
            parts.append(self._sieve.feed(data))
            size += len(data)
            _check_size(size)
            if begun or not data or reader.done or reader.error is not None:
                break
            data = await self.response.read()
        if reader.error is not None and not reader.has_begun:
            raise reader.error
        self.first = b"".join(parts)
        if not begun and not (reader.done and self.first.strip()):
            raise _too_short()

    def _feed_until_begun(self, reader: ReplyReader, data: bytes) -> bool:
        """Whether the reply's first word has come; what follows it is not read here."""
        at, begun = 0, False
        while not begun and not reader.done and reader.error is None:
            end = data.find(b"\n\n", at) + 2
            piece = data[at : end if end >= 2 else len(data)]
            at += len(piece)
            delta = reader.feed(piece) if piece else reader.end()
            if delta is not None:
                self.usage = delta.usage or self.usage
                begun = reader.has_begun or bool(delta.finish_reason)
            if at >= len(data):
                break
        return begun

    async def read(self) -> bytes:
        """Return the stream's next whole frames, those together that arrived together.

        `b""` at the end.

        Raises:
            UpstreamError: it broke, said that it failed, or ended early; all whole frames
                before that were given.
        """
        if self.first:
            block, self.first = self.first, b""
            return block
        sieve = self._sieve
        while not sieve.is_over:
            try:
                data = await self.response.read()
            except UpstreamError:
                # An answer that said how it ended is whole, however its connection ends.
                if not self._has_ended():
                    raise
                break
            if block := sieve.feed(data):
                return block
            if not data:
                break
        if sieve.error is not None:
            raise sieve.error
        if not self._has_ended():
            raise ReplyTruncated("The provider ended the reply early")
        return b""

    def _has_ended(self) -> bool:
        """Learn from the end of the stream what was used, and whether it is the end."""
        if self._is_complete is None:
            end, self.text_bytes = self._sieve.end(), self._sieve.text_bytes
            if len(end) == TAIL_BYTES:
                # It begins within a frame.
                end = FRAME_ENDS.split(end, maxsplit=1)[-1]
            reader = self.new_reader()
            last = reader.feed(end)
            rest = reader.end()
            self.usage = (last and last.usage) or (rest and rest.usage) or None
            self._is_complete = self._sieve.is_done or reader.finish_reason is not None
        return self._is_complete

    @property
    def said_done(self) -> bool:
        """Whether the stream ended with the upstream's own `[DONE]`."""
        return self._sieve.is_done

    def close(self) -> None:
        """Close the connection unless the answer was read to its end."""
        self.response.close()
        if self.is_stream:
            self._has_ended()


def _check_size(size: int) -> None:
    if size > BODY_BYTES:
        raise UpstreamProtocolError("The model's provider sent too long an answer")


def _too_short() -> ReplyTruncated:
    return ReplyTruncated("The provider ended the reply before it began")
