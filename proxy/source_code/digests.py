"""Digests for a server: made in threads, a few at once, with what is kept between them."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from proxy.settings import Settings
from proxy.source_code.base import Deadline, DigestLimits, DigestOptions
from proxy.source_code.cache import DigestCache
from proxy.source_code.digest import digest
from proxy.source_code.result import Digest
from proxy.source_code.roots import SourceRoots


class Digests:
    """One for a worker."""

    def __init__(self, settings: Settings, roots: SourceRoots) -> None:
        self._roots = roots
        self._limits = DigestLimits(
            file_bytes=settings.source_file_bytes,
            digest_bytes=settings.source_digest_bytes,
            entries=settings.source_entries,
            depth=settings.source_depth,
            seconds=settings.source_seconds,
        )
        self._cache = DigestCache(settings.source_cache_bytes)
        self._at_once = anyio.CapacityLimiter(settings.source_digests)

    async def make(self, owner: str, ai_work_dir: str | None, options: DigestOptions) -> Digest:
        """Return a digest of a project's directory, without holding up the event loop.

        Cancelled, it is given up; its thread ends a moment later.

        Raises:
            Conflict, Forbidden, NotFound: as `SourceRoots` has it.
            BadRequest, RequestTimedOut, TooLarge: as `digest` has it.
        """
        roots = await self._roots.of(owner)
        async with self._at_once:
            deadline = Deadline(self._limits.seconds)
            work = partial(self._make, ai_work_dir, roots, options, deadline)
            try:
                return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
            finally:
                # Whoever asked may be gone: the thread ends at its next look.
                deadline.pass_now()

    def _make(
        self,
        ai_work_dir: str | None,
        roots: list[Path],
        options: DigestOptions,
        deadline: Deadline,
    ) -> Digest:
        root = self._roots.resolve(ai_work_dir, roots)
        limits = replace(self._limits, never_read=self._roots.own())
        return digest(root, options, limits, self._cache, deadline=deadline)
