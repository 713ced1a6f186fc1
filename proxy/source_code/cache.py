"""The files' texts, kept between digests."""

import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple

_ENTRY_BYTES = 600
"""What an entry takes beside its text."""


Stamp = bytes
Key = tuple[str, str, bool]
"""Root, displayed path below it, whether secrets are redacted."""
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
# The last are the tokens by form.
_Kept = tuple[Any, ...]
_TOKENS = 1 + CachedFile._fields.index("tokens")


def count_of(counts: Counts, name: str) -> int | None:
    """Return the number of a name."""
    return int(counts[counts.index(name) + 1]) if name in counts else None


def stamp(status: os.stat_result) -> Stamp:
    """Return what changes when a file is written."""
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
        """Return the entry if the file has not been written since."""
        with self._lock:
            found = self._files.get(key)
            if found is None or found[0] != wanted:
                return None
            self._files.move_to_end(key)
        _, body, encoding, name, redactions, reason, *_ = found
        return CachedFile(body, encoding, name, redactions, reason, found[_TOKENS:])

    def put(self, key: Key, at: Stamp, file: CachedFile) -> None:
        """Keep an entry, and drop the least used ones over the limit."""
        with self._lock:
            old = self._files.pop(key, None)
            if old is not None:
                self._bytes -= len(old[1]) + _ENTRY_BYTES
            self._files[key] = (at, *file[:-1], *file.tokens)
            self._bytes += len(file.body) + _ENTRY_BYTES
            while self._bytes > self._max_bytes:
                _, dropped = self._files.popitem(last=False)
                self._bytes -= len(dropped[1]) + _ENTRY_BYTES

    def counted(self, form: str, texts: Iterable[tuple[Key, bytes]], counts: Iterable[int]) -> None:
        """Add the tokens of a form to the entries that hold these very texts."""
        with self._lock:
            for (key, body), tokens in zip(texts, counts, strict=True):
                found = self._files.get(key)
                if found is not None and found[1] is body and form not in found[_TOKENS:]:
                    self._files[key] = (*found, form, tokens)
