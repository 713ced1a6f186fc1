"""What the parts of a digest share: its limits, its choices and the names of things."""

import time
from collections.abc import Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Literal, TypeVar

from proxy.errors import RequestTimedOut

MIB = 1024 * 1024
_LOOK_SECONDS = 0.1

_T = TypeVar("_T")

Format = Literal["plain", "markdown", "xml", "json"]
Tree = Literal["none", "top", "only"]


@dataclass(frozen=True, slots=True)
class DigestLimits:
    """How much of a tree is read.

    Over `digest_bytes` and `entries` the whole digest is refused, over `seconds` it is
    given up; the others skip a file or a directory.
    """

    file_bytes: int = 8 * MIB
    digest_bytes: int = 256 * MIB
    entries: int = 1_000_000
    """Files and directories that are looked at, left out or not."""
    depth: int = 64
    seconds: float = 120
    never_read: frozenset[tuple[int, int]] = frozenset()
    """Device and inode of files and directories that are the server's own."""


@dataclass(frozen=True, slots=True)
class DigestOptions:
    """What the caller chose. `include` and `exclude` are gitignore-style patterns.

    `since` is the manifest of an earlier digest (path → hash of its text): only files
    that differ from it are put into the text.
    """

    format: Format = "plain"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_tokens: int | None = None
    tree: Tree = "none"
    lines: bool = False
    redact: bool = True
    since: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that is not in the text, and why. A directory's path ends in a slash."""

    path: str
    reason: str


class Deadline:
    """The moment at which a digest is given up; any thread may look at it or bring it forward."""

    __slots__ = ("_at", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = time.monotonic() + seconds

    def pass_now(self) -> None:
        """Give the digest up the next time that it looks: nobody waits for it any more."""
        self._at = float("-inf")

    @property
    def has_passed(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self._at

    def check(self) -> None:
        """Raise `RequestTimedOut` (408) when the time is over."""
        if time.monotonic() > self._at:
            raise RequestTimedOut(
                f"Reading the source took longer than {self._seconds:g} s; "
                "narrow it with 'include' or 'exclude'"
            )

    def wait(self, work: Future[_T]) -> _T:
        """Return what another thread makes.

        Raises:
            RequestTimedOut: it was not made in time (408).
        """
        while not wait((work,), timeout=_LOOK_SECONDS).done:
            self.check()
        return work.result()


def display_path(raw: bytes) -> str:
    """Return a path for people and programs; quoted as git quotes it if it is no plain text.

    Plain: `src/程序.py`. Quoted, in double quotes with escapes: control characters,
    double quotes, backslashes and bytes that are no UTF-8. So no path contains a line
    break, and no two files share a displayed path.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "surrogateescape")
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return '"' + "".join(_quoted(char) for char in text) + '"'


def _quoted(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    return "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape"))


@dataclass(frozen=True, slots=True)
class SourceAttachment:
    """What a client asks for: `{"include": […], "max_tokens": n, "since": "last"}`."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_tokens: int | None = None
    since_last: bool = False
