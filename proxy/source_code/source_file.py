"""One file of a tree, read so that nothing that takes its place is read instead."""

import errno
import os
import stat
from typing import NamedTuple

from proxy.source_code.repository import FILE_FLAGS

_LINK_ERRORS = (errno.ELOOP, errno.EMLINK)


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
        """Return the content, and the status the content was read under.

        Raises:
            UnreadableError: it is gone, was replaced, grew over the limit or is binary.
        """
        try:
            fd = os.open(self.name, FILE_FLAGS, dir_fd=self.directory_fd)
        except OSError as error:
            raise UnreadableError(reason_of(error)) from None
        try:
            return _read(fd, self.status, limit_bytes)
        except OSError as error:
            raise UnreadableError(reason_of(error)) from None
        finally:
            os.close(fd)


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


def reason_of(error: OSError) -> str:
    """Return why something cannot be read, for `skipped`."""
    if isinstance(error, FileNotFoundError):
        return "gone while it was read"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, NotADirectoryError) or error.errno in _LINK_ERRORS:
        return "replaced by a link"
    return "cannot be read"
