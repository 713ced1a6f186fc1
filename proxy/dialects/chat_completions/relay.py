"""An upstream's answer passed on as its own bytes, only whole frames at a time.

Nothing is decoded to be encoded again: the bytes of a frame leave as they came. A frame that
is cut by the network waits for its rest, so that an upstream which breaks in the middle of
one leaves the client with whole frames and an error it can read.
"""

import re
from typing import Any

from proxy.errors import ReplyTruncated, UpstreamError, UpstreamProtocolError
from proxy.providers.base import Usage
from proxy.providers.faults import Faults
from proxy.providers.openai import ChunkReader, OpenAIProvider, RawResponse, usage_of
from proxy.sse import JSONFrames

HELD_BYTES = 1024 * 1024
"""A frame longer than this is passed on in pieces."""

BODY_BYTES = 64 * 1024 * 1024
"""The largest answer that is not a stream."""

READ_BYTES = 8 * 1024
"""How much of a stream's end is read for its usage and finish reason."""

_TEXTS = re.compile(rb'"(?:content|reasoning_content|reasoning)": ?"([^"\\]*(?:\\.[^"\\]*)*)"')

_FRAME_ENDS = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")


class WholeFrames:
    """Gives bytes on up to the end of the last whole frame and keeps what follows it."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The whole frames that these bytes complete."""
        if self._held:
            data = self._held + data
            self._held = b""
        if data[-2:] == b"\n\n" or data[-4:] == b"\r\n\r\n":
            return data
        found = (
            data.rfind(separator) + len(separator)
            for separator in (b"\n\n", b"\r\n\r\n")
            if separator in data
        )
        end = max(found, default=0)
        if len(data) - end > HELD_BYTES:
            return data
        self._held = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        """What is left at the end."""
        rest, self._held = self._held, b""
        return rest


class Tail:
    """Reads along with a passing stream and parses only its end.

    Usage and the finish reason come last; what lies before costs a count of its texts' bytes,
    for an upstream that does not report usage.
    """

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._text_bytes = 0

    def feed(self, block: bytes) -> None:
        """Take the next whole frames."""
        self._kept.append(block)
        self._kept_bytes += len(block)
        if self._kept_bytes > READ_BYTES:
            last = self._kept.pop()
            self._count()
            self._kept, self._kept_bytes = [last], len(last)

    def _count(self) -> None:
        for block in self._kept:
            self._text_bytes += sum(map(len, _TEXTS.findall(block)))

    def end(self) -> tuple[bytes, int]:
        """The last whole frames, and about how many bytes of text there were in all."""
        self._count()
        end = b"".join(self._kept)
        if len(end) > READ_BYTES:
            end = _FRAME_ENDS.split(end[-READ_BYTES:], maxsplit=1)[-1]
        return end, self._text_bytes


class Relayed:
    """An answer whose first byte is here.

    `first` is the whole body of one that is not a stream. `usage` and about how many
    `text_bytes` there were are known once it is closed.
    """

    def __init__(self, provider: str, model: str, response: RawResponse) -> None:
        self.provider = provider
        self.model = model
        self.response = response
        self.first = b""
        self.usage: Usage | None = None
        self.text_bytes = 0
        self._frames = WholeFrames()
        self._tail = Tail()
        self._error: UpstreamError | None = None
        self._is_complete: bool | None = None

    @classmethod
    async def open(cls, provider: OpenAIProvider, body: bytes, model: str) -> "Relayed":
        """Ask, and wait for the first frame or for the whole body.

        Raises:
            UpstreamError: it refused, broke, or said in its first frames that it failed.
        """
        response = await provider.open(body, model=model)
        self = cls(provider.name, model, response)
        try:
            await (self._read_first_frames() if response.is_stream else self._read_body())
        except BaseException:
            response.close()
            raise
        return self

    async def _read_first_frames(self) -> None:
        self.first = await self._read_frames()
        if self._error is not None and not self._says_something(self.first):
            raise self._error
        if not self.first:
            raise ReplyTruncated("The provider ended the reply before it began")

    def _says_something(self, frames: bytes) -> bool:
        begun = ChunkReader(self.response.faults, self.model).feed(frames)
        return begun is not None and bool(begun.text or begun.reasoning or begun.tool_calls)

    async def _read_frames(self) -> bytes:
        """The next whole frames up to an error, which is kept; `b""` at the end."""
        while data := await self.response.read():
            block = self._frames.feed(data)
            if b'"error"' in block:
                block, self._error = before_error(block, self.response)
            if block or self._error is not None:
                return block
        return self._frames.rest()

    async def _read_body(self) -> None:
        parts: list[bytes] = []
        size = 0
        while not self.response.has_ended:
            parts.append(await self.response.read())
            size += len(parts[-1])
            if size > BODY_BYTES:
                raise UpstreamProtocolError("The model's provider sent too long an answer")
        self.first = parts[0] if len(parts) == 1 else b"".join(parts)
        try:
            body = JSONFrames().loads(self.first)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise self.response.faults.unreadable()
        if body.get("error"):
            raise self.response.faults.in_band(body["error"], self.model)
        self.usage = usage_of(body.get("usage"))
        if self.usage is None:
            self.text_bytes = sum(len(text.encode()) for text in _texts_of(body))

    async def read(self) -> bytes:
        """The stream's next whole frames, those together that arrived together; `b""` at the end.

        Raises:
            UpstreamError: it broke, said that it failed, or ended early; all whole frames
                before that were given.
        """
        block, self.first = self.first, b""
        if not block and self._error is None:
            block = await self._read_frames()
        if block:
            self._tail.feed(block)
            return block
        if self._error is not None:
            raise self._error
        self._read_tail()
        if not self._is_complete:
            raise ReplyTruncated("The provider ended the reply early")
        return b""

    def _read_tail(self) -> None:
        """Learn from the end of the stream what was used, and whether it is the end."""
        if self._is_complete is None:
            end, self.text_bytes = self._tail.end()
            reader = ChunkReader(self.response.faults, self.model)
            last = reader.feed(end)
            self.usage = last.usage if last else None
            self._is_complete = reader.done or bool(last and last.finish_reason)

    def close(self) -> None:
        """Close the connection unless the answer was read to its end."""
        self.response.close()
        if self.response.is_stream:
            self._read_tail()


def before_error(block: bytes, response: RawResponse) -> tuple[bytes, UpstreamError | None]:
    """The frames before the first that holds an error object, and that error as ours."""
    end = 0
    for frame in _FRAME_ENDS.split(block):
        error = _error_of(frame, response.faults, response.model)
        if error is not None:
            return block[:end], error
        end += len(frame)
    return block, None


def _error_of(frame: bytes, faults: Faults, model: str) -> UpstreamError | None:
    lines = (line.removeprefix(b"data:") for line in frame.splitlines() if line[:5] == b"data:")
    try:
        payload: Any = JSONFrames().loads(b"\n".join(lines))
    except ValueError:
        return None
    if isinstance(payload, dict) and payload.get("error"):
        return faults.in_band(payload["error"], model)
    return None


def _texts_of(body: dict[str, Any]) -> list[str]:
    """The texts of a `chat.completion`, to count where the upstream did not."""
    choices = body.get("choices")
    messages = [
        choice.get("message")
        for choice in (choices if isinstance(choices, list) else ())
        if isinstance(choice, dict)
    ]
    texts = [message.get("content") for message in messages if isinstance(message, dict)]
    return [text for text in texts if isinstance(text, str)]
