"""Look at, read, write and copy single files below an open directory, never through a link."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from proxy.source_code.edit_paths import EditError
from proxy.source_code.repository import FILE_FLAGS

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
COPY_BYTES = 1024 * 1024


def status_of(parent: int, name: str) -> os.stat_result | None:
    """Return the status of an entry itself; None where there is none."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def check_file(status: os.stat_result) -> None:
    """Raise `EditError` for what is no regular file."""
    if stat.S_ISLNK(status.st_mode):
        raise EditError("It is a link, which is not followed")
    if stat.S_ISDIR(status.st_mode):
        raise EditError("It is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise EditError("It is not a regular file")


@contextmanager
def opened(parent: int, name: str, listed: os.stat_result) -> Iterator[int]:
    """Open a file to read, the one that was listed."""
    fd = os.open(name, FILE_FLAGS, dir_fd=parent)
    try:
        if not os.path.samestat(os.fstat(fd), listed):
            raise EditError("It was replaced by somebody else meanwhile; try again")
        yield fd
    finally:
        os.close(fd)


def moment_of(status: os.stat_result) -> tuple[int, int]:
    """Return what changes with a file's content."""
    return status.st_mtime_ns, status.st_size


def write_new(parent: int, name: str, content: bytes, old: os.stat_result | None) -> None:
    """Write a file that was not there, with the old one's mode and, where possible, owner."""
    fd = os.open(name, NEW_FILE, 0o666, dir_fd=parent)
    try:
        write_all(fd, content)
        if old is not None:
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(PermissionError):
                    os.fchown(fd, old.st_uid, old.st_gid)
            os.fchmod(fd, stat.S_IMODE(old.st_mode) & 0o777)
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, content: bytes) -> None:
    """Write all bytes; the system may take fewer at once."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def unlink_quietly(parent: int, name: str) -> None:
    """Delete a file that may be gone."""
    with suppress(OSError):
        os.unlink(name, dir_fd=parent)


def copy_folder(parent: int, name: str, target: Path) -> None:
    """Copy a tree to another file system; links stay links, special files are left out."""
    for path, directories, files, fd in os.fwalk(name, dir_fd=parent, onerror=raise_error):
        here = target / path[len(name) + 1 :]
        here.mkdir(mode=0o700)
        for entry in directories + files:
            status = os.stat(entry, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                os.symlink(os.readlink(entry, dir_fd=fd), here / entry)
            elif stat.S_ISREG(status.st_mode):
                with (
                    opened(fd, entry, status) as source,
                    os.fdopen(source, "rb", closefd=False) as reader,
                    open(here / entry, "xb") as writer,
                ):
                    shutil.copyfileobj(reader, writer, COPY_BYTES)


def raise_error(error: OSError) -> None:
    """Raise what `os.fwalk` would leave out."""
    raise error
