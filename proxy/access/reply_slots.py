"""Which replies may begin: those that the server, a key's streams and its tokens of the day allow.

A reply that is being written holds a slot, of a key with a limit in the key's document as well:
exact for any number of workers.
"""

import asyncio
import logging
import math
import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import partial
from random import getrandbits
from typing import Any, TypeVar

from pymongo.errors import PyMongoError

from proxy.access.usage import UsageRecorder
from proxy.caller import CallerInfo
from proxy.documents.api_key import KeyActivity
from proxy.documents.base import utc_now
from proxy.errors import ProxyError, TooManyRequests
from proxy.settings import Settings
from proxy.streaming.engine import Engine
from proxy.streaming.generation import Generation

log = logging.getLogger(__name__)

FREE_SECONDS = 0.5
"""How long to wait for a database that did not answer when a slot was given back."""

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_PARAMETER = re.compile(r"\{[^}]*\}")


def begins_reply(endpoint: Endpoint) -> Endpoint:
    """Mark a route that begins a reply: its requests take a slot before they are served.

    ```python
    @router.post("/generate")
    @begins_reply
    async def generate_document(...) -> Response: ...
    ```
    """
    vars(endpoint)["begins_reply"] = True
    return endpoint


def paths_that_begin_replies(resources: Iterable[Any]) -> re.Pattern[str]:
    """Return what matches the paths of all routes that `begins_reply` marks.

    Each of the `resources` has a `router`.
    """
    paths = [
        _PARAMETER.sub("[^/]+", route.path)
        for resource in resources
        for route in resource.router.routes
        if "begins_reply" in vars(getattr(route, "endpoint", begins_reply))
    ]
    return re.compile("|".join(paths) or "(?!)")


class Slot:
    """A reply's place among those that may be written at once.

    The request holds it, and every generation that the request began, which may outlive it.
    """

    __slots__ = ("holders", "id", "key_id")

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        """Empty where nobody counts the key's replies."""
        self.id = f"{getrandbits(128):032x}" if key_id else ""
        self.holders = 1


current_slot: ContextVar[Slot | None] = ContextVar("current_slot", default=None)


class ReplySlots:
    """Gives slots to requests that begin a reply, and takes them back when it has ended."""

    def __init__(self, settings: Settings, engine: Engine, usage: UsageRecorder) -> None:
        self._engine = engine
        self._usage = usage
        self._freeing: dict[str, set[asyncio.Task[None]]] = {}
        """Key → its slots that are given back just now."""
        self._replies = 0
        self._share = math.ceil(settings.streams / settings.workers)
        engine.on_launch.append(self._launched)
        engine.on_end.append(self._ended)

    async def begin_reply(self, caller: CallerInfo) -> Slot:
        """Take a slot for the reply that a request begins.

        Raises:
            TooManyRequests: the key's tokens of this day or its streams are used up, or the
                server writes as many replies as it may.
        """
        if self._replies >= self._share:
            raise TooManyRequests(
                f"The server is writing {self._replies} replies, as many as it may; try again",
                code="too_many_streams",
                retry_after_seconds=2,
            )
        slot = Slot(caller.key_id if caller.streams else "")
        self._replies += 1
        try:
            if caller.tokens_per_day or caller.streams:
                await self._take(caller, slot)
        except ProxyError:
            self._replies -= 1
            raise
        except BaseException:
            # Nobody knows whether it was taken.
            self.release(slot)
            raise
        current_slot.set(slot)
        return slot

    async def _take(self, caller: CallerInfo, slot: Slot) -> None:
        if caller.tokens_per_day:
            used = await self._usage.tokens_today(caller.key_id)
            if used >= caller.tokens_per_day:
                raise TooManyRequests(
                    f"This key has used its {caller.tokens_per_day} tokens of today; "
                    "it may go on at midnight UTC",
                    code="insufficient_quota",
                    retry_after_seconds=_seconds_to_midnight(),
                )
        if caller.streams and not await self._take_slot(caller, slot):
            raise TooManyRequests(
                f"This key may have {caller.streams} replies written at once; "
                "wait for one to end or stop it",
                code="too_many_streams",
                retry_after_seconds=2,
            )

    async def _take_slot(self, caller: CallerInfo, slot: Slot) -> bool:
        """Whether the key had a slot left; those that are on their way back are waited for."""
        wanted = (caller.key_id, slot.id, self._engine.worker_id, caller.streams)
        if await KeyActivity.take_slot(*wanted):
            return True
        freeing = self._freeing.get(caller.key_id)
        if not freeing:
            return False
        # Who asks again as soon as a reply has ended is faster than the database.
        await asyncio.wait(freeing, timeout=FREE_SECONDS)
        return await KeyActivity.take_slot(*wanted)

    def release(self, slot: Slot) -> None:
        """One holder less; the last one frees the slot."""
        slot.holders -= 1
        if slot.holders == 0:
            self._replies -= 1
            if slot.key_id:
                freeing = self._freeing.setdefault(slot.key_id, set())
                task = self._engine.in_background(self._free(slot))
                freeing.add(task)
                task.add_done_callback(partial(self._freed, slot.key_id))

    def _freed(self, key_id: str, task: asyncio.Task[None]) -> None:
        freeing = self._freeing[key_id]
        freeing.discard(task)
        if not freeing:
            del self._freeing[key_id]

    async def _free(self, slot: Slot) -> None:
        """Give a slot back, again until the database answers: a forgotten one counts for good.

        A worker that ends gives all its slots back by itself.
        """
        while not self._engine.is_stopping:
            try:
                await KeyActivity.free_slot(slot.key_id, slot.id)
            except PyMongoError as error:
                log.warning("a slot is not free yet: %s", type(error).__name__)
                await asyncio.sleep(FREE_SECONDS)
            else:
                return

    def _launched(self, _: Generation) -> None:
        if slot := current_slot.get():
            slot.holders += 1

    def _ended(self, _: Generation) -> None:
        # A generation runs in the context of the request that launched it.
        if slot := current_slot.get():
            self.release(slot)


def _seconds_to_midnight() -> float:
    now = utc_now()
    return 86_400 - (now.hour * 3600 + now.minute * 60 + now.second)
