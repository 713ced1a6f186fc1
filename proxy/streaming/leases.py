"""A worker's word that it lives, and what happens to the replies of those that do not.

See docs/decisions/0006-workers-and-leases.md.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from pymongo.errors import PyMongoError

from proxy.documents.api_key import KeyActivity
from proxy.documents.conversation_import import drop_imports
from proxy.documents.interrupted import attempts_of, interrupt_replies
from proxy.documents.worker import Worker
from proxy.settings import Settings

log = logging.getLogger(__name__)


class Running(Protocol):
    """A reply that this worker writes."""

    attempt: str

    def end(self, reason: Any) -> None:
        """Close the upstream connection now; the text so far stays."""
        ...


class Lease:
    """This worker's heartbeat and stop requests, and its eye on the others."""

    def __init__(self, worker_id: str, running: Mapping[int, Running], settings: Settings) -> None:
        self.worker_id = worker_id
        self._running = running
        self._seconds = settings.lease_seconds
        self._answered: list[str] = []
        self._seen: dict[str, tuple[int, float]] = {}
        self._swept_at = 0.0
        self._orphans: set[str] = set()

    async def register(self) -> None:
        """Before the first reply carries the worker's name."""
        await Worker.register(self.worker_id)

    async def beat(self) -> None:
        """Give a sign of life."""
        answered = list(self._answered)
        await Worker.beat(self.worker_id, answered)
        del self._answered[: len(answered)]

    async def read_stop_requests(self) -> None:
        """Stop the replies that other workers were asked to stop."""
        if not self._running:
            return
        stop_requests = await Worker.stop_requests(self.worker_id)
        for reply in list(self._running.values()):
            if reply.attempt in stop_requests:
                reply.end("stopped")
        self._answered += stop_requests

    async def sweep(self) -> None:
        """Mark the replies of workers that have not moved for a lease, by our own clock.

        Also those under our own name that we do not write, seen in two sweeps in a row: they
        come of a database that failed at their beginning or at their end.
        """
        now = asyncio.get_running_loop().time()
        if now - self._swept_at >= self._seconds:
            # Nobody may be judged dead for a time in which we did not or could not look.
            self._seen.clear()
        beats = await Worker.beats_of_all()
        self._swept_at = now
        self._seen = {
            worker: self._seen[worker]
            if self._seen.get(worker, (None, 0.0))[0] == count
            else (count, now)
            for worker, count in beats.items()
            if worker != self.worker_id
        }
        for worker, (_, since) in list(self._seen.items()):
            if now - since >= self._seconds:
                await recover_worker(worker)
                del self._seen[worker]

        orphans = await attempts_of(self.worker_id)
        for reply in self._running.values():
            orphans.pop(reply.attempt, None)
        for attempt in orphans.keys() & self._orphans:
            await orphans[attempt].interrupt()
            log.warning("reply %s is marked interrupted: nobody writes it", attempt)
        self._orphans = set(orphans)

    async def end(self) -> None:
        """At an orderly end, when nothing carries the worker's name any more.

        Where the database is silent, another worker clears up, or the next start.
        """
        try:
            await KeyActivity.free_slots_of(self.worker_id)
            await Worker.leave(self.worker_id)
        except PyMongoError as error:
            log.warning("the database does not answer at the end: %s", type(error).__name__)


async def recover_worker(worker: str) -> None:
    """Mark what a dead worker left behind as interrupted, and forget the worker."""
    count = await interrupt_replies(worker)
    await KeyActivity.free_slots_of(worker)
    await drop_imports(worker)
    await Worker.forget(worker)
    if count:
        log.warning("worker %s died; %d replies are marked interrupted", worker, count)


async def recover_all_workers() -> None:
    """At start-up, when it is certain that no worker lives on this database."""
    for worker in await Worker.beats_of_all():
        await recover_worker(worker)
