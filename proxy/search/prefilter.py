"""What the database is asked first: a pattern that every true hit matches, and few others.

A pattern is made of characters, classes of characters and `?`, `*`, `|`: nothing of it is
what somebody typed. Case and other forms are in the classes, since a server may compile a
pattern with the option `i` once a document. A hit is compared exactly afterwards; so where a
character can come about in more ways than a class says, the pattern gets shorter or wider,
never narrower.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from unicodedata import category, normalize

from proxy.documents.base import Raw
from proxy.search.fold import HAN, base_of, joins, origins
from proxy.search.query import Query, Term

RUN_CHARACTERS = 16
"""Characters of a term that a pattern asks for; more would hardly rule out more."""

PATTERN_BYTES = 900
"""Of a pattern; the embedded server refuses one of more than 1,000."""

GROUPS_ASKED = 3
"""Groups of a query that the database is asked for: the rarest-looking ones."""

_HAN = re.compile(f"[{HAN}]")
_LATIN = re.compile("[a-z0-9]")
_SYMBOL = re.compile(r"[^\w\s\x00-\x7f]")
_SELECTORS = "[\ufe0e\ufe0f]*"
_ESCAPED_IN_JSON = re.compile(r'["\\/\x00-\x1f\x7f]')
_SPECIAL = frozenset("\\.+*?()|[]{}^$#&-~")
"""What a backslash makes literal in every dialect; `\\<` is a word's beginning in some."""
_JSON_ESCAPE = r"\\u[0-9a-fA-F]"
"""A character that a model wrote as `\\u5192` in the arguments of a tool."""


def condition(query: Query, fields: Sequence[str], json_fields: Sequence[str] = ()) -> Raw:
    """Return a filter that every document with a hit in one of the fields matches.

    `json_fields` hold JSON as text.
    """
    every: list[Raw] = []
    for group in _rarest(query):
        any_of: list[Raw] = [
            {field: {"$regex": pattern}} for field in fields for pattern in group_patterns(group)
        ]
        any_of += [
            {field: {"$regex": pattern}}
            for field in json_fields
            for pattern in group_patterns(group, json=True)
        ]
        every.append(any_of[0] if len(any_of) == 1 else {"$or": any_of})
    return every[0] if len(every) == 1 else {"$and": every}


def compiled(query: Query) -> list[list[re.Pattern[str]]]:
    """Return the same patterns for use here: of each group those of its terms.

    One at a time they are looked for quickly; joined by `|` they are not.
    """
    return [[re.compile(found) for found in group_patterns(group)] for group in _rarest(query)]


def _rarest(query: Query) -> list[tuple[Term, ...]]:
    groups = sorted(query.groups, key=lambda group: -min(_weight(term.folded) for term in group))
    return groups[:GROUPS_ASKED]


def group_patterns(group: Sequence[Term], *, json: bool = False) -> list[str]:
    """Return patterns, one of which matches every text with one of the terms."""
    patterns = [pattern(term.folded, json=json) for term in group]
    return [*patterns, _JSON_ESCAPE] if json else patterns


@lru_cache(maxsize=256)
def pattern(folded: str, *, json: bool = False) -> str:
    """Return a pattern that every text matches whose fold contains a folded term."""
    run = max(_runs(folded, json=json), key=_weight, default="")
    while run:
        units = "".join(_unit(character) for character in run)
        expanding = "".join(sorted(_expanding(run)))
        found = f"{units}|{_class(expanding)}" if expanding else units
        if len(found.encode()) <= PATTERN_BYTES:
            return found
        run = run[:-1]
    return ""


