"""Whether frames that pass by hold anything to look at: by far the most do not.

An upstream writes the same frame again and again with another piece of text in it. Bytes that
are such frames and nothing else are known by what stands around the texts, for a tenth of what
reading them would cost.
"""

import re
import sys
from typing import Any

import orjson

TEXTS = re.compile(rb'"(?:content|text|reasoning_content|reasoning)": ?"([^"\\]*(?:\\.[^"\\]*)*)"')
"""The texts of frames."""

_NOISE = re.compile(rb'"obfuscation": ?"([^"\\]*)"')
"""What OpenAI adds against those who measure the lengths of frames on the wire."""

_CONTROLS = bytes(range(32))
"""What no string of JSON holds as it is; a frame has two, the ends of its lines."""

_QUOTE = b'"'[0]
"""As a number, which is found eight times as fast: many frames at once have one soon."""

_SPECIAL = _CONTROLS + b'"\\'
"""What a piece of text hardly ever has."""

_FAILURES = frozenset({"error", "detail", "message"})
"""Keys of a frame without choices that says that something failed."""


class PlainFrames:
    """Knows the frames of one stream that only add text."""

    def __init__(self) -> None:
        self.text_bytes = 0
        """How much text all frames that were plain added, as JSON writes it."""
        self._before = b""
        self._beside = b""
        self._after = b""
        self._around = sys.maxsize
        """How long the frame that was learnt is without its text."""
        self._text = slice(0)
        self._between = b""
        self._quotes = 0

    def is_known(self, block: bytes) -> bool:
        """Whether these bytes are whole frames like one that was learnt, but for their texts."""
        if (
            block.startswith(self._before)
            and block.endswith(self._after)
            and len(block) >= self._around
        ):
            text = block[self._text]
            if self._beside:
                return self._is_known_beside(text)
            if _QUOTE not in text and text.translate(None, _SPECIAL) == text:
                # One frame, with a text as most are.
                self.text_bytes += len(text)
                return True
            frames = block.count(self._between) + 1
            if self._has_only_texts(block, frames):
                self.text_bytes += len(block) - frames * self._around
                return True
        return False

    def _is_known_beside(self, both: bytes) -> bool:
        """Whether these bytes are a text and its noise, with what stands between them."""
        text, beside, noise = both.partition(self._beside)
        mere = text + noise
        if not beside or mere.translate(None, _SPECIAL) != mere:
            return False
        self.text_bytes += len(text)
        return True

    def _has_only_texts(self, block: bytes, frames: int) -> bool:
        if len(block.translate(None, _CONTROLS)) != len(block) - 2 * frames:
            return False
        # A text that held a key of JSON would have quotes of its own, some without a backslash.
        quotes = block.count(b'"')
        if b"\\" in block:
            quotes -= block.count(b'\\"')
        return quotes == frames * self._quotes or self._is_known_by_texts(block)

    def _is_known_by_texts(self, block: bytes) -> bool:
        """Look at the texts themselves, where backslashes may stand before quotes that end them."""
        if b'\\\\"' not in block:
            return False
        texts = block[self._text].replace(self._between, b" ") + b" "
        texts = texts.replace(b"\\\\", b"").replace(b'\\"', b"")
        # A backslash that is left at the end of a text would escape the quote that ends it.
        return b'"' not in texts and b"\\ " not in texts

    def unlike(self, block: bytes) -> bytes | None:
        """Return those first and last frames that are like no other, where all frames are plain.

        A plain frame is one line of JSON that says no failure and no whole message. None says
        that there is another one among these.
        """
        if self.is_known(block):
            return b""
        text_bytes = self.text_bytes
        unlike = self._unlike(block)
        if unlike is None:
            self.text_bytes = text_bytes
        return unlike

    def _unlike(self, block: bytes) -> bytes | None:
        if block[:7] != b"data: {" or block[-3:] != b"}\n\n":
            return None
        # Frames that differ come first or last in a reply: those between are known at once.
        first, last, known = 0, len(block), False
        while first < last and not known:
            differing = first
            first = block.find(b"\n\n", first) + 2
            known = self.is_known(block[differing:first])
            if not known and not self._is_plain(block[differing : first - 2], learn=True):
                return None
        if not known:
            return block
        while first < last:
            at = block.rfind(b"\n\n", first, last - 2)
            start = at + 2 if at >= 0 else first
            frame, last = block[start:last], start
            if self.is_known(frame):
                break
            if not self._is_plain(frame[:-2]):
                return None
        between = block[first:last]
        if not between or self.is_known(between):
            return block[:differing] + block[last:]
        is_plain = all(
            self.is_known(frame + b"\n\n") or self._is_plain(frame)
            for frame in between[:-2].split(b"\n\n")
        )
        return block if is_plain else None

    def _is_plain(self, line: bytes, *, learn: bool = False) -> bool:
        if b"\n" in line or line[:6] != b"data: ":
            return False
        try:
            frame: Any = orjson.loads(line[6:])
        except orjson.JSONDecodeError:
            return False
        if type(frame) is not dict or not _only_adds(frame):
            return False
        self.text_bytes += sum(map(len, TEXTS.findall(line)))
        if learn:
            self._learn(line)
        return True

    def _learn(self, line: bytes) -> None:
        """Note what stands around the text of a plain frame."""
        found = TEXTS.search(line)
        if found is None:
            return
        start, end = found.span(1)
        noise = _NOISE.search(line, end)
        last = noise.end(1) if noise else end
        self._before, self._after = line[:start], line[last:] + b"\n\n"
        self._beside = line[end : noise.start(1)] if noise else b""
        self._around = len(self._before) + len(self._beside) + len(self._after)
        self._text = slice(start, -len(self._after))
        self._between = self._after + self._before
        self._quotes = self._between.count(b'"') - self._between.count(b'\\"')


def _only_adds(frame: dict[str, Any]) -> bool:
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
