"""Which paths a `.gitignore` leaves out, decided as git decides it.

Source: gitignore(5), and git's behaviour where the page is silent (`dir.c`); a differential
test against `git ls-files` holds the two together.
"""

import re
from collections.abc import Iterable, Iterator

from pathspec import PathSpec, RegexPattern

from proxy.errors import BadRequest
from proxy.source_code.base import MIB, Deadline
from proxy.source_code.glob import NeverMatchesError, expression

MAX_FILE_BYTES = MIB
_MAX_LINE_BYTES = 4096
_BATCH_BYTES = 8 * 1024
"""Expressions that are tried in one step, which nothing interrupts."""

_BOM = "\ufeff".encode()
# Around what matches a name, or a path; one that names a directory ends with a slash.
_NAME_START = r"\A(?s:(?>(?:.*/(?=[^/]))?)(?:"
_PATH_START = r"\A(?s:(?:"
_ANY_END, _DIRECTORY_END = r")(?<!/)/?)\Z", r")(?<!/)/)\Z"


class GitPattern(RegexPattern):
    """Match the paths that one line of a `.gitignore` speaks of, exactly as git would.

    A pattern for `pathspec.PathSpec`. Lines and paths hold one character for each byte
    (`os.fsencode(path).decode("latin-1")`), because git matches bytes. A path is relative to
    the directory of the `.gitignore`, and ends with a slash if it is a directory. `include`
    is True for what is left out, False for a line with `!`, None for one that never matches.
    """

    __slots__ = ()

    @property
    def expression(self) -> str:
        """Return the regular expression's text, empty if the pattern never matches."""
        return self.regex.pattern if self.regex else ""

    @classmethod
    def pattern_to_regex(cls, pattern: str) -> tuple[str | None, bool | None]:  # type: ignore[override]
        """Return the regular expression of a line without its end, and `include`."""
        glob = pattern.removeprefix("!")
        end = _DIRECTORY_END if glob.endswith("/") else _ANY_END
        glob = glob.removesuffix("/")
        name = "/" not in glob
        try:
            found = expression(glob.encode("latin-1"), basename_only=name).decode("latin-1")
        except NeverMatchesError:
            return None, None
        start = _NAME_START if name else _PATH_START
        return f"{start}{found}{end}", not pattern.startswith("!")


class TooMuchToIgnore(ValueError):
    """Refuse an ignore file; the message says what it has too much of, for `skipped`."""


class IgnoreRules:
    """Decide by the patterns of one ignore file, for the paths below its directory.

    `base` is that directory relative to the root, `b""` or `b"a/b/"`.

    Raises:
        TooMuchToIgnore: the file is over 1 MiB or a pattern over 4 KiB.
        RequestTimedOut: there was no time to read all patterns.
    """

    __slots__ = ("_base_length", "_batches", "_check")

    def __init__(self, text: bytes, base: bytes = b"", deadline: Deadline | None = None) -> None:
        self._base_length = len(base)
        self._check = deadline.check if deadline else lambda: None
        if len(text) > MAX_FILE_BYTES:
            raise TooMuchToIgnore(".gitignore larger than 1 MiB")
        found = [_Batch(some) for some in _batches(self._patterns(text))]
        self._batches = found[::-1]

    def _patterns(self, text: bytes) -> Iterator[GitPattern]:
        for line in _lines(text):
            self._check()
            if len(line) > _MAX_LINE_BYTES:
                raise TooMuchToIgnore(".gitignore with a line over 4 KiB")
            pattern = GitPattern(line.decode("latin-1"))
            if pattern.include is not None:
                yield pattern

    def __bool__(self) -> bool:
        return bool(self._batches)

    def verdict(self, path: str) -> bool | None:
        """Return True for left out, False for taken back by `!`, None if no pattern speaks of it.

        `path` is relative to the root, one character a byte, a slash at a directory's end.
        The last pattern that matches decides. A parent that is left out must not be entered
        at all: git never looks below it again.
        """
        rest = path[self._base_length :]
        for batch in self._batches:
            if batch.may_match(rest):
                self._check()
                include = batch.spec.check_file(rest).include
                if include is not None:
                    return include
        return None


def rules_from_patterns(patterns: Iterable[str], deadline: Deadline | None = None) -> IgnoreRules:
    """Return the rules of gitignore-style patterns that a caller gave, anchored at the root.

    Raises:
        BadRequest: a pattern is over 4 KiB (400).
    """
    try:
        return IgnoreRules(b"\n".join(pattern.encode() for pattern in patterns), b"", deadline)
    except TooMuchToIgnore:
        raise BadRequest("A pattern of 'include' or 'exclude' is too long; shorten it") from None


class _Batch:
    """Some patterns, with a cheap first question: may any of them match?"""

    __slots__ = ("may_match", "spec")

    def __init__(self, patterns: list[GitPattern]) -> None:
        # Another engine that happens to be installed would not know atomic groups.
        self.spec = PathSpec(patterns, backend="simple")
        found: dict[str, list[str]] = {_NAME_START: [], _PATH_START: []}
        for pattern in patterns:
            text = pattern.expression
            start = _NAME_START if text.startswith(_NAME_START) else _PATH_START
            end = _DIRECTORY_END if text.endswith(_DIRECTORY_END) else _ANY_END
            found[start].append(text[len(start) : -len(end)])
        kinds = [f"{start}{'|'.join(some)}{_ANY_END}" for start, some in found.items() if some]
        self.may_match = re.compile("|".join(kinds)).match


def _batches(patterns: Iterable[GitPattern]) -> Iterator[list[GitPattern]]:
    some: list[GitPattern] = []
    size = 0
    for pattern in patterns:
        length = len(pattern.expression)
        if some and size + length > _BATCH_BYTES:
            yield some
            some, size = [], 0
        some.append(pattern)
        size += length
    if some:
        yield some


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
