"""Whether frames that pass by hold anything to look at: by far the most do not.

An upstream writes the same frame again and again with another piece of text in it. Bytes that
are such frames and nothing else are known by what stands around the texts, for a tenth of what
reading them would cost.
"""

import re
from typing import Any

import orjson

TEXTS = re.compile(rb'"(?:content|text|reasoning_content|reasoning)": ?"([^"\\]*(?:\\.[^"\\]*)*)"')
"""The texts of frames."""

_FAILURES = frozenset({"error", "detail", "message"})
"""Keys of a frame without choices that says that something failed."""


class PlainFrames:
    """Knows the frames of one stream that only add text."""

    def __init__(self) -> None:
        self.text_bytes = 0
        """How much text all frames that were plain added, as JSON writes it."""
        self._before = b""
        self._after = b""
        self._between = b""
        self._quotes = 0

    def is_known(self, block: bytes) -> bool:
        """Whether these bytes are whole frames like one that was seen, but for their texts."""
        text_bytes = self._known_text_bytes(block)
        self.text_bytes += text_bytes or 0
        return text_bytes is not None

    def _known_text_bytes(self, block: bytes) -> int | None:
        """Return how much text known frames hold; None of others."""
        before, after = self._before, self._after
        around = len(before) + len(after)
        if not (0 < around <= len(block) and block.startswith(before) and block.endswith(after)):
            return None
        text = block[len(before) : -len(after)]
        if b'"' not in text and b"\\" not in text and b"\n" not in text:
            # One frame, with a text as most are.
            return len(text)
        frames = block.count(self._between) + 1
        if block.count(b"\n") != 2 * frames:
            return None
        # A text that held a key of JSON would have quotes of its own, some without a backslash.
        quotes = block.count(b'"')
        if b"\\" in block:
            quotes -= block.count(b'\\"')
        if quotes != frames * self._quotes and not self._is_known_by_texts(block):
            return None
        return len(block) - frames * around

    def _is_known_by_texts(self, block: bytes) -> bool:
        """Look at the texts themselves, where backslashes may stand before quotes that end them."""
        if b'\\\\"' not in block:
            return False
        texts = block[len(self._before) : -len(self._after)].replace(self._between, b" ") + b" "
        texts = texts.replace(b"\\\\", b"").replace(b'\\"', b"")
        # A backslash that is left at the end of a text would escape the quote that ends it.
        return b'"' not in texts and b"\\ " not in texts

    def is_plain(self, block: bytes) -> bool:
        """Whether every frame is one line of JSON that says no failure and no whole message."""
        if self.is_known(block):
            return True
        if block[:7] != b"data: {" or block[-3:] != b"}\n\n":
            return False
        # Frames that differ come first or last in a reply: those between are known at once.
        first, last = 0, len(block)
        while first < last:
            end = block.find(b"\n\n", first) + 2
            frame = block[first:end]
            if self._known_text_bytes(frame) is not None:
                break
            if not self._is_plain(frame[:-2]):
                return False
            self._learn(frame[:-2])
            first = end
        while first < last:
            at = block.rfind(b"\n\n", first, last - 2)
            start = at + 2 if at >= 0 else first
            frame = block[start:last]
            if self._known_text_bytes(frame) is not None:
                break
            if not self._is_plain(frame[:-2]):
                return False
            last = start
        between = block[first:last]
        return (
            not between
            or self.is_known(between)
            or all(
                self.is_known(frame + b"\n\n") or self._is_plain(frame)
                for frame in between[:-2].split(b"\n\n")
            )
        )

    def _is_plain(self, frame: bytes) -> bool:
        if b"\n" in frame or frame[:6] != b"data: " or not _only_adds(frame[6:]):
            return False
        self.text_bytes += sum(map(len, TEXTS.findall(frame)))
        return True

    def _learn(self, frame: bytes) -> None:
        """Note what stands around the text of a plain frame."""
        found = TEXTS.search(frame)
        if found is None:
            return
        start, end = found.span(1)
        self._before, self._after = frame[:start], frame[end:] + b"\n\n"
        self._between = self._after + self._before
        self._quotes = self._between.count(b'"') - self._between.count(b'\\"')


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
