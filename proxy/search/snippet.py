"""A part of a text around what was found in it, with where that is."""

import re
from bisect import bisect_right
from dataclasses import dataclass

from proxy.search.fold import HAN, fold, joins, pieces
from proxy.search.query import Query

CONTEXT_CHARACTERS = 40
"""Shown on either side of what was found."""

SNIPPET_CHARACTERS = 240
"""Of a snippet whose first hit is shorter than that."""

HITS_PLACED = 24
"""Of one term in one text; further ones are counted, not marked."""

MAP_CHARACTERS = 1024
"""A text is mapped to its fold in pieces of this size, and only where something was found."""

_SENTENCE_END = re.compile(r"[。！？…]+|[.!?]+(?=\s)|\n")
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HAN_OR_LATIN = (re.compile(f"[{HAN}]"), re.compile("[a-z0-9]"))


@dataclass(frozen=True, slots=True)
class Snippet:
    """`Snippet("…写冒泡排序…", [[2, 6]])`: offsets in code points of the text."""

    text: str
    highlights: list[list[int]]


def snippet(text: str, query: Query) -> Snippet:
    """Return what to show of a text: the first place with the most different terms."""
    found = Folded(text, loose_spaces=query.loose_spaces).find(
        sorted({term.folded for term in query.terms})
    )
    if not found:
        return Snippet(_one_line(text[: 2 * CONTEXT_CHARACTERS]), [])
    first = max(found, key=lambda span: (_terms_near(found, span), -span[0]))
    start, end = _bounds(text, first, found)
    before = "…" if start else ""
    after = "…" if end < len(text) else ""
    shift = len(before) - start
    spans = _merged([(a, b) for a, b, _ in found if a >= start and b <= end])
    return Snippet(
        before + _one_line(text[start:end]) + after, [[a + shift, b + shift] for a, b in spans]
    )


class Folded:
    """A text and its fold, piece by piece, so that a place in one is found in the other."""

    def __init__(self, text: str, *, loose_spaces: bool = False) -> None:
        self._text = text
        self._loose = loose_spaces
        self._bounds = list(pieces(text, MAP_CHARACTERS))
        parts = [fold(text[a:b], loose_spaces=loose_spaces) for a, b in self._bounds]
        self.fold = "".join(parts)
        self._starts = [0]
        for part in parts:
            self._starts.append(self._starts[-1] + len(part))
        self._maps: dict[int, list[tuple[int, int]]] = {}

    def find(self, terms: list[str]) -> list[tuple[int, int, str]]:
        """Return `(start, end, term)` in the text, in order, a few of each term."""
        found = []
        for term in terms:
            at = self.fold.find(term)
            for _ in range(HITS_PLACED):
                if at < 0:
                    break
                start, _ = self._origin(at)
                _, end = self._origin(at + len(term) - 1)
                found.append((start, end, term))
                at = self.fold.find(term, at + len(term))
        return sorted(found)

    def _origin(self, offset: int) -> tuple[int, int]:
        """Return the bounds, in the text, of what a character of the fold came from."""
        number = bisect_right(self._starts, offset, hi=len(self._bounds)) - 1
        if number not in self._maps:
            start, end = self._bounds[number]
            self._maps[number] = _map(self._text[start:end], start, loose_spaces=self._loose)
        return self._maps[number][offset - self._starts[number]]


def _map(piece: str, base: int, *, loose_spaces: bool) -> list[tuple[int, int]]:
    """Return, for every character of a piece's fold, the bounds of what it came from."""
    mapped: list[tuple[str, int, int]] = []
    start = 0
    if piece.isascii():
        mapped = [(c, base + n, base + n + 1) for n, c in enumerate(piece.lower())]
        start = len(piece)
    for end in range(start + 1, len(piece) + 1):
        if end == len(piece) or piece[end].isascii() or not joins(piece[end]):
            mapped += [(c, base + start, base + end) for c in fold(piece[start:end])]
            start = end
    if loose_spaces:
        mapped = _without_loose_spaces(mapped)
    return [(a, b) for _, a, b in mapped]


def _without_loose_spaces(mapped: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    single: list[tuple[str, int, int]] = []
    for character, start, end in mapped:
        if character.isspace() and single and single[-1][0] == " ":
            single[-1] = (" ", single[-1][1], end)
        else:
            single.append((" " if character.isspace() else character, start, end))
    han, latin = _HAN_OR_LATIN
    kept = []
    for position, entry in enumerate(single):
        if entry[0] == " " and 0 < position < len(single) - 1:
            left, right = single[position - 1][0], single[position + 1][0]
            if (han.match(left) and latin.match(right)) or (latin.match(left) and han.match(right)):
                continue
        kept.append(entry)
    return kept


def _terms_near(found: list[tuple[int, int, str]], first: tuple[int, int, str]) -> int:
    reach = first[0] + SNIPPET_CHARACTERS - 2 * CONTEXT_CHARACTERS
    return len({term for start, end, term in found if start >= first[0] and end <= reach})


def _bounds(
    text: str, first: tuple[int, int, str], found: list[tuple[int, int, str]]
) -> tuple[int, int]:
    """Return where a snippet begins and ends: at sentences where some are near."""
    reach = max(first[1], first[0] + SNIPPET_CHARACTERS - 2 * CONTEXT_CHARACTERS)
    last = max(end for start, end, _ in found if start >= first[0] and end <= reach)
    start = max(0, first[0] - CONTEXT_CHARACTERS)
    end = min(len(text), last + CONTEXT_CHARACTERS)
    ends = [match.end() for match in _SENTENCE_END.finditer(text, start, first[0])]
    if start and ends:
        start = ends[0]
    ends = [match.end() for match in _SENTENCE_END.finditer(text, last, end)]
    if end < len(text) and ends:
        end = ends[-1]
    while start < first[0] and (text[start].isspace() or _continues(text, start)):
        start += 1
    while end < len(text) and _continues(text, end):
        end += 1
    while end > last and text[end - 1].isspace():
        end -= 1
    return start, end


def _continues(text: str, position: int) -> bool:
    """Return whether a cut would part what is one character to the eye."""
    character = text[position]
    return (
        joins(character)
        or character == "\u200d"
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or (position > 0 and text[position - 1] == "\u200d")
    )


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _one_line(text: str) -> str:
    """Return a text of the same length without line breaks and control characters."""
    return _BREAKS.sub(" ", text)
