"""The replies that this worker writes, and what keeps them honest among other workers.

What is not done per chunk is done by a few loops, so that a slow database cannot hold up
the heartbeats: checkpoints at a bounded rate, heartbeats on quiet streams, the worker's sign
of life, requests of other workers to stop a reply, and the replies of workers that
died (docs/decisions/0006-workers-and-leases.md).
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from pymongo.errors import PyMongoError

from proxy.documents.interrupted import interrupt_replies
from proxy.documents.message import MessageFields
from proxy.documents.message_deletion import delete_messages
from proxy.documents.message_location import LocatedMessage, MessageNotFound
from proxy.documents.message_runs import runs_of
from proxy.documents.plan_draft import PlanDraft
from proxy.documents.worker import Worker, new_worker_id
from proxy.errors import NotFound, Unavailable
from proxy.providers.base import CompletionRequest
from proxy.providers.registry import Route
from proxy.settings import Settings
from proxy.streaming.completions import Completed, Completions
from proxy.streaming.draft import SIGN_OF_LIFE, Progress
from proxy.streaming.generation import Compose, Generation
from proxy.streaming.leases import Lease
from proxy.streaming.sink import ReplySink

log = logging.getLogger(__name__)

T = TypeVar("T")

TICK_SECONDS = 0.25
STOP_REQUESTS_SECONDS = 0.5
"""How often a worker with running replies looks: a stop from elsewhere takes this long."""

CHECKPOINTS_AT_ONCE = 8


class StreamSessionNotFound(NotFound):
    """No such running reply."""

    message = "Stream session not found"


class WorkerSilent(Unavailable):
    """The worker that writes a reply does not answer; it is dead, or very busy."""

    message = "The server process that writes this reply does not answer; try again shortly"


class Engine:
    """Runs generations as tasks of the server, not of a request."""

    def __init__(self, settings: Settings) -> None:
        self.worker_id = new_worker_id()
        self.running: dict[int, Generation] = {}
        self.on_launch: list[Callable[[Generation], None]] = []
        self.on_end: list[Callable[[Generation], None]] = []
        self.completions = Completions()
        self._settings = settings
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = False
        self._closing = asyncio.Event()
        self._lease = Lease(self.worker_id, self.running, settings)

    async def start(self) -> None:
        """Register the worker and begin its loops."""
        await self._lease.register()
        lease = self._settings.lease_seconds
        self._loops = [
            asyncio.create_task(_every(seconds, work))
            for seconds, work in (
                (TICK_SECONDS, self._heartbeats),
                (TICK_SECONDS, self._checkpoint),
                (STOP_REQUESTS_SECONDS, self._lease.read_stop_requests),
                (lease / 4, self._lease.beat),
                (lease / 2, self._lease.sweep),
            )
        ]

    @property
    def is_stopping(self) -> bool:
        """Whether the server is shutting down."""
        return self._stopping

    def check_open(self) -> None:
        """Raise `Unavailable` once the server is shutting down."""
        if self._stopping:
            raise Unavailable(
                "The server is shutting down; try again in a moment", retry_after_seconds=5
            )

    def begin(
        self,
        *,
        sink: ReplySink,
        message_id: int,
        routes: Sequence[Route],
        request: CompletionRequest,
        attempt: str = "",
        retry_budget_seconds: float | None = None,
        project_id: int = 0,
        omitted_messages: int = 0,
        tail_size: tuple[int, int] | None = None,
        is_counted: bool = True,
        compose: Compose | None = None,
    ) -> Generation:
        """Begin a reply and run it as a task of its own; see `Generation` for what it takes."""
        settings = self._settings
        generation = Generation(
            sink=sink,
            message_id=message_id,
            attempt=attempt,
            routes=routes,
            request=request,
            settings=settings,
            retry_budget_seconds=(
                settings.retry_budget_seconds
                if retry_budget_seconds is None
                else retry_budget_seconds
            ),
            project_id=project_id,
            omitted_messages=omitted_messages,
            tail_size=tail_size,
            compose=compose,
        )
        for hook in self.on_launch:
            hook(generation)
        self.running[generation.message_id] = generation
        on_end = self._ended if is_counted else self._forget
        task = asyncio.create_task(generation.run(on_end))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return generation

    def in_background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        """Run work that nobody waits for, and that a shutdown does."""
        task = asyncio.create_task(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _forget(self, generation: Generation) -> None:
        self.running.pop(generation.message_id, None)
        _tell(self.on_end, generation)

    def _ended(self, generation: Generation) -> None:
        self._forget(generation)
        self.completions.add(
            Completed(
                owner=generation.sink.owner,
                provider=generation.provider,
                model=generation.model,
                usage=generation.usage,
                status=generation.status,
                ended_at=time.time(),
                first_token_ms=generation.first_token_ms,
                duration_ms=generation.duration_ms,
                conversation_id=generation.sink.conversation_id,
                message_id=generation.message_id if generation.message_id > 0 else None,
                project_id=generation.project_id,
                error_type=generation.error.type if generation.error is not None else "",
            )
        )

    # Stop and follow, also across workers

    def end_deleted(self, owner: str, conversation_id: str) -> None:
        """End the replies of a conversation that was deleted."""
        for generation in list(self.running.values()):
            sink = generation.sink
            if (sink.owner, sink.conversation_id) == (owner, conversation_id):
                generation.end("deleted")

    async def delete(self, owner: str, message_ids: list[int]) -> int:
        """Delete messages, and end those that are being written here; how many there were."""
        deleted = await delete_messages(owner, message_ids)
        for message_id in message_ids:
            generation = self.running.get(message_id)
            if generation is not None and generation.sink.owner == owner:
                generation.end("deleted")
        return deleted

    async def stop(self, owner: str, message_id: int) -> None:
        """End a running reply, wherever it runs; its text so far is stored when this returns.

        Raises:
            StreamSessionNotFound: there is no such running reply for this owner.
            WorkerSilent: the worker that writes it does not answer.
        """
        generation = self.running.get(message_id)
        if generation is not None and generation.sink.owner == owner:
            generation.end("stopped")
            await generation.ended.wait()
            return
        try:
            message = await stored_reply(owner, message_id)
        except NotFound:
            raise StreamSessionNotFound from None
        worker = message.get("worker")
        if worker is None:
            raise StreamSessionNotFound
        if not await Worker.ask_to_stop(worker, message["attempt"]):
            await interrupt_replies(worker)
            return
        try:
            async with asyncio.timeout(self._settings.lease_seconds / 2):
                async for _ in self.follow_stored(owner, message_id, wait_seconds=0.1):
                    pass
        except TimeoutError:
            raise WorkerSilent(retry_after_seconds=self._settings.lease_seconds) from None

    async def follow_stored(
        self,
        owner: str,
        message_id: int,
        after: int = 0,
        *,
        accept_replace: bool = False,
        wait_seconds: float | None = None,
    ) -> AsyncGenerator[Progress, None]:
        """Follow a reply that another worker writes, by its checkpoints in the database.

        Raises:
            MessageNotFound: it is gone.
            Unavailable: this server shuts down.
        """
        loop = asyncio.get_running_loop()
        heartbeat_at = loop.time() + self._settings.heartbeat_seconds
        given, thoughts = after, 0
        made = sealed = 0
        had: str | None = None
        while True:
            message = await stored_reply(owner, message_id)
            text, reasoning = message["content"], message.get("reasoning", "")
            if had is None:
                had, thoughts = text[:after], len(reasoning) if after else 0
            progress = Progress(reasoning=reasoning[thoughts:])
            thoughts = max(thoughts, len(reasoning))
            if text.startswith(had):
                progress = progress._replace(text=text[given:])
                given, had = max(given, len(text)), text
            elif accept_replace:
                progress = progress._replace(text=text, replace=True)
                given, had = len(text), text
            items, encrypted = message.get("items") or (), message.get("encrypted_reasoning") or ()
            if (items or encrypted) and (
                len(items) > made or len(encrypted) > sealed or progress != SIGN_OF_LIFE
            ):
                progress = progress._replace(
                    order=message.get("order")
                    or [[r.kind, r.end - r.start] for r in runs_of(message)],
                    items=tuple(items[made:]),
                    encrypted=tuple(encrypted),
                )
                made, sealed = len(items), len(encrypted)
            elif progress.text and progress.reasoning:
                progress = progress._replace(order=message.get("order"))
            if progress != SIGN_OF_LIFE or loop.time() > heartbeat_at:
                heartbeat_at = loop.time() + self._settings.heartbeat_seconds
                yield progress
            if message.get("status") != "streaming":
                if had != text:
                    yield Progress(differs=True)
                return
            try:
                async with asyncio.timeout(wait_seconds or self._settings.checkpoint_seconds):
                    await self._closing.wait()
            except TimeoutError:
                continue
            raise Unavailable("The server is stopping; join the stream again")

    # What is done now and then

    async def _heartbeats(self) -> None:
        now = asyncio.get_running_loop().time()
        for generation in list(self.running.values()):
            generation.heartbeat(now, self._settings.heartbeat_seconds)

    async def _checkpoint(self) -> None:
        now = asyncio.get_running_loop().time()
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

    async def shutdown(self) -> None:
        """No new replies; running ones get their grace, then are stored as interrupted."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.shutdown_grace_seconds)
        for generation in list(self.running.values()):
            generation.end("shutdown")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.storage_retry_seconds)
        self._closing.set()
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if not self.running:
            await self._lease.end()


async def stored_reply(owner: str, id_: int) -> MessageFields:
    """Return a reply as it is stored: a message, or the draft of a plan document.

    Raises:
        MessageNotFound: there is none for this owner.
    """
    try:
        return (await LocatedMessage.find(owner, id_)).message
    except MessageNotFound:
        draft = await PlanDraft.as_reply(owner, id_)
        if draft is None:
            raise
        return draft


def _tell(hooks: list[Callable[[T], None]], subject: T) -> None:
    """Call each hook; one that fails must not keep the reply from its readers."""
    for hook in hooks:
        try:
            hook(subject)
        except Exception:
            log.exception("a hook of the engine failed")


async def _logged(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except PyMongoError as error:
        log.warning("work in the background failed: %s", type(error).__name__)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except PyMongoError as error:
            log.warning("the database does not answer: %s", type(error).__name__)
        except Exception:
            log.exception("a loop of the engine stumbled; it goes on")
