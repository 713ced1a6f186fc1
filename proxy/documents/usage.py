"""What was used, rolled up per day, owner, key, project and model."""

from bisect import bisect_left
from collections.abc import AsyncIterator
from typing import ClassVar, NotRequired, TypedDict

from pydantic import Field
from pymongo import ASCENDING, IndexModel

from proxy.documents.base import Owned, Raw

BUCKETS_MS = (
    *(50, 100, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 7_500, 10_000),
    *(15_000, 20_000, 30_000, 45_000, 60_000, 90_000, 120_000, 180_000, 300_000, 600_000),
)
"""Upper bounds of the latency buckets; one more holds what is above."""

_BUCKETS = tuple(map(str, range(len(BUCKETS_MS) + 1)))
"""The names of the buckets."""


class StoredUsage(TypedDict):
    """A `Usage` as it lies in Mongo; a count that nothing was added to is absent."""

    _id: str
    owner: str
    day: str
    key_id: str
    project_id: int
    model: str
    requests: NotRequired[int]
    errors: NotRequired[int]
    prompt_tokens: NotRequired[int]
    completion_tokens: NotRequired[int]
    cost: NotRequired[float]
    points: NotRequired[float]
    first_token_ms: NotRequired[dict[str, int]]
    duration_ms: NotRequired[dict[str, int]]


class Usage(Owned[StoredUsage]):
    """`{"_id": "2026-11-22|default|key_1f…|2|openai/gpt-4o-mini", "requests": 12, …}`.

    `first_token_ms` and `duration_ms` count replies by bucket: `{"4": 9, "7": 3}` are nine
    of 300–500 ms and three of 1,000–1,500 ms.
    """

    id: str  # type: ignore[assignment]
    day: str
    key_id: str = ""
    project_id: int = 0
    model: str = ""
    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0
    points: float = 0
    first_token_ms: dict[str, int] = Field(default_factory=dict)
    duration_ms: dict[str, int] = Field(default_factory=dict)

    class Settings:
        """Where it is kept and what finds it."""

        name = "usage"
        indexes: ClassVar = [
            IndexModel([("owner", ASCENDING), ("day", ASCENDING)], name="day_of_owner"),
            IndexModel([("key_id", ASCENDING), ("day", ASCENDING)], name="day_of_key"),
        ]

    @classmethod
    async def add(cls, labels: Raw, counts: Raw) -> None:
        """`$inc` the counts of one day, key, project and model; `labels` name them."""
        id_ = "|".join(
            str(labels[name]) for name in ("day", "owner", "key_id", "project_id", "model")
        )
        await cls.collection().update_one(
            {"_id": id_}, {"$inc": counts, "$setOnInsert": labels}, upsert=True
        )

    @classmethod
    async def tokens_of(cls, key_id: str, day: str) -> int:
        """Tokens in and out of one key on one day."""
        found = cls.collection().find(
            {"key_id": key_id, "day": day}, {"prompt_tokens": 1, "completion_tokens": 1}
        )
        return sum(
            [raw.get("prompt_tokens", 0) + raw.get("completion_tokens", 0) async for raw in found]
        )

    @classmethod
    def between(cls, owner: str, first_day: str, last_day: str) -> AsyncIterator[StoredUsage]:
        """Return the owner's roll-ups of these days, both included."""
        return cls.of(owner).iterate({"day": {"$gte": first_day, "$lte": last_day}})


def bucket_of(milliseconds: int) -> str:
    """Return the name of the bucket that a latency falls into."""
    return _BUCKETS[bisect_left(BUCKETS_MS, milliseconds)]


def percentile(buckets: dict[str, int], share: float) -> int | None:
    """Return a percentile in milliseconds, interpolated within its bucket.

    None without any count.
    """
    total = sum(buckets.values())
    if not total:
        return None
    wanted, seen = share * total, 0
    for index, count in sorted((int(name), count) for name, count in buckets.items()):
        if seen + count >= wanted:
            low = BUCKETS_MS[index - 1] if index else 0
            high = BUCKETS_MS[index] if index < len(BUCKETS_MS) else low
            return round(low + (high - low) * (wanted - seen) / count)
        seen += count
    return None
