"""The files' texts, remembered between digests."""

import os
import struct
import threading
from collections import OrderedDict
from typing import NamedTuple

_ENTRY_BYTES = 500
"""What an entry takes beside its text."""


Stamp = bytes
Key = tuple[str, bytes, bool]
"""Root, path below it, whether secrets are redacted."""
Counts = tuple[str | int, ...]
"""Names and numbers in turn: `("AWS access key", 2, "private key", 1)`."""


_packed = struct.Struct("<QQQqq").pack
"""One value instead of six: there are as many of them as files."""


class CachedFile(NamedTuple):
    """One file's text as it goes into a digest, or the reason why it does not."""

    body: bytes
    encoding: str
    hash: str
    redactions: Counts = ()
    reason: str = ""
    tokens: Counts = ()
    """Tokens of the file's part, by form."""


# A plain tuple of plain values is nothing to the garbage collector, which otherwise stops
# every thread for as long as it looks through a hundred thousand entries.
_Kept = tuple[Stamp, bytes, str, str, Counts, str, Counts]


def count_of(counts: Counts, name: str) -> int | None:
    """The number of a name."""
    return int(counts[counts.index(name) + 1]) if name in counts else None


def stamp(status: os.stat_result) -> Stamp:
    """What changes when a file is written."""
    return _packed(
        *(status.st_dev, status.st_ino, status.st_size),
        *(status.st_mtime_ns, status.st_ctime_ns),
    )


class DigestCache:
    """Texts of files that were read, the least used dropped first; safe from any thread."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._files: OrderedDict[Key, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key, wanted: Stamp) -> CachedFile | None:
        """The entry if the file has not been written since."""
        with self._lock:
            found = self._files.get(key)
            if found is None or found[0] != wanted:
                return None
            self._files.move_to_end(key)
        return CachedFile(*found[1:])

    def put(self, key: Key, at: Stamp, file: CachedFile) -> None:
        """Keep an entry, and drop the least used ones over the limit."""
        with self._lock:
            old = self._files.pop(key, None)
            if old is not None:
                self._bytes -= len(old[1]) + _ENTRY_BYTES
            self._files[key] = (at, *file)
            self._bytes += len(file.body) + _ENTRY_BYTES
            while self._bytes > self._max_bytes:
                _, dropped = self._files.popitem(last=False)
                self._bytes -= len(dropped[1]) + _ENTRY_BYTES

    def counted(self, key: Key, file: CachedFile, form: str, tokens: int) -> None:
        """Add the tokens of a form to the entry that holds this very text."""
        with self._lock:
            found = self._files.get(key)
            if found is not None and found[1] is file.body and form not in found[6]:
                self._files[key] = (*found[:6], (*found[6], form, tokens))
