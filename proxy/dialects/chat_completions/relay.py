"""An upstream's answer passed on as its own bytes, only whole frames at a time.

Nothing is decoded to be encoded again: the bytes of a frame leave as they came. A frame that
is cut by the network waits for its rest, so that an upstream which breaks in the middle of
one leaves the client with whole frames and an error it can read.
"""

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from proxy.errors import ReplyTruncated, UpstreamError, UpstreamProtocolError
from proxy.providers.base import Usage
from proxy.providers.openai import OpenAIProvider, RawResponse
from proxy.providers.reply_reader import ReplyReader
from proxy.sse import DONE, JSONFrames, encode

HELD_BYTES = 1024 * 1024
"""A frame longer than this is passed on in pieces."""

BODY_BYTES = 64 * 1024 * 1024
"""The largest answer that is not a stream."""

READ_BYTES = 8 * 1024
"""How much of a stream's end is read for its usage and finish reason."""

_TEXTS = re.compile(rb'"(?:content|reasoning_content|reasoning)": ?"([^"\\]*(?:\\.[^"\\]*)*)"')

_FRAME_ENDS = re.compile(rb"(?<=\n\n)(?=[^\n])|(?<=\r\n\r\n)(?=[^\r\n])")


class WholeFrames:
    """Gives bytes on up to the end of the last whole frame and keeps what follows it."""

    def __init__(self) -> None:
        self._held = b""
        self.is_cut = False
        """Whether what was given last ends within a frame."""

    def feed(self, data: bytes) -> bytes:
        """Return the whole frames that these bytes complete."""
        if self._held:
            data = self._held + data
            self._held = b""
        # Some write single line ends between frames, which no client takes for two.
        if b"}\ndata:" in data:
            data = data.replace(b"}\ndata:", b"}\n\ndata:")
        self.is_cut = False
        if data[-2:] == b"\n\n" or data[-4:] == b"\r\n\r\n":
            return data
        found = (
            data.rfind(separator) + len(separator)
            for separator in (b"\n\n", b"\r\n\r\n")
            if separator in data
        )
        end = max(found, default=0)
        if len(data) - end > HELD_BYTES:
            self.is_cut = True
            return data
        self._held = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        """Return what is left at the end."""
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
        """Return the last whole frames, and about how many bytes of text there were in all."""
        self._count()
        end = b"".join(self._kept)
        if len(end) > READ_BYTES:
            end = _FRAME_ENDS.split(end[-READ_BYTES:], maxsplit=1)[-1]
        return end, self._text_bytes


class Relayed:
    """An answer whose first word is here.

    `is_stream` says what it is, whatever its label says; `first` is the whole body of one that
    is not a stream. `usage` and about how many `text_bytes` there were are known once it is
    closed.
    """

    def __init__(self, provider: OpenAIProvider, model: str, response: RawResponse) -> None:
        self.provider = provider.name
        self.model = model
        self.response = response
        self.is_stream = False
        self.first = b""
        self.usage: Usage | None = None
        self.text_bytes = 0
        self.new_reader = partial(provider.reader, model)
        self._frames = WholeFrames()
        self._tail = Tail()
        self._error: UpstreamError | None = None
        self._is_done = False
        self._is_complete: bool | None = None

    @classmethod
    async def open(cls, provider: OpenAIProvider, body: bytes, model: str) -> "Relayed":
        """Ask, and wait for the first word of a stream or for the whole body.

        Raises:
            UpstreamError: it refused, broke, or said before its first word that it failed.
        """
        response = await provider.open(body, model=model)
        self = cls(provider, model, response)
        try:
            await self._read_beginning()
        except BaseException:
            response.close()
            raise
        return self

    async def _read_beginning(self) -> None:
        reader = self.new_reader()
        begun = False
        parts: list[bytes] = []
        size = 0
        while not begun and not reader.done and reader.error is None:
            data = await self.response.read()
            delta = reader.feed(data) if data else reader.end()
            if delta is not None:
                self.usage = delta.usage or self.usage
                begun = reader.has_begun or bool(delta.finish_reason)
            size += len(data)
            if size > BODY_BYTES:
                raise UpstreamProtocolError("The model's provider sent too long an answer")
            if reader.is_stream and not self.is_stream:
                # What came before was too little to tell.
                self.is_stream = True
                data = b"".join([*parts, data])
                parts.clear()
            parts.append(self._whole_frames(data) if self.is_stream else data)
            if not data:
                break
        if reader.error is not None and not reader.has_begun:
            raise reader.error
        self.first = b"".join(parts)
        if not self.first.strip() and not begun:
            raise ReplyTruncated("The provider ended the reply before it began")
        if not self.is_stream:
            self._is_complete = True
            self.text_bytes = len(self.first) if self.usage is None else 0
        elif not begun and not reader.done:
            raise ReplyTruncated("The provider ended the reply before it began")

    def _whole_frames(self, data: bytes) -> bytes:
        was_cut = self._frames.is_cut
        block = self._frames.feed(data) if data else self._frames.rest()
        # A frame that is passed on in pieces cannot be looked at.
        return block if was_cut or self._frames.is_cut else self._sifted(block)

    def _sifted(self, block: bytes) -> bytes:
        """Whole frames up to an error, which is kept, without those that no client can read."""
        if self._is_done or not block:
            return b""
        if block[-14:] == DONE:
            head = block[:-14]
            if not head or _is_clean(head):
                self._is_done = True
                return block
        elif _is_clean(block):
            return block
        sifted, self._error, self._is_done = sift(block, self.new_reader)
        return sifted

    async def read(self) -> bytes:
        """Return the stream's next whole frames, those together that arrived together.

        `b""` at the end.

        Raises:
            UpstreamError: it broke, said that it failed, or ended early; all whole frames
                before that were given.
        """
        block, self.first = self.first, b""
        while not block and self._error is None and not self._is_done:
            try:
                data = await self.response.read()
            except UpstreamError:
                # An answer that said how it ended is whole, however its connection ends.
                if not self._has_ended():
                    raise
                break
            block = self._whole_frames(data)
            if not data:
                break
        if block:
            self._tail.feed(block)
            return block
        if self._error is not None:
            raise self._error
        if not self._has_ended():
            raise ReplyTruncated("The provider ended the reply early")
        return b""

    def _has_ended(self) -> bool:
        """Learn from the end of the stream what was used, and whether it is the end."""
        if self._is_complete is None:
            end, self.text_bytes = self._tail.end()
            reader = self.new_reader()
            last = reader.feed(end)
            rest = reader.end()
            self.usage = (last and last.usage) or (rest and rest.usage) or None
            self._is_complete = self._is_done or reader.finish_reason is not None
        return self._is_complete

    @property
    def said_done(self) -> bool:
        """Whether the stream ended with the upstream's own `[DONE]`."""
        return self._is_done

    def close(self) -> None:
        """Close the connection unless the answer was read to its end."""
        self.response.close()
        if self.is_stream:
            self._has_ended()


