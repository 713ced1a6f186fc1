"""Whether frames that pass by hold anything to look at: by far the most do not.

An upstream writes the same frame again and again with another piece of text in it. Bytes that
are such frames and nothing else are known by what stands around the texts, for a tenth of what
reading them would cost.
"""

import re
from typing import Any

import orjson

_TEXT = re.compile(rb'"(?:content|text|reasoning_content|reasoning)": ?"([^"\\]*(?:\\.[^"\\]*)*)"')

_FAILURES = frozenset({"error", "detail", "message"})
"""Keys of a frame without choices that says that something failed."""


class PlainFrames:
    """Knows the frames of one stream that only add text."""

    def __init__(self) -> None:
        self._before = b""
        self._after = b""
        self._between = b""
        self._quotes = 0

    def is_known(self, block: bytes) -> bool:
        """Whether these bytes are whole frames like one that was seen, but for their texts.

        Where a text held a key of JSON, there would be more quotes than around the texts.
        """
        if not (self._quotes and block.startswith(self._before) and block.endswith(self._after)):
            return False
        # Two a frame; single bytes are counted several times as fast as pairs.
        frames, is_odd = divmod(block.count(b"\n"), 2)
        if is_odd:
            return False
        if frames > 1 and block.count(self._between) != frames - 1:
            return False
        quotes = block.count(b'"')
        return quotes == frames * self._quotes or (
            quotes - block.count(b'\\"') == frames * self._quotes
        )

    def is_plain(self, block: bytes) -> bool:
        """Whether every frame is one line of JSON that says no failure and no whole message."""
        if self.is_known(block):
            return True
        if block[:7] != b"data: {" or block[-3:] != b"}\n\n":
            return False
        frames = block[:-2].split(b"\n\n")
        # Frames that differ come first or last in a reply: those between are known at once.
        first, last = 0, len(frames)
        while first < last and not self.is_known(frames[first] + b"\n\n"):
            if not _is_plain(frames[first]):
                return False
            self._learn(frames[first])
            first += 1
        while first < last and not self.is_known(frames[last - 1] + b"\n\n"):
            last -= 1
            if not _is_plain(frames[last]):
                return False
        between = frames[first:last]
        return self.is_known(b"\n\n".join([*between, b""])) or all(
            self.is_known(frame + b"\n\n") or _is_plain(frame) for frame in between
        )

    def _learn(self, frame: bytes) -> None:
        """Note what stands around the text of a plain frame."""
        found = _TEXT.search(frame)
        if found is None:
            return
        start, end = found.span(1)
        self._before, self._after = frame[:start], frame[end:] + b"\n\n"
        self._between = self._after + self._before
        self._quotes = self._between.count(b'"') - self._between.count(b'\\"')


def _is_plain(frame: bytes) -> bool:
    return b"\n" not in frame and frame[:6] == b"data: " and _only_adds(frame[6:])


def _only_adds(data: bytes) -> bool:
    try:
        frame: Any = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    if type(frame) is not dict:
        return False
    choices = frame.get("choices")
    if not choices or type(choices) is not list:
        return frame.keys().isdisjoint(_FAILURES) and "error" not in (
            frame.get("object"),
            frame.get("type"),
        )
    return not frame.get("error") and all(map(_is_delta, choices))


def _is_delta(choice: Any) -> bool:
    if type(choice) is not dict or choice.get("message") or choice.get("error"):
        return False
    reason = choice.get("finish_reason")
    return reason is None or (type(reason) is str and reason.lower() != "error")
