"""Poe's "thinking" preambles, told apart from the answer.

Reasoning bots put their reasoning ahead of the answer, as text:

    *Thinking...*

    > **Weighing the options**
    >
    > I am comparing …

    The answer.

What is not exactly that is text: nothing of an answer is ever held for good.
"""

_MARKERS = ("*Thinking...*", "**Thinking...**", "*Thinking…*", "**Thinking…**")
_LONGEST_HOLD = 256
"""Characters that are held back while they may still become a preamble."""


class Preamble:
    """Splits the text of one reply, which may come in any pieces, into answer and reasoning."""

    def __init__(self) -> None:
        self._held = ""
        self._in_answer = False
        self._in_quote = False
        self._at_line_start = False
        self._skip_space = False
        self._had_quote = False

    def feed(self, text: str) -> tuple[str, str]:
        """Return the answer and the reasoning in the next piece, as far as it is decided."""
        if self._in_answer:
            return text, ""
        thoughts: list[str] = []
        while text and not self._in_answer:
            if self._in_quote:
                text = self._quote(text, thoughts)
                continue
            self._held += text
            text = ""
            after = _after_marker(self._held)
            if after is not None:
                text, self._held = after, ""
                self._in_quote = self._skip_space = True
                self._at_line_start = False
            elif len(self._held) > _LONGEST_HOLD or not _may_be_marker(self._held):
                text = self._answer()
        return text, "".join(thoughts)

    def end(self) -> str:
        """Return what was held back and is answer after all, because nothing more comes."""
        return self._answer() if self._held.strip() or not self._had_quote else ""

    def _answer(self) -> str:
        self._in_answer = True
        held, self._held = self._held, ""
        # The empty lines below a preamble belong to it.
        return held.lstrip("\r\n") if self._had_quote else held

    def _quote(self, text: str, thoughts: list[str]) -> str:
        """Take the quoted text off the front; return what is left."""
        self._had_quote = True
        if self._at_line_start:
            self._at_line_start = False
            if text.startswith(">"):
                self._skip_space = True
                return text[1:]
            # An empty line or an unquoted one ends it. Quoted text below that may be the
            # answer's own, so only another marker makes it reasoning.
            self._in_quote = False
            return text
        if self._skip_space:
            self._skip_space = False
            text = text.removeprefix(" ")
        line, newline, rest = text.partition("\n")
        thoughts.append(line + newline)
        self._at_line_start = bool(newline)
        return rest


def _after_marker(held: str) -> str | None:
    """Return what follows a marker, its line end and the first `>`, where that is near enough."""
    text = held.lstrip()
    for marker in _MARKERS:
        if text.startswith(marker):
            rest = text[len(marker) :]
            quoted = rest.lstrip()
            on_new_line = "\n" in rest[: len(rest) - len(quoted)]
            near = len(held) - len(quoted) <= _LONGEST_HOLD
            if quoted.startswith(">") and on_new_line and near:
                return quoted[1:]
    return None


def _may_be_marker(text: str) -> bool:
    text = text.lstrip()
    return any(
        marker.startswith(text) or (text.startswith(marker) and not text[len(marker) :].strip())
        for marker in _MARKERS
    )