def _runs(folded: str, *, json: bool) -> Iterator[str]:
    """Yield parts of a term whose characters stand side by side in a text that has them.

    A character that has parts (é, が) ends a run: other accents may stand between its own.
    """
    run = ""
    previous = ""
    for character in folded:
        if character.isspace() or joins(character) or (json and _ESCAPED_IN_JSON.match(character)):
            yield run
            run = ""
        else:
            if _space_may_stand_between(previous, character):
                yield run
                run = ""
            run += character
            if base_of(character) != character or len(run) == RUN_CHARACTERS:
                yield run
                run = ""
        previous = character
    yield run


def _space_may_stand_between(left: str, right: str) -> bool:
    return bool(
        (_HAN.match(left) and _LATIN.match(right)) or (_LATIN.match(left) and _HAN.match(right))
    )


@lru_cache(maxsize=4_096)
def _unit(character: str) -> str:
    """Return the pattern of one folded character."""
    table = origins()
    raw = character + table.singles.get(character, "")
    parts = normalize("NFD", character)
    if parts[0] != character:
        # Any of its accents may come first, and be part of the first character or not.
        raw += parts[0] + table.singles.get(parts[0], "") + table.accented.get(parts[0], "")
        raw += normalize("NFC", parts[:2])[0]
    unit = _class("".join(sorted(set(raw))))
    if character == "i":
        return f"{unit}\u0307?"
    return unit + _SELECTORS if _SYMBOL.match(character) else unit


def _expanding(run: str) -> set[str]:
    """Return the raw characters that stand for several, some of which the run may need."""
    return _expanded_characters().beside(_skeleton(run))


class ExpandedCharacters:
    """Raw characters that stand for several, by parts of what they stand for.

    `{"ﬁ": "fi", "㎏": "kg", …}`: all parts are indexed, as a term of 16 characters touches some
    of the 1,300 at each of its own, and comparing it with every one took 80 ms.
    """

    def __init__(self, skeletons: dict[str, str]) -> None:
        self._whole: dict[str, set[str]] = {}
        self._parts: dict[str, set[str]] = {}
        self._beginnings: dict[str, set[str]] = {}
        self._ends: dict[str, set[str]] = {}
        self._longest = max(map(len, skeletons.values()), default=0)
        for raw, text in skeletons.items():
            self._whole.setdefault(text, set()).add(raw)
            for start in range(len(text)):
                self._ends.setdefault(text[start:], set()).add(raw)
                self._beginnings.setdefault(text[: start + 1], set()).add(raw)
                for end in range(start + 1, len(text) + 1):
                    self._parts.setdefault(text[start:end], set()).add(raw)

    def beside(self, text: str) -> set[str]:
        """Return those that stand within a text, contain it, or overlap with one of its ends."""
        found = set(self._parts.get(text, ()))
        for start in range(len(text)):
            for end in range(start + 1, min(len(text), start + self._longest) + 1):
                found |= self._whole.get(text[start:end], set())
        for length in range(1, min(len(text), self._longest) + 1):
            found |= self._ends.get(text[:length], set())
            found |= self._beginnings.get(text[-length:], set())
        return found


@lru_cache(maxsize=1)
def _expanded_characters() -> ExpandedCharacters:
    skeletons = {raw: _skeleton(folded) for raw, folded in origins().expanding.items()}
    return ExpandedCharacters({raw: text for raw, text in skeletons.items() if text})


def _skeleton(folded: str) -> str:
    """Return a text without its accents."""
    return "".join(c for c in normalize("NFD", folded) if not category(c).startswith("M"))


def _class(characters: str) -> str:
    if len(characters) == 1:
        return _escaped(characters)
    return f"[{''.join(map(_escaped, characters))}]"


def _escaped(character: str) -> str:
    """Return a character as a pattern of its own, in and outside of a class."""
    if character in _SPECIAL:
        return f"\\{character}"
    return f"\\x{ord(character):02x}" if ord(character) < 0x20 else character


def _weight(text: str) -> float:
    """Return how rare a text looks: long ones and Chinese ones are."""
    return sum(
        3 if _HAN.match(character) else 1 if character.isalnum() else 0.5 for character in text
    )
