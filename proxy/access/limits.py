"""How much a key may ask for; only keys that have a limit cost a round trip.

Requests and log-in attempts are counted by moving windows in the database, so all workers count
together. Replies being written hold a slot in their key's document.
"""

import asyncio
import hashlib
import logging
import math
import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import partial
from random import getrandbits
from typing import Any, TypeVar

from pymongo.errors import PyMongoError

from proxy.access.addresses import host_of
from proxy.access.usage import UsageRecorder
from proxy.caller import CallerInfo
from proxy.documents.api_key import KeyActivity
from proxy.documents.base import utc_now
from proxy.documents.rate_window import Rate, RateWindow
from proxy.errors import ProxyError, TooManyRequests
from proxy.settings import Settings
from proxy.streaming.engine import Engine
from proxy.streaming.generation import Generation

log = logging.getLogger(__name__)

FREE_SECONDS = 0.5
"""How long to wait for a database that did not answer when a slot was given back."""

LOGINS_FROM_ADDRESS = 10
"""Times `login_attempts`: behind one address may be an office."""
LOGINS_UNDER_NAME = 20
"""Times `login_attempts`: fewer would let a stranger lock somebody out from a few addresses."""
TOO_MANY_LOGINS = "Too many attempts to log in"

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


def paths_that_begin_replies(prefix: str, resources: Iterable[Any]) -> re.Pattern[str]:
    """Return what matches the paths, behind a prefix, of all routes that `begins_reply` marks.

    Each of the `resources` has a `router`.
    """
    paths = [
        prefix + _PARAMETER.sub("[^/]+", route.path)
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


class Limits:
    """Counts requests, replies, tokens and log-in attempts.

    `searches` is what a search waits for its turn with.
    """

    def __init__(self, settings: Settings, engine: Engine, usage: UsageRecorder) -> None:
        self._settings = settings
        self._engine = engine
        self._usage = usage
        self._freeing: dict[str, set[asyncio.Task[None]]] = {}
        """Key → its slots that are given back just now."""
        self.searches = asyncio.Semaphore(settings.searches)
        self._replies = 0
        self._share = math.ceil(settings.streams / settings.workers)
        engine.on_launch.append(self._launched)
        engine.on_end.append(self._ended)

    # Requests

    async def count_request(self, caller: CallerInfo) -> None:
        """Count one request of a key.

        Raises:
            TooManyRequests: the key's requests of this minute are used up.
        """
        if caller.key_id:
            self._usage.key_used(caller.key_id)
        if caller.requests_per_minute:
            _refuse_until_room(
                await RateWindow.add(
                    Rate("requests", caller.requests_per_minute, 60), caller.key_id
                ),
                f"This key may send {caller.requests_per_minute} requests a minute",
            )

    async def count_login(self, name: str, address: str) -> None:
        """Count one attempt to log in: from an address, under a name from there, under a name.

        One that is refused is counted nowhere, so nobody is locked out by being refused.

        Raises:
            TooManyRequests: too many of one of these within the window.
        """
        host = host_of(address)
        counted = [
            (self._logins("address", LOGINS_FROM_ADDRESS), host),
            (self._logins("pair", 1), _pair(name, host)),
            (self._logins("name", LOGINS_UNDER_NAME), _pair(name, "")),
        ]
        for rate, who in counted:
            _refuse_until_room(await RateWindow.seconds_until_room(rate, who), TOO_MANY_LOGINS)
        for rate, who in counted:
            _refuse_until_room(await RateWindow.add(rate, who), TOO_MANY_LOGINS)

    async def forget_logins(self, name: str, address: str) -> None:
        """After a right password: a person who mistyped before starts afresh."""
        await RateWindow.forget(self._logins("pair", 1), _pair(name, host_of(address)))

    def _logins(self, kind: str, times: int) -> Rate:
        settings = self._settings
        limit = settings.login_attempts * times
        return Rate(f"login_{kind}", limit, settings.login_window_seconds)

    # Replies

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


def _refuse_until_room(seconds: int, sentence: str) -> None:
    if seconds:
        raise TooManyRequests(
            f"{sentence}; wait {seconds} seconds",
            code="rate_limit_exceeded",
            retry_after_seconds=seconds,
        )


def _pair(name: str, host: str) -> str:
    """Return what a name and an address are counted under: short, whatever was sent."""
    return hashlib.sha256(f"{host} {name}".encode("utf-8", "surrogateescape")).hexdigest()


def _seconds_to_midnight() -> float:
    now = utc_now()
    return 86_400 - (now.hour * 3600 + now.minute * 60 + now.second)
