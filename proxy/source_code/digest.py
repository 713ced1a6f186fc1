"""A directory as one text: read, redacted, counted, put together by path."""

import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

from proxy.errors import BadRequest
from proxy.source_code.base import Deadline, DigestLimits, DigestOptions, Skipped
from proxy.source_code.cache import CachedFile, Counts, DigestCache, Key, count_of, stamp
from proxy.source_code.formats import (
    digest_end,
    digest_head,
    draw_tree,
    file_part,
    removed_part,
)
from proxy.source_code.redaction import redact
from proxy.source_code.result import Digest, GrowingText
from proxy.source_code.source_file import SourceFile, UnreadableError
from proxy.source_code.text import NotTextError, to_utf8
from proxy.source_code.walk import walk
from proxy.tokenizer.tokens import count_tokens_of_utf8

# A file written this shortly before it was read may be written again within the same
# tick of the file system's clock, and would look unchanged.
_RACY_NS = 2_000_000_000
_BATCH_BYTES = 256 * 1024
_BATCHES_UNDER_WAY = 12

Progress = Callable[[int, int], None]
"""Called with the number of files that were looked at, and the bytes of text so far."""


def digest(
    root: Path,
    options: DigestOptions | None = None,
    limits: DigestLimits | None = None,
    cache: DigestCache | None = None,
    progress: Progress | None = None,
    write: Callable[[bytes], object] | None = None,
    manifest: bool = True,
    deadline: Deadline | None = None,
) -> Digest:
    """Read a directory; blocking, so run it in a thread.

    Tokens are counted beside. The text goes to `write` as it grows, if there is one: then only
    a part of it is ever in memory. Without a `manifest` no later digest can build on this one.
    A `deadline` counts from when it was made, in place of `limits.seconds`.

    Raises:
        NotFound: the directory is gone (404).
        BadRequest: `max_tokens` is less than the tree alone takes (400).
        RequestTimedOut: it takes longer than `limits.seconds` (408).
        TooLarge: more text than `limits.digest_bytes`, or too many entries (413).
    """
    options = options or DigestOptions()
    limits = limits or DigestLimits()
    deadline = deadline or Deadline(limits.seconds)
    top = str(root)
    counter = ThreadPoolExecutor(1, thread_name_prefix="tokens")
    try:
        assembly = _Assembly(options, limits, deadline, counter, cache, write)
        looked_at = 0
        for found in walk(root, options, limits, deadline):
            if isinstance(found, Skipped):
                assembly.skip(found.path, found.reason)
                continue
            key = (top, found.path, options.redact)
            file = _load(key, found, limits, cache, deadline, hashed=manifest or cache is not None)
            if file.reason:
                assembly.skip(found.path, file.reason)
            else:
                assembly.add(key, found, file)
            if progress is not None:
                looked_at += 1
                progress(looked_at, assembly.size_bytes)
        made = assembly.finish()
        if progress is not None:
            progress(looked_at, made.total_bytes)
        return made
    finally:
        # A count that takes too long must not hold up the answer.
        counter.shutdown(wait=not deadline.has_passed, cancel_futures=True)


def _load(
    key: Key,
    found: SourceFile,
    limits: DigestLimits,
    cache: DigestCache | None,
    deadline: Deadline,
    *,
    hashed: bool,
) -> CachedFile:
    if cache is not None:
        known = cache.get(key, stamp(found.status))
        if known is not None:
            return known
    deadline.check()
    started = time.time_ns()
    try:
        data, status = found.read(limits.file_bytes)
    except UnreadableError as error:
        return CachedFile(b"", "", "", reason=str(error))
    file = _decoded(data, found.name, deadline, redacted=key[2], hashed=hashed)
    settled = max(status.st_mtime_ns, status.st_ctime_ns) < started - _RACY_NS
    if cache is not None and settled and len(data) == status.st_size:
        cache.put(key, stamp(status), file)
    return file


def _decoded(
    data: bytes, name: str, deadline: Deadline, *, redacted: bool, hashed: bool
) -> CachedFile:
    try:
        body, encoding = to_utf8(data)
    except NotTextError as error:
        return CachedFile(b"", "", "", reason=str(error))
    redactions: dict[str, int] = {}
    if redacted:
        body, redactions = redact(body, name, deadline.check)
    counts: Counts = tuple(part for pair in redactions.items() for part in pair)
    name_of_text = hashlib.sha256(body).hexdigest()[:32] if hashed else ""
    return CachedFile(body, encoding, name_of_text, counts)


def _pairs(counts: Counts) -> Iterator[tuple[str, int]]:
    return zip(counts[::2], counts[1::2], strict=True)  # type: ignore[arg-type]


def _count_tokens(texts: Iterable[Iterable[bytes]]) -> list[int]:
    # Joined only when their turn has come.
    return count_tokens_of_utf8([b"".join(pieces) for pieces in texts])


_Candidate = tuple[Key, int, CachedFile, tuple[bytes, bytes, bytes]]
"""Where a file stands, its size in bytes, its text, and its part of the digest."""


