"""The files of a tree that git would list, opened so that no link leads outside.

Every directory is opened through the descriptor of its parent and without following
links, so a path that is swapped for a link between two looks is not read.
"""

import errno
import os
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from proxy.errors import Conflict, Forbidden, NotFound, TooLarge
from proxy.source_code.base import Deadline, DigestLimits, DigestOptions, Skipped, display_path
from proxy.source_code.gitignore import (
    MAX_FILE_BYTES,
    IgnoreRules,
    TooMuchToIgnore,
    rules_from_patterns,
)

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO that takes the place of a file must not hold the reader up.
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LINK_ERRORS = (errno.ELOOP, errno.EMLINK)
_GITFILE_BYTES = 4096
_PATH_BYTES = 4095
"""A longer path is nothing that git can open, and slow to compare with patterns."""
_UNREADABLE_RULES = "unreadable .gitignore"


SERVER_DATA = {"embedded.json", "mongodb-uri"}
"""What a data directory of this server holds: everybody's conversations, and the password."""


class UnreadableError(Exception):
    """A file that cannot be read; the message is the reason for `skipped`."""


class SourceFile(NamedTuple):
    """A regular file, as it was when the directory was listed.

    `directory_fd` is open only until the next file is asked for.
    """

    path: str
    raw_path: bytes
    name: str
    directory_fd: int
    status: os.stat_result

    def read(self, limit_bytes: int) -> tuple[bytes, os.stat_result]:
        """The content, and the status the content was read under.

        Raises:
            UnreadableError: it is gone, was replaced, grew over the limit or is binary.
        """
        try:
            fd = os.open(self.name, FILE_FLAGS, dir_fd=self.directory_fd)
        except OSError as error:
            raise UnreadableError(_reason(error)) from None
        try:
            return _read(fd, self.status, limit_bytes)
        except OSError as error:
            raise UnreadableError(_reason(error)) from None
        finally:
            os.close(fd)


@dataclass(slots=True)
class _Directory:
    fd: int
    path: bytes
    """Relative to the root, `b""` or with a slash at its end."""
    rules: tuple[IgnoreRules, ...]
    """The nearest directory's first."""
    included: bool
    entries: list[tuple[bytes, str, os.DirEntry[str]]]
    """Reversed: the next one is at the end."""


def resolve_root(ai_work_dir: str | None, source_roots: list[Path]) -> Path:
    """The real directory of a project.

    Raises:
        Conflict: the project has none (409).
        Forbidden: it lies outside of `source_roots` (403).
        NotFound: it is gone (404).
    """
    if not ai_work_dir:
        raise Conflict("The project has no source directory; set its 'ai_work_dir'")
    if "\0" in ai_work_dir or not os.path.isabs(ai_work_dir):
        raise Forbidden("The project's 'ai_work_dir' must be an absolute path")
    real = os.path.realpath(ai_work_dir)
    roots = [os.path.realpath(root) for root in source_roots]
    if not any(real == root or real.startswith(root.rstrip("/") + "/") for root in roots):
        raise Forbidden(
            "The project's source directory is outside of the directories that this "
            "server may read (PROXY_SOURCE_ROOTS)"
        )
    try:
        if not stat.S_ISDIR(os.stat(real).st_mode):
            raise NotFound("The project's source directory is not a directory")
    except (OSError, ValueError):
        raise NotFound("The project's source directory does not exist") from None
    return Path(real)


def open_root(root: Path) -> int:
    """Open a directory that `resolve_root` gave.

    Raises:
        Forbidden: a link took the place of one of its parents.
        NotFound: it cannot be opened.
    """
    try:
        fd = os.open(root, DIRECTORY_FLAGS)
    except OSError:
        raise NotFound("The project's source directory does not exist") from None
    try:
        same = os.path.samestat(os.stat(root), os.fstat(fd))
    except OSError:
        same = False
    if not same or os.path.realpath(root) != str(root):
        os.close(fd)
        raise Forbidden("The project's source directory was replaced while it was opened")
    return fd


