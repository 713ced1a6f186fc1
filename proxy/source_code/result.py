"""What a digest is: the text, and everything that is to be said of it."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import orjson

from proxy.errors import TooLarge
from proxy.source_code.base import Skipped
from proxy.tokenizer.tokens import TOKENIZER_NAME

_JSON_SLICE = 500
_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class DigestFile:
    """One file of a digest. `tokens` are those of its part of the text, header included."""

    path: str
    bytes: int
    tokens: int
    encoding: str
    redactions: int


@dataclass(frozen=True, slots=True)
class Digest:
    """The text and everything that is to be said of it."""

    pieces: list[bytes]
    """The text in UTF-8; joined when it is needed, because it may be large."""
    file_rows: list[tuple[str, int, int, str, int]]
    """The fields of each of `files`."""
    skipped_rows: list[tuple[str, str]]
    """The fields of each of `skipped`."""
    total_bytes: int
    total_tokens: int
    sha256: str
    redactions: dict[str, int]
    """What was taken out → how often."""
    manifest: dict[str, str]
    """Path → hash of the text, of every file that a reader of this digest (and of the
    one that it builds on) has seen."""
    unchanged: int
    removed: list[str]
    tokenizer: str = TOKENIZER_NAME

    @property
    def text(self) -> str:
        """The whole text."""
        return b"".join(self.pieces).decode()

    @property
    def files(self) -> list[DigestFile]:
        """The files in the text, by path."""
        return [DigestFile(*row) for row in self.file_rows]

    @property
    def skipped(self) -> list[Skipped]:
        """What is not in the text, by path."""
        return [Skipped(*row) for row in self.skipped_rows]

    def summary(self) -> Iterator[bytes]:
        """Everything but the text as a JSON object, in pieces; the first is `{`.

        In pieces, because encoding a large one at once holds up every other thread.
        """
        yield b"{"
        rows = (
            dict(zip(("path", "bytes", "tokens", "encoding", "redactions"), row, strict=True))
            for row in self.file_rows
        )
        yield from _json_list("files", rows)
        named = ({"path": path, "reason": reason} for path, reason in self.skipped_rows)
        yield from _json_list("skipped", named)
        yield from _json_list("removed", self.removed)
        rest = {
            "total_bytes": self.total_bytes,
            "total_tokens": self.total_tokens,
            "tokenizer": self.tokenizer,
            "sha256": self.sha256,
            "redactions": self.redactions,
            "unchanged": self.unchanged,
        }
        yield orjson.dumps(rest)[1:]

    def etag(self) -> str:
        """Return a hash of the answer: of the text, what is said of it and what it stands for."""
        total = hashlib.sha256()
        for piece in self.summary():
            total.update(piece)
        for path, content in sorted(self.manifest.items()):
            total.update(f"{path}\n{content}\n".encode())
        return total.hexdigest()[:32]


class GrowingText:
    """The text while files are added: kept in pieces, or handed to `write` one by one."""

    def __init__(self, limit_bytes: int, write: Callable[[bytes], object] | None) -> None:
        self.pieces: list[bytes] = []
        """What was not handed to `write`."""
        self.size_bytes = 0
        self._limit_bytes = limit_bytes
        self._write = write
        self._begun = False
        self._hash = hashlib.sha256()

    def begin(self, start: bytes) -> None:
        """Put what stands before the first file, which may be known only after the last."""
        after, self.pieces = self.pieces, []
        self.size_bytes = 0
        self._begun = True
        for piece in (start, *after):
            self.append((piece,))

    def append(self, pieces: Sequence[bytes]) -> None:
        """Add to the end.

        Raises:
            TooLarge: the text is over the limit.
        """
        added = b"".join(pieces)
        self.size_bytes += len(added)
        self.check(self.size_bytes)
        if self._begun:
            self._hash.update(added)
        if self._begun and self._write is not None:
            self._write(added)
        else:
            # Not what was added: the pieces are shared with whoever else keeps them.
            self.pieces += pieces

    def check(self, size_bytes: int) -> None:
        """Raise `TooLarge` (413) for a text of so many bytes."""
        if size_bytes > self._limit_bytes:
            raise TooLarge(
                f"The source is more than {self._limit_bytes} bytes of text; "
                "narrow it with 'include' or 'exclude'"
            )

    def sha256(self) -> str:
        """Return the hash of what was begun with and added."""
        return self._hash.hexdigest()


def chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """UTF-8 in chunks of some size, none of which cuts a character in two."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        begin = 0
        while len(piece) - begin + size >= _CHUNK_BYTES:
            end = begin + _CHUNK_BYTES - size
            while end < len(piece) and piece[end] & 0xC0 == 0x80:
                end += 1
            yield b"".join((*held, piece[begin:end]))
            begin, held, size = end, [], 0
        if begin < len(piece):
            held.append(piece[begin:] if begin else piece)
            size += len(held[-1])
    if held:
        yield b"".join(held)


def changed_paths(
    manifest: Mapping[str, str], since: Mapping[str, str]
) -> tuple[set[str], set[str]]:
    """Return the paths that are new or different, and those that are gone."""
    changed = {path for path, content in manifest.items() if since.get(path) != content}
    return changed, since.keys() - manifest.keys()


def _json_list(name: str, items: Iterable[object]) -> Iterator[bytes]:
    yield b'"' + name.encode() + b'":['
    between = b""
    left = iter(items)
    while some := list(islice(left, _JSON_SLICE)):
        yield between + orjson.dumps(some)[1:-1]
        between = b","
    yield b"],"
