"""What is remembered between digests: the files' texts, and what an ETag stood for."""

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

_ENTRY_BYTES = 600
"""What an entry takes beside its text."""


@dataclass(slots=True)
class CachedFile:
    """One file's text as it goes into a digest, or the reason why it does not."""

    body: bytes
    encoding: str
    hash: str
    redactions: dict[str, int]
    reason: str = ""
    tokens: dict[str, int] = field(default_factory=dict)
    """Tokens of the file's part, by form."""


Stamp = tuple[int, int, int, int, int]


def stamp(status: os.stat_result) -> Stamp:
    """What changes when a file is written."""
    return (
        *(status.st_dev, status.st_ino, status.st_size),
        *(status.st_mtime_ns, status.st_ctime_ns),
    )


class DigestCache:
    """Texts of files that were read, the least used dropped first; safe from any thread."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._files: OrderedDict[tuple[str, bytes, bool], tuple[Stamp, CachedFile]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, bytes, bool], wanted: Stamp) -> CachedFile | None:
        """The entry if the file has not been written since. Key: root, path, redacted."""
        with self._lock:
            found = self._files.get(key)
            if found is None or found[0] != wanted:
                return None
            self._files.move_to_end(key)
            return found[1]

    def put(self, key: tuple[str, bytes, bool], at: Stamp, file: CachedFile) -> None:
        """Keep an entry, and drop the least used ones over the limit."""
        with self._lock:
            old = self._files.pop(key, None)
            if old is not None:
                self._bytes -= len(old[1].body) + _ENTRY_BYTES
            self._files[key] = (at, file)
            self._bytes += len(file.body) + _ENTRY_BYTES
            while self._bytes > self._max_bytes:
                _, (_, dropped) = self._files.popitem(last=False)
                self._bytes -= len(dropped.body) + _ENTRY_BYTES


class Manifests:
    """The manifests of digests that were answered, by ETag; the oldest dropped first."""

    def __init__(self, max_paths: int = 500_000) -> None:
        self._max_paths = max_paths
        self._paths = 0
        self._manifests: OrderedDict[tuple[str, str], Mapping[str, str]] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, scope: str, etag: str, manifest: Mapping[str, str]) -> None:
        """Keep what an ETag stands for. `scope` is the root and the choice of files."""
        with self._lock:
            old = self._manifests.pop((scope, etag), None)
            self._paths += len(manifest) + 1 - (len(old) + 1 if old is not None else 0)
            self._manifests[scope, etag] = manifest
            while self._paths > self._max_paths:
                _, dropped = self._manifests.popitem(last=False)
                self._paths -= len(dropped) + 1

    def recall(self, scope: str, etag: str) -> Mapping[str, str] | None:
        """The manifest, or None when it is not (or no longer) known."""
        with self._lock:
            return self._manifests.get((scope, etag))