def walk(
    root: Path, options: DigestOptions, limits: DigestLimits, deadline: Deadline
) -> Generator[SourceFile | Skipped, None, None]:
    """Every file by the bytes of its path, and what is left out between them.

    Raises:
        NotFound: the root cannot be opened.
        TooLarge: more than `limits.entries` were met.
    """
    walker = _Walker(root, options, limits, deadline)
    try:
        yield from walker.run()
    finally:
        walker.close()


class _Walker:
    def __init__(
        self, root: Path, options: DigestOptions, limits: DigestLimits, deadline: Deadline
    ) -> None:
        self._root = root
        self._limits = limits
        self._deadline = deadline
        self._include = rules_from_patterns(options.include, deadline)
        self._chosen = any(pattern.strip() for pattern in options.include)
        self._exclude = rules_from_patterns(options.exclude, deadline)
        self._entries = 0
        self._open: list[_Directory] = []

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop().fd)

    def run(self) -> Iterator[SourceFile | Skipped]:
        fd = open_root(self._root)
        top = _Directory(fd, b"", (), not self._chosen, [])
        self._open.append(top)
        yield from self._list(top)
        while self._open:
            directory = self._open[-1]
            if not directory.entries:
                os.close(directory.fd)
                self._open.pop()
                continue
            key, name, entry = directory.entries.pop()
            found = self._entry(directory, key, name, entry)
            if isinstance(found, _Directory):
                self._open.append(found)
                yield from self._list(found)
            elif found is not None:
                yield found

    def _list(self, directory: _Directory) -> Iterator[Skipped]:
        """Fill in the entries and the rules of a directory that was just opened."""
        self._deadline.check()
        try:
            with os.scandir(directory.fd) as entries:
                listed = list(entries)
        except OSError as error:
            yield Skipped(_shown(directory), _reason(error))
            return
        self._entries += len(listed)
        if self._entries > self._limits.entries:
            raise TooLarge(
                f"The source directory has more than {self._limits.entries} entries; "
                "point 'ai_work_dir' at a smaller directory"
            )
        git = gitignore = False
        keyed: list[tuple[bytes, str, os.DirEntry[str]]] = []
        for entry in listed:
            name = entry.name
            if name == ".git":
                git = True
                continue
            gitignore = gitignore or name == ".gitignore"
            raw = os.fsencode(name)
            # With its slash a directory sorts where its files belong.
            keyed.append((raw + b"/" if entry.is_dir(follow_symlinks=False) else raw, name, entry))
        if {name for _, name, _ in keyed} >= SERVER_DATA:
            yield Skipped(_shown(directory), "a server's data directory")
            return
        if git and directory.path and self._is_repository(directory):
            yield Skipped(display_path(directory.path), "nested repository")
            return
        if gitignore:
            try:
                rules = self._read_rules(directory)
            except (OSError, TooMuchToIgnore) as error:
                # Without its rules, what they leave out would get in.
                reason = str(error) if isinstance(error, TooMuchToIgnore) else _UNREADABLE_RULES
                yield Skipped(_shown(directory), reason)
                return
            if rules:
                directory.rules = (rules, *directory.rules)
        keyed.sort(reverse=True, key=lambda item: item[0])
        directory.entries = keyed

    def _read_rules(self, directory: _Directory) -> IgnoreRules:
        """Read as git does: a link, or anything that is not a file, holds no rules."""
        status = os.stat(".gitignore", dir_fd=directory.fd, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            return IgnoreRules(b"")
        fd = os.open(".gitignore", FILE_FLAGS, dir_fd=directory.fd)
        with os.fdopen(fd, "rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
        return IgnoreRules(text, directory.path, self._deadline)

    def _is_repository(self, directory: _Directory) -> bool:
        """Whether git would list the directory as one entry, a repository of its own."""
        here = directory.fd
        try:
            status = os.stat(".git", dir_fd=here, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                return all(_exists(f".git/{name}", here) for name in ("HEAD", "objects", "refs"))
            if not stat.S_ISREG(status.st_mode):
                return False
            with os.fdopen(os.open(".git", FILE_FLAGS, dir_fd=here), "rb") as file:
                text = file.read(_GITFILE_BYTES)
        except OSError:
            return False
        if not text.startswith(b"gitdir: "):
            return False
        target = text.removeprefix(b"gitdir: ").rstrip(b"\r\n")
        beside = os.path.join(os.fsencode(self._root), directory.path, target)
        return b"\0" not in beside and os.path.exists(os.path.join(beside, b"HEAD"))

    def _entry(
        self, directory: _Directory, key: bytes, name: str, entry: os.DirEntry[str]
    ) -> SourceFile | Skipped | _Directory | None:
        self._deadline.check()
        if len(directory.path) + len(key) > _PATH_BYTES:
            return Skipped(display_path(directory.path + key), f"path over {_PATH_BYTES} bytes")
        is_directory = key[-1] == 0x2F
        raw_name = key[:-1] if is_directory else key
        raw_path = directory.path + raw_name
        path = (directory.path + key).decode("latin-1")
        for rules in directory.rules:
            verdict = rules.verdict(path)
            if verdict is not None:
                if verdict:
                    reason = "ignored directory" if is_directory else "ignored"
                    return Skipped(display_path(directory.path + key), reason)
                break
        if self._exclude and self._exclude.verdict(path):
            return Skipped(display_path(directory.path + key), "excluded")
        included = directory.included
        if self._chosen:
            verdict = self._include.verdict(path)
            included = included if verdict is None else verdict
        if is_directory:
            return self._enter(directory, raw_path, name, included)
        if not included:
            return Skipped(display_path(raw_path), "not included")
        return self._file(directory, raw_path, name, entry)

    def _enter(
        self, parent: _Directory, raw_path: bytes, name: str, included: bool
    ) -> _Directory | Skipped:
        path = raw_path + b"/"
        if len(self._open) > self._limits.depth:
            return Skipped(display_path(path), f"deeper than {self._limits.depth} directories")
        try:
            fd = os.open(name, DIRECTORY_FLAGS, dir_fd=parent.fd)
        except OSError as error:
            return Skipped(display_path(path), _reason(error))
        return _Directory(fd, path, parent.rules, included, [])

    def _file(
        self, directory: _Directory, raw_path: bytes, name: str, entry: os.DirEntry[str]
    ) -> SourceFile | Skipped:
        path = display_path(raw_path)
        if entry.is_symlink():
            return Skipped(path, self._link_reason(raw_path))
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            return Skipped(path, _reason(error))
        if not stat.S_ISREG(status.st_mode):
            return Skipped(path, "not a regular file")
        if status.st_size > self._limits.file_bytes:
            return Skipped(path, f"larger than {self._limits.file_bytes} bytes")
        return SourceFile(path, raw_path, name, directory.fd, status)

    def _link_reason(self, raw_path: bytes) -> str:
        root = os.fsencode(self._root)
        try:
            target = os.path.realpath(os.path.join(root, raw_path), strict=True)
        except OSError:
            return "broken link"
        inside = target == root or target.startswith(root.rstrip(b"/") + b"/")
        return "link inside the tree" if inside else "link out of the tree"


def _shown(directory: _Directory) -> str:
    return display_path(directory.path) or "./"


def _exists(path: str, directory_fd: int) -> bool:
    try:
        os.stat(path, dir_fd=directory_fd, follow_symlinks=False)
    except OSError:
        return False
    return True


def _read(fd: int, listed: os.stat_result, limit_bytes: int) -> tuple[bytes, os.stat_result]:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("not a regular file")
    if (status.st_dev, status.st_ino) != (listed.st_dev, listed.st_ino):
        raise UnreadableError("replaced while it was opened")
    chunks: list[bytes] = []
    left = limit_bytes + 1
    wanted = min(status.st_size + 1, left)
    while wanted:
        chunk = os.read(fd, wanted)
        chunks.append(chunk)
        left -= len(chunk)
        if len(chunk) < wanted:
            # Regular files give less than asked for at their end only.
            break
        wanted = min(64 * 1024, left)
    if left <= 0:
        raise UnreadableError(f"larger than {limit_bytes} bytes")
    return (chunks[0] if len(chunks) == 1 else b"".join(chunks)), status


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "gone while it was read"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, NotADirectoryError) or error.errno in _LINK_ERRORS:
        return "replaced by a link"
    return "cannot be read"
