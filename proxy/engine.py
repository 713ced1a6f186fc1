"""The replies that this worker writes, and what keeps them honest among other workers.

One ticker does all that is not per chunk: checkpoints at a bounded rate, heartbeats on
quiet streams, the worker's sign of life, letters from other workers that ask to stop a
reply, and the replies of workers that died.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from pymongo.errors import PyMongoError

from proxy.documents.api_key import KeyActivity
from proxy.documents.message import Status
from proxy.documents.place import Placed, interrupt_replies
from proxy.documents.worker import Worker, new_worker_id
from proxy.errors import NotFound, Unavailable
from proxy.generation import Generation, Progress
from proxy.providers.base import Usage
from proxy.settings import Settings

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
LETTERS_SECONDS = 0.5
"""How often a worker with running replies looks for letters: a stop from elsewhere takes this."""

CHECKPOINTS_AT_ONCE = 8
REMOTE_STOP_SECONDS = 5.0
"""How long a stop waits for the other worker to have stored the end."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What one call of a model came to, stored or not; given to every `Engine.on_completion`.

    `conversation_id` and `message_id` are empty for a stateless call.
    """

    owner: str
    provider: str
    model: str
    usage: Usage | None
    status: Status
    first_token_ms: int | None
    duration_ms: int | None
    conversation_id: str = ""
    message_id: int | None = None
    project_id: int = 0


class StreamSessionNotFound(NotFound):
    """No such running reply."""

    message = "Stream session not found"


class Engine:
    """Runs generations as tasks of the server, not of a request."""

    def __init__(self, settings: Settings) -> None:
        self.worker_id = new_worker_id()
        self.running: dict[int, Generation] = {}
        self.on_launch: list[Callable[[Generation], None]] = []
        self.on_end: list[Callable[[Generation], None]] = []
        self.on_completion: list[Callable[[Completed], None]] = []
        self._settings = settings
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticker: asyncio.Task[None] | None = None
        self._stopping = False
        self._seen: dict[str, tuple[int, float]] = {}

    async def start(self) -> None:
        """Register the worker and begin to tick."""
        await Worker.register(self.worker_id)
        self._ticker = asyncio.create_task(self._tick())

    @property
    def is_stopping(self) -> bool:
        """Whether the server is shutting down."""
        return self._stopping

    def check_open(self) -> None:
        """Raises `Unavailable` once the server is shutting down."""
        if self._stopping:
            raise Unavailable(
                "The server is shutting down; try again in a moment", retry_after_seconds=5
            )

    def launch(self, generation: Generation) -> None:
        """Run a generation as a task of its own."""
        for hook in self.on_launch:
            hook(generation)
        self.running[generation.message_id] = generation
        task = asyncio.create_task(generation.run(self._ended))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run work that nobody waits for, and that a shutdown does."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ended(self, generation: Generation) -> None:
        self.running.pop(generation.message_id, None)
        for hook in self.on_end:
            hook(generation)
        self.completed(
            Completed(
                owner=generation.place.owner,
                provider=generation.provider,
                model=generation.model,
                usage=generation.usage,
                status=generation.status,
                first_token_ms=generation.first_token_ms,
                duration_ms=generation.duration_ms,
                conversation_id=generation.place.conversation_id,
                message_id=generation.message_id if generation.message_id > 0 else None,
                project_id=generation.project_id,
            )
        )

    def completed(self, call: Completed) -> None:
        """Tell everybody who counts calls."""
        for hook in self.on_completion:
            hook(call)

    # Stop and follow, also across workers

    async def stop(self, owner: str, message_id: int) -> None:
        """End a running reply, wherever it runs; its text so far is stored when this returns.

        Raises:
            StreamSessionNotFound: there is no such running reply for this owner.
        """
        generation = self.running.get(message_id)
        if generation is not None and generation.place.owner == owner:
            generation.end("stopped")
            await generation.ended.wait()
            return
        try:
            placed = await Placed.find(owner, message_id)
        except NotFound:
            raise StreamSessionNotFound from None
        worker = placed.message.get("worker")
        if worker is None:
            raise StreamSessionNotFound
        if not await Worker.ask_to_stop(worker, message_id):
            await interrupt_replies(worker)
            return
        async with asyncio.timeout(REMOTE_STOP_SECONDS):
            async for _ in self.follow_stored(owner, message_id, wait_seconds=0.1):
                pass

    async def follow_stored(
        self,
        owner: str,
        message_id: int,
        after: int = 0,
        *,
        accept_replace: bool = False,
        wait_seconds: float | None = None,
    ) -> AsyncIterator[Progress]:
        """Follow a reply that another worker writes, by its checkpoints in the database.

        Raises:
            MessageNotFound: it is gone.
        """
        seen: str | None = None
        quiet_since = asyncio.get_running_loop().time()
        while True:
            message = (await Placed.find(owner, message_id)).message
            text = message["content"]
            if seen is None:
                seen = text[:after]
            if text != seen and text.startswith(seen):
                yield Progress(text[len(seen) :])
                seen = text
            elif text != seen and accept_replace:
                yield Progress(text, replace=True)
                seen = text
            else:
                now = asyncio.get_running_loop().time()
                if now - quiet_since > self._settings.heartbeat_seconds:
                    quiet_since = now
                    yield Progress()
            if message.get("status") != "streaming":
                return
            await asyncio.sleep(wait_seconds or self._settings.checkpoint_seconds)

    # The ticker

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        next_letters = next_sweep = 0.0
        answered: list[int] = []
        next_beat = loop.time() + self._settings.lease_seconds / 4
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = loop.time()
            try:
                for generation in list(self.running.values()):
                    generation.heartbeat(now, self._settings.heartbeat_seconds)
                await self._checkpoint(now)
                if self.running and now >= next_letters:
                    next_letters = now + LETTERS_SECONDS
                    answered += await self._read_letters()
                if now >= next_beat:
                    next_beat = now + self._settings.lease_seconds / 4
                    await Worker.beat(self.worker_id, answered)
                    answered = []
                if now >= next_sweep:
                    next_sweep = now + self._settings.lease_seconds / 2
                    await self.sweep()
            except PyMongoError as error:
                # Nobody may be judged dead for a time in which we could not look.
                self._seen.clear()
                log.warning("the database does not answer: %s", type(error).__name__)
            except Exception:
                log.exception("the ticker stumbled; it goes on")

    async def _checkpoint(self, now: float) -> None:
        due = [g for g in self.running.values() if g.checkpoint_is_due(now)]
        due.sort(key=lambda g: g.checkpointed_at)
        budget = max(1, round(self._settings.checkpoints_per_second * TICK_SECONDS))
        limit = asyncio.Semaphore(CHECKPOINTS_AT_ONCE)

        async def write(generation: Generation) -> None:
            async with limit:
                await generation.checkpoint()

        results = await asyncio.gather(*map(write, due[:budget]), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _read_letters(self) -> list[int]:
        letters = await Worker.letters(self.worker_id)
        for message_id in letters:
            generation = self.running.get(message_id)
            if generation is not None:
                generation.end("stopped")
        return letters

    async def sweep(self) -> None:
        """Mark the replies of workers that have not moved for a lease, by our own clock."""
        now = asyncio.get_running_loop().time()
        beats = await Worker.beats_of_all()
        self._seen = {
            worker: self._seen[worker]
            if self._seen.get(worker, (None, 0.0))[0] == count
            else (count, now)
            for worker, count in beats.items()
            if worker != self.worker_id
        }
        for worker, (_, since) in list(self._seen.items()):
            if now - since >= self._settings.lease_seconds:
                await bury(worker)
                del self._seen[worker]

    async def shutdown(self) -> None:
        """No new replies; running ones get their grace, then are stored as interrupted."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.shutdown_grace_seconds)
        for generation in list(self.running.values()):
            generation.end("shutdown")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.storage_retry_seconds)
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.wait((self._ticker,))
        if not self.running:
            await KeyActivity.free_slots_of(self.worker_id)
            await Worker.forget(self.worker_id)


async def bury(worker: str) -> None:
    """Mark what a dead worker left behind as interrupted, and forget the worker."""
    count = await interrupt_replies(worker)
    await KeyActivity.free_slots_of(worker)
    await Worker.forget(worker)
    if count:
        log.warning("worker %s died; %d replies are marked interrupted", worker, count)


async def bury_workers() -> None:
    """At start-up, when it is certain that no worker lives on this database."""
    for worker in await Worker.beats_of_all():
        await bury(worker)