class _Assembly:
    """Takes files by path, counts their tokens beside, and keeps those that fit."""

    def __init__(
        self,
        options: DigestOptions,
        limits: DigestLimits,
        deadline: Deadline,
        counter: Executor,
        cache: DigestCache | None,
        write: Callable[[bytes], object] | None,
    ) -> None:
        self._options = options
        self._limits = limits
        self._deadline = deadline
        self._counter = counter
        self._cache = cache
        self._form = f"{options.format}{'+lines' if options.lines else ''}"
        # With its tokens, if they are known.
        self._batch: list[tuple[_Candidate, int | None]] = []
        self._under_way: deque[tuple[list[tuple[_Candidate, int | None]], Future[list[int]]]] = (
            deque()
        )
        self._held: list[tuple[_Candidate, int]] = []
        self._batch_bytes = self._held_bytes = 0
        self._text = GrowingText(limits.digest_bytes, write)
        self._unchanged = self._parts = 0
        start = digest_head(options.format, None)
        self._tokens = self._count(start, digest_end(options.format))
        if options.tree == "none":
            self._text.begin(start)
        self._files: list[tuple[str, int, int, str, int]] = []
        self._skipped: list[tuple[str, str]] = []
        self._redactions: Counter[str] = Counter()
        self._manifest: dict[str, str] = {}
        self._seen: list[str] = []
        # What the tree and the notes on removed files take is known when all paths are.
        self._hold = options.max_tokens is not None and (
            options.tree == "top" or options.since is not None
        )

    def _count(self, *parts: bytes) -> int:
        texts = [part for part in parts if part]
        if not texts:
            return 0
        return sum(self._deadline.wait(self._counter.submit(count_tokens_of_utf8, texts)))

    @property
    def size_bytes(self) -> int:
        return self._text.size_bytes

    def skip(self, path: str, reason: str) -> None:
        self._skipped.append((path, reason))

    def add(self, key: Key, found: SourceFile, file: CachedFile) -> None:
        path, size = found.path, found.status.st_size
        self._seen.append(path)
        options = self._options
        if options.since is not None and options.since.get(path) == file.hash:
            self._unchanged += 1
            self._manifest[path] = file.hash
            return
        parts = file_part(options.format, path, size, file.body, lines=options.lines)
        candidate = (key, size, file, parts)
        tokens = count_of(file.tokens, self._form)
        if self._hold:
            self._held_bytes += len(file.body)
            self._text.check(self._held_bytes)
        elif tokens is not None and not self._batch and not self._under_way:
            self._accept(candidate, tokens)
            return
        self._batch.append((candidate, tokens))
        if tokens is None:
            self._batch_bytes += len(file.body)
            if self._batch_bytes >= _BATCH_BYTES:
                self._send()

    def _send(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        texts = [parts for (*_, parts), tokens in batch if tokens is None]
        self._under_way.append((batch, self._counter.submit(_count_tokens, texts)))
        if len(self._under_way) > _BATCHES_UNDER_WAY:
            self._receive()

    def _receive(self) -> None:
        batch, counting = self._under_way.popleft()
        counts = self._deadline.wait(counting)
        if self._cache is not None:
            texts = ((key, file.body) for (key, _, file, _), tokens in batch if tokens is None)
            self._cache.counted(self._form, texts, counts)
        left = iter(counts)
        for candidate, known in batch:
            tokens = next(left) if known is None else known
            if self._hold:
                self._held.append((candidate, tokens))
            else:
                self._accept(candidate, tokens)

    def _accept(self, candidate: _Candidate, tokens: int) -> None:
        (_, path, _), size_bytes, file, parts = candidate
        options = self._options
        if options.tree != "only":
            if options.format == "json" and not self._parts:
                parts = (b"", *parts[1:])
                tokens = self._count(b"".join(parts))
            if options.max_tokens is not None and self._tokens + tokens > options.max_tokens:
                self.skip(path, "over budget")
                return
            self._tokens += tokens
            if file.hash:
                self._manifest[path] = file.hash
            self._parts += 1
            self._text.append(parts)
            if file.redactions:
                self._redactions.update(dict(_pairs(file.redactions)))
        redacted = sum(file.redactions[1::2]) if file.redactions else 0  # type: ignore[arg-type]
        self._files.append((path, size_bytes, tokens, file.encoding, redacted))

    def finish(self) -> Digest:
        """Count what is left, and put the frame around it."""
        if self._batch:
            self._send()
        while self._under_way:
            self._receive()
        options = self._options
        tree = None if options.tree == "none" else draw_tree(self._seen)
        start, end = digest_head(options.format, tree), digest_end(options.format)
        bare = digest_head(options.format, None)
        if tree is not None:
            self._tokens += self._count(start) - self._count(bare)
        removed = sorted(options.since.keys() - set(self._seen)) if options.since else []
        notes = [removed_part(options.format, path) for path in removed]
        self._tokens += self._count(*notes)
        if options.max_tokens is not None and self._tokens > options.max_tokens:
            raise BadRequest(
                f"'max_tokens' is less than what stands around the files ({self._tokens} tokens)"
            )
        if tree is not None:
            self._text.begin(start)
        for candidate, tokens in self._held:
            self._accept(candidate, tokens)
        if notes and options.format == "json" and not self._parts:
            self._tokens -= self._count(notes[0])
            notes[0] = notes[0][1:]
            self._tokens += self._count(notes[0])
        self._text.append((*notes, end))
        return Digest(
            self._text.pieces,
            self._files,
            sorted(self._skipped),
            self._text.size_bytes,
            self._tokens,
            self._text.sha256(),
            dict(sorted(self._redactions.items())),
            self._manifest,
            self._unchanged,
            removed,
        )
