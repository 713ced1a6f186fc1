"""How much a key may ask for; only keys that have a limit cost a round trip.

Requests and log-in attempts are counted by the `limits` library's moving window in MongoDB,
so all workers count together. Replies being written hold a slot in their key's document.
"""

import asyncio
import logging
import math
import time
from contextvars import ContextVar
from functools import cached_property
from random import getrandbits
from typing import Any

from limits import RateLimitItem, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.aio.storage import MongoDBStorage
from limits.aio.strategies import MovingWindowRateLimiter
from pymongo.errors import PyMongoError

from proxy.access.usage import UsageRecorder
from proxy.caller import CallerInfo
from proxy.database import Database
from proxy.documents.api_key import KeyActivity
from proxy.documents.base import utc_now
from proxy.errors import ProxyError, TooManyRequests
from proxy.settings import Settings
from proxy.streaming.engine import Engine
from proxy.streaming.generation import Generation

log = logging.getLogger(__name__)

TRIES = 5

FREE_SECONDS = 0.5
"""How long to wait for a database that did not answer when a slot was given back."""

BEGINS_REPLY = ("/messages", "/regenerate", "/completions", "/generate")
"""How the paths end to which a POST begins a reply."""


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
    """Counts requests, replies, tokens and log-in attempts."""

    def __init__(
        self, settings: Settings, database: Database, engine: Engine, usage: UsageRecorder
    ) -> None:
        self._settings = settings
        self._database = database
        self._engine = engine
        self._usage = usage
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
            await self._hit(
                RateLimitItemPerMinute(caller.requests_per_minute, namespace="requests"),
                caller.key_id,
                f"This key may send {caller.requests_per_minute} requests a minute",
            )

    async def count_login(self, name: str, address: str) -> None:
        """Count one attempt to log in, by the name and by the address.

        Raises:
            TooManyRequests: too many of either within the window.
        """
        seconds = self._settings.login_window_seconds
        for kind, who, factor in (("name", name, 1), ("address", address, 3)):
            await self._hit(
                RateLimitItemPerSecond(
                    self._settings.login_attempts * factor, seconds, namespace=f"login_{kind}"
                ),
                who,
                "Too many attempts to log in",
            )

    async def forget_logins(self, name: str) -> None:
        """After a right password: a person who mistyped before starts afresh."""
        item = RateLimitItemPerSecond(
            self._settings.login_attempts,
            self._settings.login_window_seconds,
            namespace="login_name",
        )
        await self._limiter.clear(item, name)

    @cached_property
    def _limiter(self) -> MovingWindowRateLimiter:
        return MovingWindowRateLimiter(_Storage(self._database))

    async def _hit(self, item: RateLimitItem, who: str, sentence: str) -> None:
        for _ in range(TRIES):
            if await self._limiter.hit(item, who):
                return
            reset_at, remaining = await self._limiter.get_window_stats(item, who)
            if remaining <= 0:
                seconds = max(1, math.ceil(reset_at - time.time()))
                raise TooManyRequests(
                    f"{sentence}; wait {seconds} seconds",
                    code="rate_limit_exceeded",
                    retry_after_seconds=seconds,
                )
            # Two first requests at once: on MongoDB the insert of one fails; there is room.
        raise TooManyRequests(code="rate_limit_exceeded", retry_after_seconds=1)

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
        if caller.streams and not await KeyActivity.take_slot(
            caller.key_id, slot.id, self._engine.worker_id, caller.streams
        ):
            raise TooManyRequests(
                f"This key may have {caller.streams} replies written at once; "
                "wait for one to end or stop it",
                code="too_many_streams",
                retry_after_seconds=2,
            )

    def release(self, slot: Slot) -> None:
        """One holder less; the last one frees the slot."""
        slot.holders -= 1
        if slot.holders == 0:
            self._replies -= 1
            if slot.key_id:
                self._engine.in_background(self._free(slot))

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


class _Storage(MongoDBStorage):
    """The library's storage on our own connections, whose counters need no journal."""

    def __init__(self, database: Database) -> None:
        # The client that this makes never connects: all work goes through `database`.
        super().__init__(
            "async+mongodb://127.0.0.1",
            counter_collection_name="rate_counters",
            window_collection_name="rate_windows",
        )
        self._handle = database.unjournaled()

    @property
    def database(self) -> Any:
        return self._handle


def _seconds_to_midnight() -> float:
    now = utc_now()
    return 86_400 - (now.hour * 3600 + now.minute * 60 + now.second)
