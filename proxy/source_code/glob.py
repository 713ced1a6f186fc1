"""Git's globs as regular expressions over bytes.

Source: git's `wildmatch.c`. Paths are bytes, because git matches bytes: `?` is one byte, not
one character.
"""

import re
from collections.abc import Callable, Iterator

_SPECIAL = b"*?[\\"

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


class NeverMatchesError(ValueError):
    """Say that a malformed glob matches nothing."""


def expression(pattern: bytes, *, basename_only: bool) -> bytes:
    """Return a regular expression for exactly the paths that git's matcher lets the glob match.

    Raises:
        NeverMatchesError: git would match nothing with it.
    """
    if basename_only:
        if not pattern:
            raise NeverMatchesError
        return _translate(pattern, crossing=False)
    pattern = pattern.removeprefix(b"/")
    # git compares the literal start first and only then starts its matcher, which
    # therefore takes `**` right after that start for one at a path boundary; 2.47 does,
    # 2.55 no longer, and a pattern that leaves more out is the safer one for a digest.
    start = next((i for i, c in enumerate(pattern) if c in _SPECIAL), len(pattern))
    return re.escape(pattern[:start]) + _translate(pattern[start:], crossing=True)


def _translate(pattern: bytes, *, crossing: bool) -> bytes:
    """Translate a glob.

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
    """Join pieces with a single star between each two."""
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
                    raise NeverMatchesError
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
        raise NeverMatchesError
    return b"[" + b"".join(_ranges(sorted(members))) + b"]", index + 1


def _ranges(members: list[int]) -> Iterator[bytes]:
    """Return runs instead of single bytes: up to 255 of them would be slow to compile."""
    first = last = members[0]
    for member in (*members[1:], 0x200):
        if member != last + 1:
            yield b"\\x%02x-\\x%02x" % (first, last)
            first = member
        last = member


def _members(pattern: bytes, index: int, previous: int) -> tuple[set[int], int, int]:
    """One member of a set: its bytes, its last index, and what a `-` may range from."""
    char = _at(pattern, index)
    following = _at(pattern, index + 1)
    if char == 0x5B and following == 0x3A:
        close = pattern.find(b"]", index + 2)
        if close < 0:
            raise NeverMatchesError
        if close > index + 2 and pattern[close - 1] == 0x3A:
            belongs = _CLASSES.get(pattern[index + 2 : close - 1])
            if belongs is None:
                raise NeverMatchesError
            return {c for c in range(128) if belongs(c)}, close, 0
        return {char}, index, char
    if char == 0x2D and previous and following not in (0, 0x5D):
        char, index = _escaped(pattern, index + 1)
        return set(range(previous, char + 1)), index, 0
    char, index = _escaped(pattern, index)
    return {char}, index, char


def _escaped(pattern: bytes, index: int) -> tuple[int, int]:
    """Return the byte at `index`, or the one behind a backslash there, and its index."""
    if _at(pattern, index) == 0x5C:
        index += 1
    char = _at(pattern, index)
    if not char:
        raise NeverMatchesError
    return char, index
