"""The frames of an upstream's event stream as their own bytes, whole ones only.

Nothing is decoded to be encoded again: the bytes of a frame leave as they came. A frame that
is cut by the network waits for its rest, so that an upstream which breaks in the middle of
one leaves the client with whole frames and an error it can read.
"""

import json
import re
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson

from proxy.dialects.plain_frames import TEXTS, PlainFrames
from proxy.errors import UpstreamError
from proxy.providers.reply_reader import ReplyReader
from proxy.sse import DONE, JSONFrames, encode

HELD_BYTES = 1024 * 1024
"""A frame longer than this is passed on in pieces."""

TAIL_BYTES = 8 * 1024
"""How much of an answer's end is read for its usage and finish reason."""

FRAME_ENDS = re.compile(rb"(?<=\n\n)(?=[^\n])|(?<=\r\n\r\n)(?=[^\r\n])")


class WholeFrames:
    """Gives bytes on up to the end of the last whole frame and keeps what follows it."""

    def __init__(self) -> None:
        self.held = b""
        """The beginning of the next frame."""
        self.is_cut = False
        """Whether what was given last ends within a frame."""

    def feed_known(self, data: bytes, is_known: Callable[[bytes], bool]) -> bytes:
        """Return the whole frames that these bytes complete if they are known; else take nothing.

        A burst is cut wherever a read ends: looking through all of it for what is odd, as `feed`
        does, would cost a tenth of passing it on.
        """
        if self.is_cut:
            return b""
        if self.held:
            data = self.held + data
        end = data.rfind(b"\n\n") + 2
        if end < 2 or not is_known(data[:end]):
            return b""
        self.held = data[end:]
        return data[:end]

    def feed(self, data: bytes) -> bytes:
        """Return the whole frames that these bytes complete."""
        if self.held:
            data = self.held + data
            self.held = b""
        # Some write single line ends between frames, which no client takes for two.
        if b"}\ndata:" in data:
            data = data.replace(b"}\ndata:", b"}\n\ndata:")
        self.is_cut = False
        if data[-2:] == b"\n\n" or data[-4:] == b"\r\n\r\n":
            return data
        at = data.rfind(b"\n\n")
        end = at + 2 if at >= 0 else 0
        if (at := data.rfind(b"\r\n\r\n", end)) >= 0:
            end = at + 4
        if len(data) - end > HELD_BYTES:
            self.is_cut = True
            return data
        self.held = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        """Return what is left at the end."""
        rest, self.held = self.held, b""
        return rest


class Tail:
    """Keeps the end of a passing stream: the usage and the finish reason come last."""

    def __init__(self) -> None:
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0

    def feed(self, block: bytes) -> None:
        """Take the next whole frames."""
        if not block:
            # Of most reads nothing is kept, and there may be a hundred thousand of them.
            return
        self._kept.append(block)
        self._kept_bytes += len(block)
        while self._kept_bytes - len(self._kept[0]) >= TAIL_BYTES:
            self._kept_bytes -= len(self._kept.popleft())

    def end(self) -> bytes:
        """Return the last bytes, `TAIL_BYTES` at most."""
        return b"".join(self._kept)[-TAIL_BYTES:]


class FrameSieve:
    """Gives what a client gets of a stream: whole frames, up to an error or `[DONE]`.

    `error` is the failure that a frame told of; `is_done` says that `[DONE]` came.
    """

    def __init__(self, new_reader: Callable[[], ReplyReader]) -> None:
        self.error: UpstreamError | None = None
        self.is_done = False
        self._new_reader = new_reader
        self._frames = WholeFrames()
        self._plain = PlainFrames()
        self._is_between = True
        """Whether the next byte begins a frame."""
        self._odd_text_bytes = 0
        self._tail = Tail()

    def feed(self, data: bytes) -> bytes:
        """Return the whole frames that these bytes complete; `b""` says that no more will come."""
        if self._is_between and self._plain.is_known(data):
            return data
        if not self.is_done and (known := self._frames.feed_known(data, self._plain.is_known)):
            self._is_between = not self._frames.held
            return known
        was_cut = self._frames.is_cut
        block = self._frames.feed(data) if data else self._frames.rest()
        # A frame that is passed on in pieces cannot be looked at.
        is_cut = was_cut or self._frames.is_cut
        if is_cut:
            unlike = self._odd(block)
        else:
            block, unlike = self._sifted(block)
        self._is_between = not (self.is_done or is_cut or self._frames.held)
        self._tail.feed(unlike)
        return block

    @property
    def is_over(self) -> bool:
        """Whether nothing that may still come is for the client."""
        return self.is_done or self.error is not None

    def end(self) -> bytes:
        """Return the last bytes of the frames that were given and are like no others."""
        return self._tail.end()

    @property
    def text_bytes(self) -> int:
        """About how much text passed, for an upstream that does not report usage."""
        return self._odd_text_bytes + self._plain.text_bytes

    def _odd(self, block: bytes) -> bytes:
        self._odd_text_bytes += sum(map(len, TEXTS.findall(block)))
        return block

    def _sifted(self, block: bytes) -> tuple[bytes, bytes]:
        """Whole frames up to an error, which is kept, without those that no client can read.

        With them those of the frames that no others are like.
        """
        if self.is_done or not block:
            return b"", b""
        is_done = block[-14:] == DONE
        head = block[:-14] if is_done else block
        unlike = self._plain.unlike(head) if head else b""
        if unlike is not None:
            self.is_done = is_done
            return block, unlike + block[len(head) :]
        sifted, self.error, self.is_done = sift(block, self._new_reader)
        return sifted, self._odd(sifted)


def sift(
    block: bytes, new_reader: Callable[[], ReplyReader]
) -> tuple[bytes, UpstreamError | None, bool]:
    """Return what of these frames a client gets, the failure among them, and whether `[DONE]` was.

    A frame that is no JSON object is left out; one with a whole message or odd numbers is
    written anew; all others leave as they came.
    """
    kept: list[bytes] = []
    for frame in FRAME_ENDS.split(block):
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
