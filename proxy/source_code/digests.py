"""Digests for a server: made in threads, a few at once, with what is kept between them."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from proxy.errors import Forbidden
from proxy.settings import Settings
from proxy.source_code.base import DigestLimits, DigestOptions
from proxy.source_code.cache import DigestCache, Manifests
from proxy.source_code.digest import digest
from proxy.source_code.result import Digest
from proxy.source_code.walk import resolve_root


@dataclass(frozen=True, slots=True)
class MadeDigest:
    """A digest as it is answered."""

    digest: Digest
    etag: str
    """Without quotes."""
    since_known: bool | None
    """Whether the digest named by `since` was known; None when none was named."""


class Digests:
    """One for a worker."""

    def __init__(self, settings: Settings) -> None:
        self._roots = settings.source_roots
        self._data_dir = settings.data_dir.resolve()
        self._limits = DigestLimits(
            file_bytes=settings.source_file_bytes,
            digest_bytes=settings.source_digest_bytes,
            entries=settings.source_entries,
            depth=settings.source_depth,
            seconds=settings.source_seconds,
        )
        self._cache = DigestCache(settings.source_cache_bytes)
        self._manifests = Manifests()
        self._at_once = anyio.CapacityLimiter(settings.source_digests)

    async def make(
        self, ai_work_dir: str | None, options: DigestOptions, *, since_etag: str = ""
    ) -> MadeDigest:
        """A digest of a project's directory, without holding up the event loop.

        `since_etag` names an earlier digest of the same directory and choice of files; an
        unknown one gives the whole.

        Raises:
            Conflict, Forbidden, NotFound: as `resolve_root` has it; the data directory is
                forbidden, too.
            BadRequest, RequestTimedOut, TooLarge: as `digest` has it.
        """
        work = partial(self._make, ai_work_dir, options, since_etag)
        return await anyio.to_thread.run_sync(work, limiter=self._at_once)

    def _make(self, ai_work_dir: str | None, options: DigestOptions, since_etag: str) -> MadeDigest:
        root = resolve_root(ai_work_dir, self._roots)
        if root.is_relative_to(self._data_dir):
            raise Forbidden("The server's own data directory is no source directory")
        scope = _scope(root, options)
        known: bool | None = None
        if since_etag:
            manifest = self._manifests.recall(scope, since_etag)
            known = manifest is not None
            options = replace(options, since=manifest)
        made = digest(root, options, self._limits, self._cache)
        etag = made.etag()
        if options.tree != "only":
            self._manifests.remember(scope, etag, made.manifest)
        return MadeDigest(made, etag, known)


def _scope(root: Path, options: DigestOptions) -> str:
    return repr((str(root), options.include, options.exclude, options.redact))
