"""Which paths a `.gitignore` leaves out, decided as git decides it.

Source: gitignore(5), and git's behaviour where the page is silent (`dir.c`,
`wildmatch.c`); a differential test against `git ls-files` holds the two together.
Paths are bytes, because git matches bytes: `?` is one byte, not one character.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

_SPECIAL = b"*?[\\"
_BOM = b"\xef\xbb\xbf"

_CLASSES: dict[bytes, Callable[[int], bool]] = {
    b"alnum": lambda c: chr(c).isalnum(),
    b"alpha": lambda c: chr(c).isalpha(),
    b"blank": lambda c: c in b" \t",
    b"cntrl": lambda c: c < 32 or c == 127,
    b"digit": lambda c: chr(c).isdigit(),
    b"graph": lambda c: 32 < c < 127,
    b"lower": lambda c: chr(c).islower(),
    b"print": lambda c: 32 <= c < 127,
    b"punct": lambda c: 32 < c < 127 and not chr(c).isalnum(),
    b"space": lambda c: c in b" \t\n\r",
    b"upper": lambda c: chr(c).isupper(),
    b"xdigit": lambda c: c in b"0123456789abcdefABCDEF",
}


class _NeverMatchesError(ValueError):
    """The pattern is malformed in a way that makes git match nothing with it."""


class _Rule(NamedTuple):
    negated: bool
    directories_only: bool
    basename_only: bool
    matches: Callable[[bytes], object]


class IgnoreRules:
    """The patterns of one ignore file, for the paths below the directory it stands in.

    `base` is that directory relative to the root, `b""` or `b"a/b/"`.
    """

    __slots__ = ("_base_length", "_maybe_name", "_maybe_path", "_rules")

    def __init__(self, text: bytes, base: bytes = b"") -> None:
        self._base_length = len(base)
        names: list[bytes] = []
        paths: list[bytes] = []
        rules: list[_Rule] = []
        for line in _lines(text):
            negated = line.startswith(b"!")
            pattern = line[1:] if negated else line
            directories_only = pattern.endswith(b"/")
            if directories_only:
                pattern = pattern[:-1]
            basename_only = b"/" not in pattern
            try:
                expression = _expression(pattern, basename_only)
            except _NeverMatchesError:
                continue
            (names if basename_only else paths).append(expression)
            matches = re.compile(expression, re.DOTALL).fullmatch
            rules.append(_Rule(negated, directories_only, basename_only, matches))
        rules.reverse()
        self._rules = rules
        self._maybe_name = _any_of(names)
        self._maybe_path = _any_of(paths)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def verdict(self, path: bytes, name: bytes, is_directory: bool) -> bool | None:
        """True: left out. False: taken back by a `!` pattern. None: no pattern speaks of it.

        `path` is relative to the root. The last pattern that matches decides. A parent
        that is left out must not be entered at all: git never looks below it again.
        """
        rest = path[self._base_length :]
        if not self._maybe_name(name) and not self._maybe_path(rest):
            return None
        for negated, directories_only, basename_only, matches in self._rules:
            if directories_only and not is_directory:
                continue
            if matches(name if basename_only else rest):
                return not negated
        return None


def rules_from_patterns(patterns: Iterable[str]) -> IgnoreRules:
    """Gitignore-style patterns that a caller gave, anchored at the root."""
    return IgnoreRules(b"\n".join(pattern.encode() for pattern in patterns))


def _any_of(expressions: list[bytes]) -> Callable[[bytes], object]:
    """A cheap first question: may any of these match?"""
    if not expressions:
        return lambda _: None
    return re.compile(b"|".join(b"(?:%s)" % e for e in expressions), re.DOTALL).fullmatch


def _lines(text: bytes) -> Iterator[bytes]:
    for raw in text.removeprefix(_BOM).split(b"\n"):
        if raw.startswith(b"#"):
            continue
        # git reads each line as a C string.
        line = _without_trailing_spaces(raw.removesuffix(b"\r").split(b"\0", 1)[0])
        if line:
            yield line


def _without_trailing_spaces(line: bytes) -> bytes:
    end: int | None = None
    index = 0
    while index < len(line):
        if line[index] == 0x20:
            end = index if end is None else end
        else:
            end = None
            index += line[index] == 0x5C
        index += 1
    return line if end is None else line[:end]


def _expression(pattern: bytes, basename_only: bool) -> bytes:
    if basename_only:
        if not pattern:
            raise _NeverMatchesError
        return _translate(pattern, crossing=False)
    pattern = pattern.removeprefix(b"/")
    # git compares the literal start first and only then starts its matcher, which
    # therefore takes `**` right after that start for one at a path boundary.
    start = next((i for i, c in enumerate(pattern) if c in _SPECIAL), len(pattern))
    return re.escape(pattern[:start]) + _translate(pattern[start:], crossing=True)


def _translate(pattern: bytes, *, crossing: bool) -> bytes:
    """A glob as a regular expression for `fullmatch`.

    Every star but the last takes the shortest text that lets its piece match, and keeps
    it (atomic groups): with globs a longer one never helps, and a hostile pattern full
    of stars stays cheap.
    """
    parts = _parts(pattern, crossing)
    out: list[bytes] = []
    for number, (star, pieces) in enumerate(parts):
        final = number == len(parts) - 1
        body = _part(pieces, final=final)
        if not star:
            out.append(body)
        elif final:
            out.append((b"(?:.*/)?" if star == b"**/" else b".*") + body)
        else:
            lazy = b"(?:.*?/)??" if star == b"**/" else b".*?"
            out.append(b"(?>" + lazy + body + b")")
    return b"".join(out)


def _part(pieces: list[bytes], *, final: bool) -> bytes:
    """Pieces with a single star between each two."""
    out = pieces[0]
    for number, piece in enumerate(pieces[1:], start=2):
        if final and number == len(pieces):
            out += b"[^/]*" + piece
        else:
            out += b"(?>[^/]*?" + piece + b")"
    return out


def _parts(pattern: bytes, crossing: bool) -> list[tuple[bytes, list[bytes]]]:
    """Cut at the stars that cross directories; within, at those that do not."""
    parts: list[tuple[bytes, list[bytes]]] = [(b"", [b""])]
    index = 0
    while index < len(pattern):
        char = pattern[index : index + 1]
        pieces = parts[-1][1]
        if char == b"*":
            end = index
            while pattern[end : end + 1] == b"*":
                end += 1
            after = pattern[end : end + 2]
            at_boundary = index == 0 or pattern[index - 1 : index] == b"/"
            before_boundary = not after or after[:1] == b"/" or after == b"\\/"
            if not (crossing and end - index > 1 and at_boundary and before_boundary):
                pieces.append(b"")
            elif after[:1] == b"/":
                parts.append((b"**/", [b""]))
                end += 1
            else:
                parts.append((b"**", [b""]))
            index = end
            continue
        if char == b"?":
            piece, index = b"[^/]", index + 1
        elif char == b"[":
            piece, index = _character_set(pattern, index)
        else:
            if char == b"\\":
                index += 1
                char = pattern[index : index + 1]
                if not char:
                    raise _NeverMatchesError
            piece, index = re.escape(char), index + 1
        pieces[-1] += piece
    return parts


def _at(pattern: bytes, index: int) -> int:
    return pattern[index] if index < len(pattern) else 0


def _character_set(pattern: bytes, start: int) -> tuple[bytes, int]:
    """`[…]` from `start` as a regular expression, and the index behind it."""
    index = start + 1
    negated = pattern[index : index + 1] in (b"!", b"^")
    index += negated
    members: set[int] = set()
    previous = 0
    first = True
    while first or _at(pattern, index) != 0x5D:
        first = False
        found, index, previous = _members(pattern, index, previous)
        members |= found
        index += 1
    if negated:
        members = set(range(256)) - members
    members.discard(0x2F)
    if not members:
        raise _NeverMatchesError
    return b"[" + b"".join(b"\\x%02x" % c for c in sorted(members)) + b"]", index + 1


def _members(pattern: bytes, index: int, previous: int) -> tuple[set[int], int, int]:
    """One member of a set: its bytes, its last index, and what a `-` may range from."""
    char = _at(pattern, index)
    following = _at(pattern, index + 1)
    if char == 0x5B and following == 0x3A:
        close = pattern.find(b"]", index + 2)
        if close < 0:
            raise _NeverMatchesError
        if close > index + 2 and pattern[close - 1] == 0x3A:
            belongs = _CLASSES.get(pattern[index + 2 : close - 1])
            if belongs is None:
                raise _NeverMatchesError
            return {c for c in range(128) if belongs(c)}, close, 0
        return {char}, index, char
    if char == 0x2D and previous and following not in (0, 0x5D):
        char, index = _escaped(pattern, index + 1)
        return set(range(previous, char + 1)), index, 0
    char, index = _escaped(pattern, index)
    return {char}, index, char


def _escaped(pattern: bytes, index: int) -> tuple[int, int]:
    """The byte at `index`, or the one behind a backslash there, and its index."""
    if _at(pattern, index) == 0x5C:
        index += 1
    char = _at(pattern, index)
    if not char:
        raise _NeverMatchesError
    return char, index