def _is_clean(block: bytes) -> bool:
    """Whether every frame is one line of JSON that holds nothing to look at: the usual case."""
    if block[:7] != b"data: {" or block[-3:] != b"}\n\n":
        return False
    if block.count(b"\n\n") != block.count(b"}\n\ndata: {") + 1:
        return False
    return not any(mark in block for mark in _MARKS)


_MARKS = (b'"error"', b'"detail"', b'"message"', b"NaN", b"Infinity", b"[DONE]")
"""What a frame has to be parsed for: failures, whole messages, numbers that are no JSON."""


def sift(
    block: bytes, new_reader: Callable[[], ReplyReader]
) -> tuple[bytes, UpstreamError | None, bool]:
    """Return what of these frames a client gets, the failure among them, and whether `[DONE]` was.

    A frame that is no JSON object is left out; one with a whole message or odd numbers is
    written anew; all others leave as they came.
    """
    kept: list[bytes] = []
    for frame in _FRAME_ENDS.split(block):
        lines = [line for line in frame.splitlines() if line.strip()]
        data = b"\n".join(line[5:].strip() for line in lines if line[:5] == b"data:")
        if not data:
            kept.append(frame)
            continue
        reader = new_reader()
        delta = reader.feed(frame if frame[-2:] == b"\n\n" else frame + b"\n\n")
        if reader.error is not None:
            return b"".join(kept), reader.error, False
        if data[:6] == b"[DONE]":
            kept.append(b"data: [DONE]\n\n")
            return b"".join(kept), None, True
        payload = _object_of(data)
        if payload is None:
            if delta is None:
                continue
            payload = {"object": "chat.completion.chunk", "choices": [{"index": 0}]}
        elif _passes(payload, data):
            kept.append(frame if frame[-2:] in (b"\n\n", b"\r\n") else frame + b"\n\n")
            continue
        kept.append(encode(_as_chunk(payload)))
    return b"".join(kept), None, False


def _object_of(data: bytes) -> dict[str, Any] | None:
    try:
        payload = JSONFrames().loads(data)
    except ValueError:
        return None
    return payload if isinstance(payload, dict) else None


def _passes(payload: dict[str, Any], data: bytes) -> bool:
    """Whether a client can read the frame as it came."""
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        # Half a character is no reason: clients join them.
        if not _is_json(data):
            return False
    choices = payload.get("choices")
    return not (
        isinstance(choices, list)
        and any(isinstance(each, dict) and each.get("message") for each in choices)
    )


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _as_chunk(payload: dict[str, Any]) -> dict[str, Any]:
    """Return a frame with whole messages as a chunk with deltas."""
    choices = payload.get("choices")
    if not isinstance(choices, list):
        return payload
    return {
        **payload,
        "object": "chat.completion.chunk",
        "choices": [
            {**{key: value for key, value in each.items() if key != "message"}, "delta": message}
            if isinstance(each, dict) and (message := each.get("message")) and not each.get("delta")
            else each
            for each in choices
        ],
    }
