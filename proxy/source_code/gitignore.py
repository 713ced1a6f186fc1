"""Which paths a `.gitignore` leaves out, decided as git decides it.

Source: gitignore(5), and git's behaviour where the page is silent (`dir.c`); a differential
test against `git ls-files` holds the two together.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from pathspec import PathSpec, RegexPattern

from proxy.source_code.glob import NeverMatchesError, expression

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


class IgnoreRules:
    """Decide by the patterns of one ignore file, for the paths below its directory.

    `base` is that directory relative to the root, `b""` or `b"a/b/"`.
    """

    __slots__ = ("_base_length", "_may_match", "_spec")

    def __init__(self, text: bytes, base: bytes = b"") -> None:
        self._base_length = len(base)
        found = (GitPattern(line.decode("latin-1")) for line in _lines(text))
        patterns = [pattern for pattern in found if pattern.include is not None]
        # Another engine that happens to be installed would not know atomic groups.
        self._spec = PathSpec(patterns, backend="simple")
        self._may_match = _any_of(patterns)

    def __bool__(self) -> bool:
        return len(self._spec) > 0

    def verdict(self, path: str) -> bool | None:
        """Return True for left out, False for taken back by `!`, None if no pattern speaks of it.

        `path` is relative to the root, one character a byte, a slash at a directory's end.
        The last pattern that matches decides. A parent that is left out must not be entered
        at all: git never looks below it again.
        """
        rest = path[self._base_length :]
        return self._spec.check_file(rest).include if self._may_match(rest) else None


def rules_from_patterns(patterns: Iterable[str]) -> IgnoreRules:
    """Return the rules of gitignore-style patterns that a caller gave, anchored at the root."""
    return IgnoreRules(b"\n".join(pattern.encode() for pattern in patterns))


def _any_of(patterns: list[GitPattern]) -> Callable[[str], object]:
    """Return a cheap first question: may any of these match?"""
    found: dict[str, list[str]] = {_NAME_START: [], _PATH_START: []}
    for pattern in patterns:
        text = pattern.expression
        start = _NAME_START if text.startswith(_NAME_START) else _PATH_START
        end = _DIRECTORY_END if text.endswith(_DIRECTORY_END) else _ANY_END
        found[start].append(text[len(start) : -len(end)])
    kinds = [f"{start}{'|'.join(some)}{_ANY_END}" for start, some in found.items() if some]
    return re.compile("|".join(kinds)).match if kinds else lambda _: None


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
