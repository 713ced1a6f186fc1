"""`<think>…</think>` at the beginning of a text, told apart from the answer.

Open models put their reasoning there when the server that runs them does not split it off.
"""

_OPEN = ("<think>", "<thinking>")
_HELD = max(map(len, _OPEN)) + 64
"""Characters, white space included, that are held back while they may still become a tag."""


class ThinkTags:
    """Splits the text of one reply, which may come in any pieces, into answer and reasoning."""

    def __init__(self) -> None:
        self._held = ""
        self._closing = ""
        self.is_over = False
        """Whether the answer has begun: no tag can come any more."""
        self._after_block = False

    def feed(self, text: str) -> tuple[str, str]:
        """Return the answer and the reasoning in the next piece, as far as it is decided."""
        if self.is_over:
            return text, ""
        text, self._held = self._held + text, ""
        if not self._closing and not self._after_block:
            begun = text.lstrip()
            tag = next((tag for tag in _OPEN if begun.startswith(tag)), None)
            if tag is None:
                if len(text) < _HELD and any(tag.startswith(begun) for tag in _OPEN):
                    self._held = text
                    return "", ""
                self.is_over = True
                return text, ""
            self._closing = "</" + tag[1:]
            text = begun[len(tag) :]
        reasoning = ""
        if self._closing:
            reasoning, found, text = text.partition(self._closing)
            if not found:
                kept = _overlap(reasoning, self._closing)
                self._held = reasoning[len(reasoning) - kept :]
                return "", reasoning[: len(reasoning) - kept]
            self._closing, self._after_block = "", True
        # The empty lines below a block belong to it.
        text = text.lstrip()
        self.is_over = bool(text)
        return text, reasoning

    def end(self) -> tuple[str, str]:
        """Return what was held back, because nothing more comes."""
        held, self._held = self._held, ""
        if self._closing:
            return "", held
        return held, ""


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of a text may be the beginning of the tag."""
    for length in range(min(len(tag) - 1, len(text)), 0, -1):
        if tag.startswith(text[len(text) - length :]):
            return length
    return 0
