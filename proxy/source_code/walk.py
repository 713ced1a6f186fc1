"""The files of a tree that git would list, opened so that no link leads outside.

Every directory is opened through the descriptor of its parent and without following
links, so a path that is swapped for a link between two looks is not read.
"""

import os
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import Forbidden, NotFound, TooLarge
from proxy.source_code.base import Deadline, DigestLimits, DigestOptions, Skipped, display_path
from proxy.source_code.git_index import Tracked, UnknownIndexError
from proxy.source_code.gitignore import (
    MAX_FILE_BYTES,
    IgnoreRules,
    TooMuchToIgnore,
    rules_from_patterns,
)
from proxy.source_code.repository import (
    FILE_FLAGS,
    GITFILE_BYTES,
    Repository,
    find_repository,
    is_left_out,
    linked_git_directory,
)
from proxy.source_code.source_file import SourceFile, reason_of

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH_BYTES = 4095
"""A longer path is nothing that git can open, and slow to compare with patterns."""
_UNREADABLE_RULES = "unreadable .gitignore"


SERVER_DATA = {"embedded.json", "mongodb-uri"}
"""What a data directory of this server holds: everybody's conversations, and the password."""


@dataclass(slots=True)
class _Directory:
    fd: int
    path: bytes
    """Relative to the root, `b""` or with a slash at its end."""
    rules: tuple[IgnoreRules, ...]
    """The nearest directory's first."""
    included: bool
    only_tracked: bool
    """The directory is ignored, and something in it is tracked all the same."""
    entries: list[tuple[bytes, str, os.DirEntry[str]]]
    """Reversed: the next one is at the end."""


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
        self._repository = Repository()
        self._tracked: Tracked | None = None
        self._index_is_unknown = False
        self._entries = 0
        self._open: list[_Directory] = []

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop().fd)

    def run(self) -> Iterator[SourceFile | Skipped]:
        fd = open_root(self._root)
        top = _Directory(fd, b"", (), not self._chosen, False, [])
        self._open.append(top)
        try:
            self._repository = find_repository(self._root, self._deadline)
        except (OSError, TooMuchToIgnore) as error:
            yield Skipped("./", f"above it: {_rules_reason(error)}")
            return
        top.rules = self._repository.rules
        if self._repository.is_ignored:
            top.only_tracked = True
            yield Skipped("./", "ignored by the repository that it lies in")
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
        if self._index_is_unknown:
            yield Skipped(".git/index", "cannot be read: tracked files count as any others")

    def _list(self, directory: _Directory) -> Iterator[Skipped]:
        """Fill in the entries and the rules of a directory that was just opened."""
        self._deadline.check()
        try:
            with os.scandir(directory.fd) as entries:
                listed = list(entries)
            if self._is_own(os.fstat(directory.fd)):
                yield Skipped(_shown(directory), "the server's data directory")
                return
        except OSError as error:
            if not directory.path:
                raise NotFound("The project's source directory cannot be read") from None
            yield Skipped(_shown(directory), reason_of(error))
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
        if directory.path and self._is_other(directory, git):
            yield Skipped(display_path(directory.path), "nested repository")
            return
        if gitignore:
            try:
                rules = self._read_rules(directory)
            except (OSError, TooMuchToIgnore) as error:
                # Without its rules, what they leave out would get in.
                yield Skipped(_shown(directory), _rules_reason(error))
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
        return IgnoreRules(text, self._full(directory.path), self._deadline)

    def _full(self, path: bytes) -> bytes:
        """Relative to the top of the repository."""
        return self._repository.prefix + path

    def _known(self) -> Tracked:
        """Return what git tracks."""
        if self._tracked is None:
            try:
                self._tracked = self._repository.tracked()
            except UnknownIndexError:
                self._index_is_unknown = True
                self._tracked = Tracked()
        return self._tracked

    def _is_own(self, status: os.stat_result) -> bool:
        own = self._limits.never_read
        return bool(own) and (status.st_dev, status.st_ino) in own

    def _is_other(self, directory: _Directory, git: bool) -> bool:
        """Whether the directory belongs to another repository, or to a submodule."""
        known, full = self._known(), self._full(directory.path)
        if full in known.directories:
            return False
        return full[:-1] in known.submodules or (git and self._is_repository(directory))

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
                text = file.read(GITFILE_BYTES)
        except OSError:
            return False
        top = Path(os.fsdecode(os.path.join(os.fsencode(self._root), directory.path)))
        return linked_git_directory(text, top) is not None

    def _entry(
        self, directory: _Directory, key: bytes, name: str, entry: os.DirEntry[str]
    ) -> SourceFile | Skipped | _Directory | None:
        self._deadline.check()
        here = directory.path + key
        if len(here) > _PATH_BYTES:
            return Skipped(display_path(here), f"path over {_PATH_BYTES} bytes")
        is_directory = key[-1] == 0x2F
        full = self._repository.prefix + here
        text = full.decode("latin-1")
        if directory.only_tracked or is_left_out(directory.rules, text):
            ignored = True
            known = self._known()
            if full not in (known.directories if is_directory else known.files):
                reason = "ignored directory" if is_directory else "ignored"
                return Skipped(display_path(here), reason)
        else:
            ignored = False
        included = directory.included
        if self._exclude or self._chosen:
            path = text[len(self._repository.prefix) :]
            if self._exclude and self._exclude.verdict(path):
                return Skipped(display_path(here), "excluded")
            if self._chosen:
                verdict = self._include.verdict(path)
                included = included if verdict is None else verdict
        raw_path = here[:-1] if is_directory else here
        if is_directory:
            return self._enter(directory, raw_path, name, included, ignored)
        if not included:
            return Skipped(display_path(raw_path), "not included")
        return self._file(directory, raw_path, name, entry)

    def _enter(
        self, parent: _Directory, raw_path: bytes, name: str, included: bool, ignored: bool
    ) -> _Directory | Skipped:
        path = raw_path + b"/"
        if len(self._open) > self._limits.depth:
            return Skipped(display_path(path), f"deeper than {self._limits.depth} directories")
        try:
            fd = os.open(name, DIRECTORY_FLAGS, dir_fd=parent.fd)
        except OSError as error:
            return Skipped(display_path(path), reason_of(error))
        return _Directory(fd, path, parent.rules, included, ignored, [])

    def _file(
        self, directory: _Directory, raw_path: bytes, name: str, entry: os.DirEntry[str]
    ) -> SourceFile | Skipped:
        path = display_path(raw_path)
        if entry.is_symlink():
            return Skipped(path, self._link_reason(raw_path))
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            return Skipped(path, reason_of(error))
        if not stat.S_ISREG(status.st_mode):
            return Skipped(path, "not a regular file")
        if self._is_own(status):
            return Skipped(path, "the server's own")
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


def _rules_reason(error: Exception) -> str:
    return str(error) if isinstance(error, TooMuchToIgnore) else _UNREADABLE_RULES


def _exists(path: str, directory_fd: int) -> bool:
    try:
        os.stat(path, dir_fd=directory_fd, follow_symlinks=False)
    except OSError:
        return False
    return True
