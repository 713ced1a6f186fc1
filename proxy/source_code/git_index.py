"""Which paths git tracks, read from its index.

Source: git's documentation of the index format, versions 2 to 4. A split index (`link`) says
only half of it here and is not read.
"""

import os
import stat
from dataclasses import dataclass, field
from functools import lru_cache

MAX_INDEX_BYTES = 128 * 1024 * 1024
_HEADER_BYTES = 12
_STAT_BYTES = 40
_MODE_AT, _GITLINK = 24, 0o160000
_EXTENDED, _NAME_LENGTH = 0x4000, 0x0FFF
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class UnknownIndexError(ValueError):
    """Say that an index cannot be read."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """Hold the paths of an index, relative to the top of the work tree."""

    files: frozenset[bytes] = frozenset()
    directories: frozenset[bytes] = frozenset()
    """Each directory that something tracked lies in, with a slash at its end."""
    submodules: frozenset[bytes] = field(default=frozenset())


def read_index(git_directory: str, prefix: bytes, object_id_bytes: int) -> Tracked:
    """Return what is tracked below `prefix` (`b""` or `b"a/b/"`); nothing without an index.

    Raises:
        UnknownIndexError: it is damaged, split, too large or of an unknown version.
    """
    path = os.path.join(git_directory, "index")
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return Tracked()
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_INDEX_BYTES:
        raise UnknownIndexError
    # git replaces the file, it never writes into it.
    at = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return _kept(path, at, prefix, object_id_bytes)


@lru_cache(maxsize=8)
def _kept(path: str, _at: tuple[int, ...], prefix: bytes, object_id_bytes: int) -> Tracked:
    try:
        with os.fdopen(os.open(path, _FLAGS), "rb") as file:
            data = file.read(MAX_INDEX_BYTES)
        return parse_index(data, prefix, object_id_bytes)
    except (OSError, IndexError, ValueError):
        raise UnknownIndexError from None


def parse_index(data: bytes, prefix: bytes = b"", object_id_bytes: int = 20) -> Tracked:
    """Return what an index tracks below a prefix.

    Raises:
        ValueError, IndexError: it is damaged, split or of an unknown version.
    """
    version = int.from_bytes(data[4:8])
    if data[:4] != b"DIRC" or version not in (2, 3, 4):
        raise UnknownIndexError
    paths: set[bytes] = set()
    submodules: set[bytes] = set()
    at, path = _HEADER_BYTES, b""
    name_at = _STAT_BYTES + object_id_bytes + 2
    for _ in range(int.from_bytes(data[8:12])):
        flags = data[at + name_at - 2] << 8 | data[at + name_at - 1]
        begin = at + name_at + (2 if flags & _EXTENDED else 0)
        if version == 4:
            dropped, begin = _offset(data, begin)
            end = data.index(0, begin)
            path = path[: len(path) - dropped] + data[begin:end]
            following = end + 1
        else:
            length = flags & _NAME_LENGTH
            end = begin + length if length < _NAME_LENGTH else data.index(0, begin)
            path = data[begin:end]
            following = at + (end - at + 8) // 8 * 8
        if path.startswith(prefix):
            mode = int.from_bytes(data[at + _MODE_AT : at + _MODE_AT + 4])
            (submodules if mode == _GITLINK else paths).add(path)
        at = following
    _check_extensions(data, at, object_id_bytes)
    directories: set[bytes] = set()
    for tracked in (*paths, *submodules):
        parent = tracked.rpartition(b"/")[0]
        while parent and parent + b"/" not in directories:
            directories.add(parent + b"/")
            parent = parent.rpartition(b"/")[0]
    return Tracked(frozenset(paths), frozenset(directories), frozenset(submodules))


def _offset(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable width (as in pack files), and the index behind it."""
    byte = data[at]
    value = byte & 0x7F
    while byte & 0x80:
        at += 1
        byte = data[at]
        value = (value + 1) << 7 | byte & 0x7F
    return value, at + 1


def _check_extensions(data: bytes, at: int, object_id_bytes: int) -> None:
    """Raise `UnknownIndexError` unless what follows is all optional, or a sparse index."""
    end = len(data) - object_id_bytes
    if at > end:
        raise UnknownIndexError
    while at < end:
        name = data[at : at + 4]
        # A name in small letters must be understood.
        if not b"A" <= name[:1] <= b"Z" and name != b"sdir":
            raise UnknownIndexError
        at += 8 + int.from_bytes(data[at + 4 : at + 8])
