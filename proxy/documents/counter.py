"""Integer ids: counted upward, unique across the database, never used again."""

from typing import Literal, get_args

from proxy.documents.base import Stored
from proxy.documents.embedded_server import CERTAIN_IMAGE
from proxy.errors import StorageUnavailable

CounterName = Literal[
    "messages",
    "projects",
    "plan_categories",
    "plan_documents",
    "document_tags",
    "document_references",
    "users",
]


class Counter(Stored):
    """`{"_id": "messages", "value": 107}`: the highest id handed out so far."""

    id: str  # type: ignore[assignment]
    value: int = 0

    class Settings:
        """Where it is kept."""

        name = "counters"

    @classmethod
    async def create_missing(cls) -> None:
        """Create the counters at start-up; `$setOnInsert`, so that none ever goes back.

        Upserting on the hot path instead answers `null` to some of many racing callers.
        """
        for name in get_args(CounterName):
            await cls.collection().update_one(
                {"_id": name}, {"$setOnInsert": {"value": 0}}, upsert=True
            )

    @classmethod
    async def reserve(cls, name: CounterName, count: int = 1) -> int:
        """Reserve `count` consecutive ids with one `$inc`; the first of them.

        Raises:
            StorageUnavailable: the counter is gone (somebody dropped the collection).
        """
        # Of the image before it, ids came twice.
        after = await cls.collection().find_one_and_update(
            {"_id": name}, {"$inc": {"value": count}}, return_document=CERTAIN_IMAGE
        )
        if after is None:
            raise StorageUnavailable(
                "The id counters are missing from the database; restart the server to create them"
            )
        return int(after["value"]) - count + 1

    @classmethod
    async def highest(cls, name: CounterName) -> int:
        """Return the highest id handed out so far; 0 before the first."""
        raw = await cls.collection().find_one({"_id": name})
        return int(raw["value"]) if raw else 0

    @classmethod
    async def raise_to(cls, name: CounterName, value: int) -> None:
        """Make sure that the next id is above `value`: `$max`."""
        await cls.collection().update_one({"_id": name}, {"$max": {"value": value}}, upsert=True)
