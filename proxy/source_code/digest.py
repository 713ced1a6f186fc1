"""A directory as one text: read, redacted, counted, put together by path."""

import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import orjson

from proxy.errors import BadRequest, TooLarge
from proxy.source_code.base import Deadline, DigestLimits, DigestOptions, Skipped
from proxy.source_code.cache import CachedFile, DigestCache, stamp
from proxy.source_code.formats import closing, draw_tree, file_part, opening, removed_part
from proxy.source_code.redaction import redact
from proxy.source_code.text import NotTextError, to_utf8
from proxy.source_code.walk import SourceFile, UnreadableError, walk
from proxy.tokens import TOKENIZER_NAME, count_tokens, count_tokens_of_each

# A file written this shortly before it was read may be written again within the same
# tick of the file system's clock, and would look unchanged.
_RACY_NS = 2_000_000_000
_BATCH_BYTES = 1024 * 1024
_BATCHES_UNDER_WAY = 3

Progress = Callable[[int, int], None]
"""Called with the number of files and the bytes of text so far."""


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
    files: list[DigestFile]
    skipped: list[Skipped]
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

    def summary(self) -> dict[str, object]:
        """Everything but the text, as the answer says it."""
        return {
            "files": [
                {
                    **{"path": file.path, "bytes": file.bytes, "tokens": file.tokens},
                    **{"encoding": file.encoding, "redactions": file.redactions},
                }
                for file in self.files
            ],
            "skipped": [{"path": item.path, "reason": item.reason} for item in self.skipped],
            "total_bytes": self.total_bytes,
            "total_tokens": self.total_tokens,
            "tokenizer": self.tokenizer,
            "sha256": self.sha256,
            "redactions": self.redactions,
            "unchanged": self.unchanged,
            "removed": self.removed,
        }

    def etag(self) -> str:
        """A hash of the answer: of the text, what is said of it and what it stands for."""
        state = orjson.dumps([self.summary(), self.manifest], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(state).hexdigest()[:32]


def digest(
    root: Path,
    options: DigestOptions | None = None,
    limits: DigestLimits | None = None,
    cache: DigestCache | None = None,
    progress: Progress | None = None,
) -> Digest:
    """Read a directory; blocking, so run it in a thread.

    Raises:
        NotFound: the directory is gone (404).
        BadRequest: `max_tokens` is less than the tree alone takes (400).
        RequestTimedOut: it takes longer than `limits.seconds` (408).
        TooLarge: more text than `limits.digest_bytes`, or too many entries (413).
    """
    options = options or DigestOptions()
    limits = limits or DigestLimits()
    deadline = Deadline(limits.seconds)
    with ThreadPoolExecutor(1, thread_name_prefix="tokens") as counter:
        assembly = _Assembly(options, limits, counter, progress)
        try:
            for found in walk(root, options, limits, deadline):
                if isinstance(found, Skipped):
                    assembly.skip(found.path, found.reason)
                    continue
                deadline.check()
                file = _load(root, found, options, limits, cache)
                if file.reason:
                    assembly.skip(found.path, file.reason)
                else:
                    assembly.add(found.path, found.status.st_size, file)
            return assembly.finish()
        except BaseException:
            counter.shutdown(wait=False, cancel_futures=True)
            raise


def changed_paths(
    manifest: Mapping[str, str], since: Mapping[str, str]
) -> tuple[set[str], set[str]]:
    """The paths that are new or different, and those that are gone."""
    changed = {path for path, content in manifest.items() if since.get(path) != content}
    return changed, since.keys() - manifest.keys()


def _load(
    root: Path,
    found: SourceFile,
    options: DigestOptions,
    limits: DigestLimits,
    cache: DigestCache | None,
) -> CachedFile:
    key = (str(root), found.raw_path, options.redact)
    if cache is not None:
        known = cache.get(key, stamp(found.status))
        if known is not None:
            return known
    started = time.time_ns()
    try:
        data, status = found.read(limits.file_bytes)
    except UnreadableError as error:
        return CachedFile(b"", "", "", {}, str(error))
    file = _decoded(data, found.name, options.redact)
    settled = max(status.st_mtime_ns, status.st_ctime_ns) < started - _RACY_NS
    if cache is not None and settled and len(data) == status.st_size:
        cache.put(key, stamp(status), file)
    return file


def _decoded(data: bytes, name: str, redacted: bool) -> CachedFile:
    try:
        body, encoding = to_utf8(data)
    except NotTextError as error:
        return CachedFile(b"", "", "", {}, str(error))
    redactions: dict[str, int] = {}
    if redacted:
        body, redactions = redact(body, name)
    return CachedFile(body, encoding, hashlib.sha256(body).hexdigest()[:32], redactions)


@dataclass(slots=True)
class _Candidate:
    path: str
    size_bytes: int
    file: CachedFile
    parts: tuple[bytes, bytes, bytes]
    tokens: int | None


class _Assembly:
    """Takes files by path, counts their tokens beside, and keeps those that fit."""

    def __init__(
        self,
        options: DigestOptions,
        limits: DigestLimits,
        counter: ThreadPoolExecutor,
        progress: Progress | None,
    ) -> None:
        self._options = options
        self._limits = limits
        self._counter = counter
        self._progress = progress
        self._form = f"{options.format}{'+lines' if options.lines else ''}"
        self._queue: deque[_Candidate] = deque()
        self._batch: list[_Candidate] = []
        self._batch_bytes = 0
        self._under_way: deque[tuple[list[_Candidate], Future[list[int]]]] = deque()
        self._pieces: list[bytes] = []
        self._bytes = self._unchanged = 0
        frame = opening(options.format, None) + closing(options.format)
        self._tokens = count_tokens(frame.decode())
        self._files: list[DigestFile] = []
        self._skipped: list[Skipped] = []
        self._redactions: Counter[str] = Counter()
        self._manifest: dict[str, str] = {}
        self._seen: list[str] = []
        # What the tree and the notes on removed files take is known when all paths are.
        self._hold = options.max_tokens is not None and (
            options.tree == "top" or options.since is not None
        )

    def skip(self, path: str, reason: str) -> None:
        self._skipped.append(Skipped(path, reason))

    def add(self, path: str, size_bytes: int, file: CachedFile) -> None:
        self._seen.append(path)
        since = self._options.since
        if since is not None and since.get(path) == file.hash:
            self._unchanged += 1
            self._manifest[path] = file.hash
            return
        options = self._options
        parts = file_part(options.format, path, size_bytes, file.body, lines=options.lines)
        tokens = file.tokens.get(self._form)
        candidate = _Candidate(path, size_bytes, file, parts, tokens)
        self._queue.append(candidate)
        if tokens is None:
            self._batch.append(candidate)
            self._batch_bytes += len(file.body)
            if self._batch_bytes >= _BATCH_BYTES:
                self._send()
        if not self._hold:
            self._drain()

    def _send(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if batch:
            texts = [b"".join(candidate.parts).decode() for candidate in batch]
            self._under_way.append((batch, self._counter.submit(count_tokens_of_each, texts)))
        while len(self._under_way) > _BATCHES_UNDER_WAY:
            self._receive()

    def _receive(self) -> None:
        batch, counts = self._under_way.popleft()
        for candidate, count in zip(batch, counts.result(), strict=True):
            candidate.tokens = count
            candidate.file.tokens[self._form] = count

    def _drain(self) -> None:
        while self._queue and self._queue[0].tokens is not None:
            self._accept(self._queue.popleft())

    def _accept(self, candidate: _Candidate) -> None:
        file, tokens = candidate.file, candidate.tokens or 0
        options = self._options
        if options.tree == "only":
            self._list(candidate, tokens)
            return
        head, body, end = candidate.parts
        if options.format == "json" and not self._pieces:
            head = b""
            tokens = count_tokens((body + end).decode())
        if options.max_tokens is not None and self._tokens + tokens > options.max_tokens:
            self.skip(candidate.path, "over budget")
            return
        self._list(candidate, tokens)
        self._tokens += tokens
        self._manifest[candidate.path] = file.hash
        self._redactions.update(file.redactions)
        self._append(head, body, end)

    def _list(self, candidate: _Candidate, tokens: int) -> None:
        file = candidate.file
        count = sum(file.redactions.values())
        self._files.append(
            DigestFile(candidate.path, candidate.size_bytes, tokens, file.encoding, count)
        )
        if self._progress is not None:
            self._progress(len(self._files), self._bytes)

    def _append(self, *pieces: bytes) -> None:
        for piece in pieces:
            if piece:
                self._pieces.append(piece)
                self._bytes += len(piece)
        if self._bytes > self._limits.digest_bytes:
            raise TooLarge(
                f"The source is more than {self._limits.digest_bytes} bytes of text; "
                "narrow it with 'include', 'exclude' or 'max_tokens'"
            )

    def finish(self) -> Digest:
        """Count what is left, and put the frame around it."""
        self._send()
        while self._under_way:
            self._receive()
        options = self._options
        tree = None if options.tree == "none" else draw_tree(self._seen)
        start, end = opening(options.format, tree), closing(options.format)
        bare = opening(options.format, None)
        self._tokens += count_tokens(start.decode()) - count_tokens(bare.decode())
        removed = sorted(options.since.keys() - set(self._seen)) if options.since else []
        notes = [removed_part(options.format, path) for path in removed]
        self._tokens += sum(count_tokens_of_each(note.decode() for note in notes))
        if options.max_tokens is not None and self._tokens > options.max_tokens:
            raise BadRequest(
                f"'max_tokens' is less than what stands around the files ({self._tokens} tokens)"
            )
        self._drain()
        if notes and options.format == "json" and not self._pieces:
            self._tokens -= count_tokens(notes[0].decode())
            notes[0] = notes[0][1:]
            self._tokens += count_tokens(notes[0].decode())
        self._append(*notes)
        pieces = [piece for piece in (start, *self._pieces, end) if piece]
        total = hashlib.sha256()
        for piece in pieces:
            total.update(piece)
        return Digest(
            pieces,
            self._files,
            sorted(self._skipped, key=lambda item: item.path),
            sum(map(len, pieces)),
            self._tokens,
            total.hexdigest(),
            dict(sorted(self._redactions.items())),
            self._manifest,
            self._unchanged,
            removed,
        )
