"""What Poe's replies cost in points, as Poe counts it, read after they have ended.

Poe's protocol does not say it with a reply. Its history of queries names the bot and the time of
each, so a reply is matched by those: `points_certain` says that nothing else could be meant.
What a worker has not matched when it ends stays without points.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pymongo.errors import PyMongoError

from proxy.access.usage import Labels, UsageRecorder, labels_of
from proxy.documents.base import Raw, as_utc
from proxy.errors import ModelNotFound, UpstreamError
from proxy.metrics import POE_BALANCE, POINTS, model_label
from proxy.providers.poe_account import PoeAccount, Query
from proxy.providers.registry import Registry
from proxy.settings import Settings
from proxy.streaming.engine import Engine
from proxy.streaming.generation import Generation
from proxy.streaming.sink import MessageSink, ReplySink

log = logging.getLogger(__name__)

MATCH_SECONDS = 15.0
"""How far Poe's clock and its queue may move a query from the time it was asked at."""

BALANCE_SECONDS = 300.0
"""How often the balance is read while nothing happens."""

GIVE_UP_SECONDS = 600.0
"""A reply that Poe's history does not hold so long after its end cost nothing, or is hidden."""

MAX_PENDING = 10_000


class Asked(NamedTuple):
    """A query of ours: the bot's name in lower case, and the Unix time it was sent at."""

    bot: str
    at: float


class Pending(NamedTuple):
    """A reply that has ended and whose points are not known."""

    provider: str
    asked: Asked
    ended_at: float
    labels: Labels
    sink: ReplySink


class PoePoints:
    """Reads the history and the balance of every Poe account in the background."""

    def __init__(
        self, settings: Settings, registry: Registry, engine: Engine, recorder: UsageRecorder
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._recorder = recorder
        self._seconds = settings.poe_points_seconds
        self._accounts: dict[str, PoeAccount] = {}
        if self._seconds:
            for name, provider in registry.providers.items():
                account: PoeAccount | None = getattr(provider, "account", None)
                if account is not None:
                    self._accounts[name] = account
        self._pending: list[Pending] = []
        self._used: dict[str, float] = {}
        self._work = asyncio.Event()
        self._balances: dict[str, Raw] = {}
        if self._accounts:
            engine.on_end.append(self.ended)

    def balances(self) -> list[Raw]:
        """Return `[{"provider": "poe", "points": 1500, "read_at": …}]`, as last read."""
        return list(self._balances.values())

    def ended(self, generation: Generation) -> None:
        """Note a reply of Poe; one of which nothing came is not looked for."""
        asked_at = generation.asked_at
        if generation.provider not in self._accounts or asked_at is None:
            return
        if not generation.has_begun or len(self._pending) >= MAX_PENDING:
            return
        model = f"{generation.provider}/{generation.model}"
        self._pending.append(
            Pending(
                generation.provider,
                Asked(generation.model.casefold(), asked_at),
                time.time(),
                labels_of(generation.sink.owner, generation.project_id, model),
                generation.sink,
            )
        )
        self._work.set()

    async def run(self) -> None:
        """For ever, while there is an account: read what replies cost, and what is left."""
        while self._accounts:
            for name in list(self._accounts):
                await self._read(name, self._read_balance)
            if not self._pending:
                self._work.clear()
            try:
                async with asyncio.timeout(BALANCE_SECONDS):
                    await self._work.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(self._seconds)
            for name in list(self._accounts):
                await self._read(name, self._read_history)

    async def _read(self, name: str, read: Any) -> None:
        try:
            await read(name)
        except ModelNotFound:
            # A server that speaks Poe's protocol and has no accounts.
            self._accounts.pop(name, None)
            self._pending = [each for each in self._pending if each.provider != name]
            log.info("provider %s has no usage API: its points are not read", name)
        except (UpstreamError, PyMongoError) as error:
            log.info("points of provider %s are read later: %s", name, type(error).__name__)
        except Exception:
            log.exception("points of provider %s cannot be read; it goes on", name)

    async def _read_balance(self, name: str) -> None:
        points = await self._accounts[name].balance()
        if points is not None:
            POE_BALANCE.set(points, (name,))
            read_at = as_utc(datetime.now(UTC))
            self._balances[name] = {"provider": name, "points": points, "read_at": read_at}

    async def _read_history(self, name: str) -> None:
        """Match the replies that ended long enough ago for Poe to have counted them."""
        now = time.time()
        mine = [each for each in self._pending if each.provider == name]
        ready = [each for each in mine if now - each.ended_at >= self._seconds]
        if not ready:
            return
        since = min(each.asked.at for each in mine) - MATCH_SECONDS
        queries = await self._accounts[name].queries_since(since)
        free = [query for query in queries if query.id not in self._used]
        rivals = [each.asked for each in mine if each not in ready] + [
            Asked(each.model.casefold(), each.asked_at)
            for each in self._engine.running.values()
            if each.provider == name and each.asked_at is not None
        ]
        found = matched([each.asked for each in ready], free, rivals)
        for index, each in enumerate(ready):
            if index in found:
                query, is_certain = found[index]
                await self._count(each, query, is_certain=is_certain)
                self._used[query.id] = query.at
            elif now - each.ended_at < GIVE_UP_SECONDS:
                continue
            self._pending.remove(each)
        oldest = now - 2 * GIVE_UP_SECONDS
        self._used = {id_: at for id_, at in self._used.items() if at > oldest}

    async def _count(self, reply: Pending, query: Query, *, is_certain: bool) -> None:
        """Store the points of a reply, and count them in place of the configured ones."""
        if isinstance(reply.sink, MessageSink):
            fields = {"points": query.points, "points_certain": is_certain}
            await reply.sink.write(fields, is_final=False)
        said = self._settings.model_settings(reply.labels.model).points_per_request or 0
        self._recorder.add_points(reply.labels, query.points - said)
        if query.points > said:
            POINTS.add((model_label(reply.asked.bot),), query.points - said)


def matched(
    replies: list[Asked], queries: Iterable[Query], rivals: Iterable[Asked] = ()
) -> dict[int, tuple[Query, bool]]:
    """Return the query of each reply by its index, and whether no other could be meant.

    The nearest in time belong together, each once. `rivals` are other queries of ours, which
    may stand in the history too.
    """
    asked, found = [*replies, *rivals], list(queries)
    pairs = sorted(
        (abs(query.at - one.at), index, position)
        for position, query in enumerate(found)
        for index, one in enumerate(asked)
        if one.bot == query.bot and abs(query.at - one.at) <= MATCH_SECONDS
    )
    of_reply: dict[int, int] = {}
    of_query: dict[int, int] = {}
    for _, index, position in pairs:
        of_reply[index] = of_reply.get(index, 0) + 1
        of_query[position] = of_query.get(position, 0) + 1
    result: dict[int, tuple[Query, bool]] = {}
    taken: set[int] = set()
    for _, index, position in pairs:
        if index not in result and position not in taken:
            taken.add(position)
            is_certain = of_reply[index] == of_query[position] == 1
            result[index] = (found[position], is_certain)
    return {index: pair for index, pair in result.items() if index < len(replies)}
