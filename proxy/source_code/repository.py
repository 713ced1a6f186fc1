"""The git repository that a directory lies in: what it ignores and what it tracks."""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from proxy.errors import Forbidden
from proxy.source_code.base import Deadline
from proxy.source_code.git_index import Tracked, read_index
from proxy.source_code.gitignore import MAX_FILE_BYTES, IgnoreRules

# A FIFO that takes the place of a file must not hold the reader up.
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
GITFILE_BYTES = 4096
_SHA256 = re.compile(rb"^\s*objectformat\s*=\s*sha256\s*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Repository:
    """Know what git knows of a directory inside of a work tree."""

    prefix: bytes = b""
    """The directory relative to the top of the work tree, `b""` or `b"a/b/"`."""
    rules: tuple[IgnoreRules, ...] = ()
    """Of the directories above and of `info/exclude`, the nearest first."""
    is_ignored: bool = False
    """A directory above, or the directory itself, is ignored: only tracked files are seen."""
    git_directory: str = field(default="")
    object_id_bytes: int = 20

    def tracked(self) -> Tracked:
        """Return what is tracked below the directory.

        Raises:
            UnknownIndexError: the index cannot be read.
        """
        if not self.git_directory:
            return Tracked()
        return read_index(self.git_directory, self.prefix, self.object_id_bytes)


def find_repository(root: Path, deadline: Deadline) -> Repository:
    """Return the repository that git would take for a directory; an empty one if there is none.

    Like git, it does not look beyond the file system of the directory.

    Raises:
        Forbidden: the directory lies inside of git's own (403).
        OSError, TooMuchToIgnore: an ignore file above cannot be used.
    """
    if ".git" in root.parts:
        raise inside_git()
    device = os.stat(root).st_dev
    for top in (root, *root.parents):
        try:
            if os.stat(top).st_dev != device:
                break
        except OSError:
            break
        git_directory = repository_at(top)
        if git_directory is not None:
            return _read(root, top, git_directory, deadline)
        if all((top / name).exists() for name in ("HEAD", "objects", "refs")):
            raise inside_git()
    return Repository()


def inside_git() -> Forbidden:
    """Return the 403 for a directory of git's own."""
    return Forbidden("A git repository's own directory is no source directory")


def repository_at(top: Path) -> str | None:
    """Return the directory where git keeps what it knows of a work tree's top, if it is one."""
    git = top / ".git"
    try:
        status = os.stat(git, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            names = ("HEAD", "objects", "refs")
            return str(git) if all(os.path.lexists(git / name) for name in names) else None
        text = read_small(git, GITFILE_BYTES)
    except OSError:
        return None
    return linked_git_directory(text, top)


def linked_git_directory(text: bytes, top: Path) -> str | None:
    """Return the directory that a `.git` file names, if it is one of git's."""
    if not text.startswith(b"gitdir: "):
        return None
    target = text.removeprefix(b"gitdir: ").rstrip(b"\r\n")
    if b"\0" in target:
        return None
    found = os.path.join(os.fsencode(top), target)
    return os.fsdecode(found) if os.path.exists(os.path.join(found, b"HEAD")) else None


def read_small(path: Path | str, limit_bytes: int) -> bytes:
    """Return the content of a regular file, one byte over the limit at most.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    fd = os.open(path, FILE_FLAGS)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError("not a regular file")
        return file.read(limit_bytes + 1)


def _read(root: Path, top: Path, git_directory: str, deadline: Deadline) -> Repository:
    common = _common_directory(git_directory)
    rules: tuple[IgnoreRules, ...] = ()
    exclude = _read_rules(Path(common, "info", "exclude"), b"", deadline)
    if exclude:
        rules = (exclude,)
    path = b""
    is_ignored = False
    directory = top
    for name in root.relative_to(top).parts:
        found = _read_rules(directory / ".gitignore", path, deadline)
        if found:
            rules = (found, *rules)
        path += os.fsencode(name) + b"/"
        directory /= name
        is_ignored = is_ignored or is_left_out(rules, path.decode("latin-1"))
    try:
        config = read_small(os.path.join(common, "config"), MAX_FILE_BYTES)
    except OSError:
        config = b""
    return Repository(path, rules, is_ignored, git_directory, 32 if _SHA256.search(config) else 20)


def is_left_out(rules: tuple[IgnoreRules, ...], path: str) -> bool:
    """Return whether the first rules that speak of a path leave it out."""
    for some in rules:
        verdict = some.verdict(path)
        if verdict is not None:
            return verdict
    return False


def _common_directory(git_directory: str) -> str:
    """Return what a linked work tree shares with the others."""
    try:
        named = read_small(os.path.join(git_directory, "commondir"), GITFILE_BYTES)
    except OSError:
        return git_directory
    return os.path.join(git_directory, os.fsdecode(named.rstrip(b"\r\n")))


def _read_rules(path: Path, base: bytes, deadline: Deadline) -> IgnoreRules | None:
    """Read as git does: a link, or anything that is not a file, holds no rules."""
    try:
        if not stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode):
            return None
    except FileNotFoundError:
        return None
    return IgnoreRules(read_small(path, MAX_FILE_BYTES), base, deadline)
