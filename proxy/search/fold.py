"""How texts are compared: compatibility forms, case, emoji selectors, Chinese variants folded.

`fold("Ｓtraße İ 繁體")` is `"strasse i 繁體"`, with OpenCC's table `"strasse i 繁体"`. The fold
of a text is that of its pieces as long as it is cut between two characters of `PLAIN`, so
that no long text is folded in one go.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from unicodedata import category, combining, decomposition, is_normalized, normalize

from proxy.search.variants import simplified

PIECE_CHARACTERS = 4096
"""What is folded in one go, about 0.3 ms; one that has nowhere to be cut is longer."""

HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
"""Chinese characters, for a character class."""

PLAIN = (
    "!-~\u0391-\u03a1\u03a3-\u03a9\u03b1-\u03c1\u03c3-\u03c9\u0410-\u044f\u05d0-\u05ea"
    "\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\U00020000-\U0002a6df"
)
"""Characters that neither join the one before nor hide a space, for a character class."""

_CUT = re.compile(f"(?<=[{PLAIN}])(?=[{PLAIN}])")
_SELECTORS = re.compile(r"(?<=[^\w\s\x00-\x7f])[\ufe0e\ufe0f]+")
_SPACES = re.compile(r"\s+")
_BETWEEN_SCRIPTS = re.compile(f"(?<=[{HAN}]) (?=[a-z0-9])|(?<=[a-z0-9]) (?=[{HAN}])")

_CHANGING = (
    range(0x80, 0x3400),
    range(0xA000, 0xAC00),
    range(0xD7A4, 0xD800),
    range(0xF900, 0x20000),
    range(0x2F800, 0x2FA20),
)
"""Where characters lie that the fold changes; the rest is unified ideographs and syllables."""


def fold(text: str, *, loose_spaces: bool = False) -> str:
    """Return the form in which texts are compared; long texts in pieces (see `fold_pieces`).

    With `loose_spaces` any white space is one space, and none between Chinese and Latin
    characters.
    """
    if text.isascii():
        folded = text.lower()
    else:
        folded = _dotless(normalize("NFKC", text).casefold())
        if not is_normalized("NFKC", folded):
            folded = normalize("NFKC", folded)
        if "\ufe0f" in folded or "\ufe0e" in folded:
            folded = _SELECTORS.sub("", folded)
        folded = simplified(folded)
    return loosened(folded) if loose_spaces else folded


def loosened(folded: str) -> str:
    """Return a folded text with white space that does not matter taken out."""
    return _BETWEEN_SCRIPTS.sub("", _SPACES.sub(" ", folded))


def has_loose_spaces(term: str) -> bool:
    """Return whether white space in a text can matter to a folded term."""
    scripts = re.search(f"[{HAN}][a-z0-9]|[a-z0-9][{HAN}]", term)
    return scripts is not None or _SPACES.search(term) is not None


def pieces(text: str, size: int = PIECE_CHARACTERS) -> Iterator[tuple[int, int]]:
    """Yield the bounds of pieces of a text whose folds, joined, are the fold of the text."""
    start = 0
    while len(text) - start > size:
        cut = _CUT.search(text, start + size)
        if cut is None:
            break
        yield start, cut.start()
        start = cut.start()
    yield start, len(text)


def fold_pieces(text: str, *, loose_spaces: bool = False) -> str:
    """Return the fold of a text of any length, without one long step."""
    if len(text) <= PIECE_CHARACTERS:
        return fold(text, loose_spaces=loose_spaces)
    return "".join(fold(text[start:end], loose_spaces=loose_spaces) for start, end in pieces(text))


def _dotless(folded: str) -> str:
    """Let İ be found by i: its own fold keeps the dot as a character."""
    return folded.replace("i\u0307", "i") if "\u0307" in folded else folded


class Origins:
    """What raw characters a folded character can come from.

    `singles["s"]` is `"Sſｓ…"`; `expanding["ß"]` is `"ss"`; `accented["e"]` is `"ÉÈêẽ…"`.
    """

    def __init__(self) -> None:
        self.singles: dict[str, str] = {}
        self.expanding: dict[str, str] = {}
        self.accented: dict[str, str] = {}
        for code in range(0x41, 0x5B):
            self.singles[chr(code).lower()] = chr(code)
        for codes in _CHANGING:
            for code in codes:
                self._add(chr(code))
        for traditional, simple in simplified.table.items():
            origins = traditional + self.singles.get(traditional, "")
            self.singles[simple] = self.singles.get(simple, "") + origins

    def _add(self, raw: str) -> None:
        if decomposition(raw):
            base = base_of(fold(raw))
            self.accented[base] = self.accented.get(base, "") + raw
        if is_normalized("NFKC", raw) and raw.casefold() == raw:
            return
        folded = fold(raw)
        if len(folded) != 1:
            self.expanding[raw] = folded
        elif folded != raw:
            self.singles[folded] = self.singles.get(folded, "") + raw


@lru_cache(maxsize=1)
def origins() -> Origins:
    """Return the table of origins; made once, in about 100 ms."""
    return Origins()


def joins(raw: str) -> bool:
    """Return whether a character belongs to the one before it: an accent, a vowel sign."""
    first = normalize("NFKD", raw)[0]
    return combining(first) != 0 or category(raw).startswith("M") or _is_jamo(first)


def base_of(character: str) -> str:
    """Return the first of the characters that one can be composed of, itself if of none."""
    return normalize("NFD", character)[0]


def _is_jamo(character: str) -> bool:
    return "\u1160" <= character <= "\u11ff"
