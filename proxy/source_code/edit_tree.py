"""Changes to the files of one directory, each whole or not at all, and never through a link.

As for a digest, every directory is opened through the descriptor of its parent without
following links. A file is written beside its place and renamed into it; what was there
before is copied, or what is deleted moved, to a backup.
"""

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from proxy.errors import Conflict
from proxy.source_code.edit_files import (
    COPY_BYTES,
    NEW_FILE,
    check_file,
    copy_folder,
    moment_of,
    opened,
    raise_error,
    status_of,
    unlink_quietly,
    write_all,
    write_new,
)
from proxy.source_code.edit_paths import EditError, is_git_name
from proxy.source_code.walk import DIRECTORY_FLAGS, SERVER_DATA, open_root


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """`entries` and `depth` bound a folder that is deleted, `depth` every path."""

    file_bytes: int
    entries: int = 1_000_000
    depth: int = 64


@dataclass(frozen=True, slots=True)
class Change:
    """What came of one edit; `before` is the former content where it was asked for."""

    note: str = ""
    changed: bool = True
    backup: str = ""
    before: bytes | None = None


class EditTree:
    """One directory that is written to; nobody else writes to it through a tree meanwhile.

    `backups` is a directory for this run, made when it is first needed; None keeps nothing.
    Directories of `forbidden` are never entered nor deleted.
    """

    def __init__(
        self, root: Path, limits: TreeLimits, *, backups: Path | None, forbidden: tuple[Path, ...]
    ) -> None:
        self._root = root
        self._limits = limits
        self._backups = backups
        self._forbidden = {
            (status.st_dev, status.st_ino)
            for path in forbidden
            if (status := _status_of_path(path)) is not None
        }
        self._fd = open_root(root)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise Conflict(
                "Files of this directory are being written; try again when that has ended"
            ) from None
        except OSError:
            # A file system without locks: every file is still replaced whole.
            pass
        try:
            self._check_directory(self._fd, os.fstat(self._fd), ())
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        """Let others write."""
        os.close(self._fd)

    def read(self, parts: tuple[str, ...]) -> bytes | None:
        """Read a file; None where there is none.

        Raises:
            EditError: it is something else than a file, or larger than a file may be.
            OSError: it cannot be read.
        """
        try:
            with self._parent(parts, create=False) as parent:
                status = status_of(parent, parts[-1])
                return None if status is None else self._read(parent, parts[-1], status)
        except FileNotFoundError:
            return None

    def write_file(self, parts: tuple[str, ...], content: bytes, number: int) -> Change:
        """Create or replace a file, with its directories.

        Raises:
            EditError, OSError: nothing was changed.
        """
        with self._parent(parts, create=True) as parent:
            name = parts[-1]
            old = status_of(parent, name)
            if old is not None:
                check_file(old)
                if old.st_size == len(content) and self._read(parent, name, old) == content:
                    return Change("It has this content already", changed=False)
            temporary = f".proxy-{uuid4().hex}.tmp"
            try:
                write_new(parent, temporary, content, old)
                backup = self._copy(parent, parts, old, number) if old is not None else ""
                os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                unlink_quietly(parent, temporary)
                raise
            os.fsync(parent)
            return Change(backup=backup)

    def delete_file(self, parts: tuple[str, ...], number: int) -> Change:
        """Delete a file.

        Raises:
            EditError, OSError: nothing was changed.
        """
        try:
            with self._parent(parts, create=False) as parent:
                status = status_of(parent, parts[-1])
                if status is None:
                    raise FileNotFoundError
                check_file(status)
                backup = self._copy(parent, parts, status, number)
                os.unlink(parts[-1], dir_fd=parent)
                return Change(backup=backup)
        except FileNotFoundError:
            return Change("There is no such file; nothing was deleted", changed=False)

    def create_folder(self, parts: tuple[str, ...]) -> Change:
        """Create a directory and those above it.

        Raises:
            EditError, OSError: it is not there.
        """
        existed = True
        try:
            with self._parent((*parts, ""), create=False):
                pass
        except FileNotFoundError:
            existed = False
            with self._parent((*parts, ""), create=True):
                pass
        return Change("The directory exists already", changed=False) if existed else Change()

    def delete_folder(self, parts: tuple[str, ...], number: int) -> Change:
        """Delete a directory with all that is in it.

        Raises:
            EditError, OSError: nothing was changed.
        """
        try:
            with self._parent(parts, create=False) as parent:
                self.check_folder(parent, parts[-1])
                # One rename takes it out of sight; what follows may take its time.
                aside = f".proxy-{uuid4().hex}.tmp"
                backup = self._backup_directory(parts, number)
                if backup is not None:
                    try:
                        os.rename(parts[-1], backup.path / parts[-1], src_dir_fd=parent)
                    except OSError as error:
                        if error.errno != errno.EXDEV:
                            raise
                    else:
                        return Change(backup=f"{backup.name}/{parts[-1]}")
                os.rename(parts[-1], aside, src_dir_fd=parent, dst_dir_fd=parent)
                if backup is not None:
                    try:
                        copy_folder(parent, aside, backup.path / parts[-1])
                    except BaseException:
                        os.rename(aside, parts[-1], src_dir_fd=parent, dst_dir_fd=parent)
                        raise
                shutil.rmtree(aside, dir_fd=parent)
                return Change(backup=f"{backup.name}/{parts[-1]}" if backup else "")
        except FileNotFoundError:
            return Change("There is no such directory; nothing was deleted", changed=False)

    def list_folder(self, parts: tuple[str, ...]) -> list[str]:
        """List what deleting a directory would delete, the files' paths below it.

        Raises:
            EditError, OSError: it may not or cannot be deleted.
        """
        try:
            with self._parent(parts, create=False) as parent:
                return self.check_folder(parent, parts[-1])
        except FileNotFoundError:
            return []

    def check_folder(self, parent: int, name: str) -> list[str]:
        """List the files below a directory that may be deleted.

        Raises:
            EditError: it holds a repository, another file system or too much, or is no directory.
            FileNotFoundError: there is none.
        """
        status = status_of(parent, name)
        if status is None:
            raise FileNotFoundError
        if not stat.S_ISDIR(status.st_mode):
            raise EditError("It is not a directory")
        found: list[str] = []
        entries = 0
        try:
            for path, directories, files, fd in os.fwalk(name, dir_fd=parent, onerror=raise_error):
                here = os.fstat(fd)
                if here.st_dev != status.st_dev:
                    raise EditError(f"Another file system is mounted in it at {path}")
                self._check_directory(fd, here, directories + files)
                entries += len(directories) + len(files)
                if entries > self._limits.entries or path.count("/") > self._limits.depth:
                    raise EditError(
                        f"It holds more than {self._limits.entries} entries or "
                        f"{self._limits.depth} levels; delete it by hand"
                    )
                found += [f"{path}/{file}"[len(name) + 1 :] for file in files]
        except RecursionError:
            raise EditError("It is nested too deep; delete it by hand") from None
        return sorted(found)

    @contextmanager
    def _parent(self, parts: tuple[str, ...], *, create: bool) -> Iterator[int]:
        """Yield the descriptor of the directory that holds the last name."""
        fd = os.dup(self._fd)
        try:
            for part in parts[:-1]:
                try:
                    below = os.open(part, DIRECTORY_FLAGS, dir_fd=fd)
                except FileNotFoundError:
                    if not create:
                        raise
                    os.mkdir(part, dir_fd=fd)
                    below = os.open(part, DIRECTORY_FLAGS, dir_fd=fd)
                os.close(fd)
                fd = below
                self._check_directory(fd, os.fstat(fd), ())
            yield fd
        finally:
            os.close(fd)

    def _check_directory(self, fd: int, status: os.stat_result, names: Sequence[str]) -> None:
        if (status.st_dev, status.st_ino) in self._forbidden or all(
            status_of(fd, name) is not None for name in SERVER_DATA
        ):
            raise EditError("It is a server's data directory, which is never written to")
        if any(is_git_name(name) for name in names):
            raise EditError("It holds a git repository, which is never deleted")

    def _read(self, parent: int, name: str, listed: os.stat_result) -> bytes:
        check_file(listed)
        if listed.st_size > self._limits.file_bytes:
            raise EditError(f"The file is larger than {self._limits.file_bytes} bytes")
        with opened(parent, name, listed) as fd:
            chunks = iter(lambda: os.read(fd, COPY_BYTES), b"")
            return b"".join(chunks)

    def _copy(
        self, parent: int, parts: tuple[str, ...], status: os.stat_result, number: int
    ) -> str:
        """Keep a file's content; the name of the copy, empty where nothing is kept."""
        backup = self._backup_directory(parts, number)
        if backup is None:
            return ""
        with opened(parent, parts[-1], status) as source:
            target = os.open(backup.path / parts[-1], NEW_FILE, 0o600)
            try:
                while chunk := os.read(source, COPY_BYTES):
                    write_all(target, chunk)
                os.fchmod(target, stat.S_IMODE(status.st_mode) & 0o777)
                os.fsync(target)
            finally:
                os.close(target)
            # Whoever changed it meanwhile would lose the change.
            if moment_of(os.fstat(source)) != moment_of(status):
                raise EditError("It was changed by somebody else meanwhile; try again")
        return f"{backup.name}/{parts[-1]}"

    def _backup_directory(self, parts: tuple[str, ...], number: int) -> "_Backup | None":
        if self._backups is None:
            return None
        inner = Path(str(number), *parts[:-1])
        path = self._backups / inner
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _Backup(path, f"{self._backups.parent.name}/{self._backups.name}/{inner}")


@dataclass(frozen=True, slots=True)
class _Backup:
    path: Path
    name: str
    """For people: below the server's data directory."""


def _status_of_path(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
