"""Counts what replies and keys used, in memory, and adds it to the database every second."""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import NamedTuple

from pymongo.errors import PyMongoError

from proxy.caller import current_caller
from proxy.documents.api_key import KeyActivity
from proxy.documents.base import as_utc
from proxy.documents.usage import Usage, bucket_of
from proxy.providers.registry import Registry
from proxy.providers.token_usage import bounded
from proxy.setting_types import ModelSettings
from proxy.settings import Settings
from proxy.streaming.completions import Completed, Completions

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
WRITES_AT_ONCE = 8
TOKENS_KEPT_SECONDS = 2.0

FAILED = frozenset({"failed", "truncated", "interrupted"})
"""Endings that count as errors; a reply that somebody stopped is none."""


class Labels(NamedTuple):
    """What a roll-up is of."""

    day: str
    owner: str
    key_id: str
    project_id: int
    model: str


Prices = tuple[float, float, float]
"""What a call costs, and a million of its input and of its output tokens."""

FREE: Prices = (0.0, 0.0, 0.0)


class _Account(NamedTuple):
    """Where the calls of one key and model are counted, and what they cost."""

    counts: defaultdict[str, float]
    points: float
    prices: Prices


class UsageRecorder:
    """Gathers counts and flushes them; a crash loses at most the last second's."""

    def __init__(self, settings: Settings, registry: Registry, completions: Completions) -> None:
        self._settings = settings
        self._models = registry
        self._completions = completions
        completions.listeners.append(self._completed)
        self._counts: defaultdict[Labels, defaultdict[str, float]] = defaultdict(_zeros)
        self._accounts: dict[tuple[str, str, int, str, str], _Account] = {}
        self._used: dict[str, tuple[int, float]] = {}
        self._tokens: dict[str, tuple[str, float, int]] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    def start(self) -> None:
        """Begin to flush."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Flush what is left."""
        if self._task is not None:
            # A flush that is under way has the counts in its hands: it is not cut off.
            self._stopping.set()
            await self._task
        await self.flush()

    # Counting

    def _completed(self, call: Completed) -> None:
        """Count one call of a model, under the key of whoever began it."""
        caller = current_caller.get()
        key_id = caller.key_id if caller is not None else ""
        kind = (call.owner, key_id, call.project_id, call.provider, call.model)
        account = self._accounts.get(kind) or self._open(kind, call)
        counts = account.counts
        counts["requests"] += 1
        if call.status in FAILED:
            counts["errors"] += 1
        if call.first_token_ms is not None:
            counts["first_token_ms." + bucket_of(call.first_token_ms)] += 1
        if call.duration_ms is not None:
            counts["duration_ms." + bucket_of(call.duration_ms)] += 1
        if account.points:
            counts["points"] += account.points
        if call.usage is None:
            return
        usage = bounded(call.usage)
        tokens_in = usage.prompt_tokens
        # What the upstream's total has above the sum is reasoning, which is paid like text.
        tokens_out = usage.total_tokens - tokens_in
        counts["prompt_tokens"] += tokens_in
        counts["completion_tokens"] += tokens_out
        if account.prices != FREE:
            fixed, price_in, price_out = account.prices
            counts["cost"] += fixed + (tokens_in * price_in + tokens_out * price_out) / 1e6
        if key_id in self._tokens:
            known_day, until, tokens = self._tokens[key_id]
            self._tokens[key_id] = (known_day, until, tokens + tokens_in + tokens_out)

    def _open(self, kind: tuple[str, str, int, str, str], call: Completed) -> "_Account":
        """Return where calls like this one are counted until the next flush."""
        model = f"{call.provider}/{call.model}"
        said = self._settings.model_settings(model)
        labels = labels_of(call.owner, call.project_id, model)
        opened = self._accounts[kind] = _Account(
            self._counts[labels], said.points_per_request or 0, self._prices(call, said)
        )
        return opened

    def _prices(self, call: Completed, said: ModelSettings) -> Prices:
        """Return what a call costs, by `proxy.toml`, else by what its provider lists."""
        own = (said.input_price_per_million_tokens, said.output_price_per_million_tokens)
        if own != (None, None):
            return (0.0, own[0] or 0.0, own[1] or 0.0)
        listed = self._models.facts(call.provider, call.model)
        return (
            listed.price_per_request or 0.0,
            listed.input_price_per_million_tokens or 0.0,
            listed.output_price_per_million_tokens or 0.0,
        )

    def add_points(self, labels: Labels, points: float) -> None:
        """Count points that were read later; fewer than counted before are taken off."""
        if points:
            self._counts[labels]["points"] += points

    def key_used(self, key_id: str) -> None:
        """Count one request of a key."""
        requests, _ = self._used.get(key_id, (0, 0.0))
        self._used[key_id] = (requests + 1, time.time())

    async def tokens_today(self, key_id: str) -> int:
        """Tokens of a key on this day (UTC), as far as replies have ended on any worker.

        Another worker's are seen after its next flush and `TOKENS_KEPT_SECONDS`.
        """
        self._completions.tell()
        day = today()
        known_day, until, tokens = self._tokens.get(key_id, ("", 0.0, 0))
        if known_day != day or time.monotonic() >= until:
            pending = self._pending_tokens(key_id, day)
            tokens = await Usage.tokens_of(key_id, day) + pending
            self._tokens[key_id] = (day, time.monotonic() + TOKENS_KEPT_SECONDS, tokens)
        return tokens

    def _pending_tokens(self, key_id: str, day: str) -> int:
        return int(
            sum(
                counts["prompt_tokens"] + counts["completion_tokens"]
                for labels, counts in self._counts.items()
                if labels.key_id == key_id and labels.day == day
            )
        )

    # Writing

    async def _run(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._stopping.wait()
            await self.flush()

    async def flush(self) -> None:
        """Add everything to the database; what cannot be written is kept for the next time."""
        self._completions.tell()
        counts, self._counts = self._counts, defaultdict(_zeros)
        self._accounts.clear()
        used, self._used = self._used, {}
        limit = asyncio.Semaphore(WRITES_AT_ONCE)

        async def add_usage(labels: Labels, values: defaultdict[str, float]) -> None:
            async with limit:
                try:
                    await Usage.add(labels._asdict(), _whole(values))
                except PyMongoError as error:
                    _warn(error)
                    for name, value in values.items():
                        self._counts[labels][name] += value
                except Exception:
                    # It never can be: the others are counted on.
                    log.exception("usage of %s on %s is not counted", labels.model, labels.day)

        async def add_activity(key_id: str, requests: int, used_at: float) -> None:
            async with limit:
                try:
                    last_used_at = as_utc(datetime.fromtimestamp(used_at, UTC))
                    await KeyActivity.add(key_id, requests, last_used_at)
                except PyMongoError as error:
                    _warn(error)
                    newer, at = self._used.get(key_id, (0, used_at))
                    self._used[key_id] = (requests + newer, at)

        await asyncio.gather(
            *(add_usage(labels, values) for labels, values in counts.items()),
            *(add_activity(key_id, *use) for key_id, use in used.items()),
        )


def labels_of(owner: str, project_id: int, model: str) -> Labels:
    """Return what a call of now is counted under, with the key of whoever began it."""
    caller = current_caller.get()
    return Labels(today(), owner, caller.key_id if caller is not None else "", project_id, model)


def today() -> str:
    """Return the day in UTC: `2026-11-22`."""
    return _day(int(time.time() // 86_400))


@lru_cache(maxsize=4)
def _day(number: int) -> str:
    return date.fromordinal(date(1970, 1, 1).toordinal() + number).isoformat()


def _zeros() -> defaultdict[str, float]:
    return defaultdict(float)


def _whole(values: defaultdict[str, float]) -> dict[str, float]:
    """Return counts as integers; only cost and points have fractions."""
    return {
        name: value if name in ("cost", "points") else int(value) for name, value in values.items()
    }


def _warn(error: PyMongoError) -> None:
    log.warning("usage is kept for the next flush: %s", type(error).__name__)
