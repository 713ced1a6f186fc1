"""When somebody did something lately: counted exactly, however many workers ask at once."""

import math
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from pymongo import ASCENDING, IndexModel, WriteConcern
from pymongo.errors import DuplicateKeyError

from proxy.documents.base import Raw, Stored, utc_now

TRIES = 5
"""How often to ask whether there is room, of a window that others make and delete meanwhile."""


class Rate(NamedTuple):
    """At most `limit` times within `seconds`, of one `kind` of deed."""

    kind: str
    limit: int
    seconds: int

    def window_of(self, who: str) -> str:
        """Return the id of somebody's window: the same one when the limit is changed."""
        return f"{self.kind}/{who}"


class RateWindow(Stored):
    """`{"_id": "requests/key_1f…", "entries": [<newest>, …, <oldest>], "expires_at": …}`.

    No more entries are kept than the limit was when the newest one came.
    """

    id: str  # type: ignore[assignment]
    entries: list[datetime]
    expires_at: datetime

    class Settings:
        """Where it is kept; the database deletes what has expired."""

        name = "rate_windows"
        indexes: ClassVar = [
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0)
        ]

    @classmethod
    def collection(cls) -> Any:
        """Return the raw collection, without a journal: a crash may lose a second's entries."""
        database = super().collection().database
        return database.get_collection(cls.Settings.name, write_concern=WriteConcern(w=1))

    @classmethod
    async def add(cls, rate: Rate, who: str) -> int:
        """Add an entry of now where there is room; 0, or the whole seconds until there is some.

        What has no room is counted nowhere. One `updateOne` with upsert: it matches a window
        whose entry number `limit` is older than it may be, or is not there.
        """
        for _ in range(TRIES):
            now = utc_now()
            entries: Raw = {"$each": [now], "$position": 0, "$slice": rate.limit}
            try:
                await cls.collection().update_one(
                    {
                        "_id": rate.window_of(who),
                        "$nor": [{f"entries.{rate.limit - 1}": {"$gte": _begin(rate, now)}}],
                    },
                    {
                        "$push": {"entries": entries},
                        "$set": {"expires_at": now + timedelta(seconds=rate.seconds)},
                    },
                    upsert=True,
                )
            except DuplicateKeyError:
                # It is full, or somebody else's first entry came at the same moment.
                if seconds := await cls.seconds_until_room(rate, who):
                    return seconds
            else:
                return 0
        return 1

    @classmethod
    async def seconds_until_room(cls, rate: Rate, who: str) -> int:
        """Return after how many whole seconds there is room for one more; 0 if there is."""
        deciding = {"entries": {"$slice": [rate.limit - 1, 1]}}
        window = await cls.collection().find_one({"_id": rate.window_of(who)}, deciding)
        entries: list[datetime] = window["entries"] if window else []
        begin = _begin(rate, utc_now())
        if not entries or entries[0] < begin:
            return 0
        return max(1, math.ceil((entries[0] - begin).total_seconds()))

    @classmethod
    async def forget(cls, rate: Rate, who: str) -> None:
        """Delete somebody's window."""
        await cls.collection().delete_one({"_id": rate.window_of(who)})


def _begin(rate: Rate, now: datetime) -> datetime:
    return now - timedelta(seconds=rate.seconds)
