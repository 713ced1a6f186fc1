"""Keys that open the server: only hashes, last characters, times and limits are kept."""

from datetime import datetime
from typing import Any, ClassVar, NotRequired, TypedDict, cast
from uuid import uuid4

from pydantic import Field
from pymongo import ASCENDING, IndexModel

from proxy.credentials import hash_key, new_key
from proxy.documents.base import Owned, Raw, Stored, utc_now
from proxy.errors import Conflict, NotFound

SHOWN = {
    "name": 1,
    "owner": 1,
    "scopes": 1,
    "last4": 1,
    "created_at": 1,
    "expires_at": 1,
    "revoked_at": 1,
    "rotated_at": 1,
    "requests_per_minute": 1,
    "tokens_per_day": 1,
    "streams": 1,
    "remember_unstored": 1,
}
"""What leaves: never a hash."""


class KeyNotFound(NotFound):
    """No such key for this caller."""

    message = "Key not found"


class StoredKey(TypedDict):
    """An `ApiKey` as it lies in Mongo; what is read of it never has the hash."""

    _id: str
    owner: str
    name: str
    scopes: list[str]
    hash: str
    last4: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    rotated_at: datetime | None
    requests_per_minute: int | None
    tokens_per_day: int | None
    streams: int | None
    remember_unstored: bool


class UsedKey(StoredKey):
    """A key with what it did, where it did something."""

    last_used_at: NotRequired[datetime | None]
    requests: NotRequired[int]


class ApiKey(Owned[StoredKey]):
    """`{"_id": "key_1f…", "name": "laptop", "hash": "<sha256>", "last4": "x9Qa", …}`.

    Limits are None where the settings' defaults hold, 0 for none.
    """

    NOT_FOUND = KeyNotFound

    id: str = Field(default_factory=lambda: f"key_{uuid4().hex}")  # type: ignore[assignment]
    name: str
    scopes: list[str]
    hash: str
    last4: str
    created_at: datetime = Field(default_factory=utc_now)
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    rotated_at: datetime | None = None
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None
    streams: int | None = None
    remember_unstored: bool = False
    """Whether calls with `store: false` that name a thread are kept all the same (Codex)."""

    class Settings:
        """Where it is kept and what finds it."""

        name = "api_keys"
        indexes: ClassVar = [
            IndexModel([("hash", ASCENDING)], name="hash", unique=True),
            IndexModel([("owner", ASCENDING), ("created_at", ASCENDING)], name="of_owner"),
        ]

    def raw(self) -> StoredKey:
        """Return it as it is stored."""
        return cast(StoredKey, self.fields())

    @classmethod
    async def create_new(cls, owner: str, name: str, **fields: Any) -> tuple[str, StoredKey]:
        """`insertOne`; the key itself, which is shown this once, and what is kept of it.

        Raises:
            Conflict: a working key of the owner has that name.
        """
        if await cls.named(owner, name) is not None:
            raise Conflict(
                f"There is already a key named {name!r}; rotate it or choose another name",
                param="name",
            )
        secret = new_key()
        key = cls(owner=owner, name=name, hash=hash_key(secret), last4=secret[-4:], **fields)
        raw = key.raw()
        await cls.of(owner).insert(raw)
        await KeyActivity.ensure(key.id)
        return secret, _shown(raw)

    @classmethod
    async def by_hash(cls, hash_: str) -> StoredKey | None:
        """Whatever has this hash, of whichever owner: for authentication only."""
        found: StoredKey | None = await cls.collection().find_one({"hash": hash_}, SHOWN)
        return found

    @classmethod
    async def exist(cls) -> bool:
        """Whether anybody ever made a key; a revoked one counts, too."""
        return await cls.collection().find_one({}, {"owner": 1}) is not None

    @classmethod
    async def named(cls, owner: str, name: str) -> StoredKey | None:
        """Return the owner's key of this name that is not revoked."""
        return await cls.of(owner).find_one({"name": name, "revoked_at": None}, SHOWN)

    @classmethod
    async def list_all(cls, owner: str) -> list[UsedKey]:
        """Return the owner's keys, oldest first, with what they did."""
        mine = cls.of(owner)
        return await _with_activity(await mine.find({}, SHOWN, sort=[("created_at", ASCENDING)]))

    @classmethod
    async def list_everyones(cls) -> list[UsedKey]:
        """All keys of the server, oldest first: for its operator in a shell."""
        found = cls.collection().find({}, SHOWN).sort("created_at", ASCENDING)
        return await _with_activity([raw async for raw in found])

    @classmethod
    async def get_one(cls, owner: str, id_: Any, projection: Raw | None = None) -> UsedKey:
        """Return one key by its id, with what it did.

        Raises:
            KeyNotFound: there is none for this owner.
        """
        raw = await super().get_one(owner, id_, projection or SHOWN)
        return (await _with_activity([raw]))[0]

    @classmethod
    async def revoke(cls, owner: str, id_: str) -> None:
        """`$set` the time of revocation; for good, and a second time is a success.

        Raises:
            KeyNotFound: there is none for this owner.
        """
        mine = cls.of(owner)
        if await mine.update_one({"_id": id_, "revoked_at": None}, {"$set": _now("revoked_at")}):
            return
        await cls.get_one(owner, id_)

    @classmethod
    async def rotate(cls, owner: str, id_: str) -> tuple[str, StoredKey]:
        """`$set` another hash: the new key, shown this once; the former one stops working.

        Raises:
            KeyNotFound: there is none for this owner.
            Conflict: it is revoked.
        """
        secret = new_key()
        raw = await cls.of(owner).find_one_and_update(
            {"_id": id_, "revoked_at": None},
            {"$set": {"hash": hash_key(secret), "last4": secret[-4:], **_now("rotated_at")}},
            SHOWN,
        )
        if raw is None:
            await cls.get_one(owner, id_)
            raise Conflict("This key is revoked; create a new one")
        return secret, raw


def _shown(key: StoredKey) -> StoredKey:
    return cast(
        StoredKey, {field: value for field, value in key.items() if field in ("_id", *SHOWN)}
    )


async def _with_activity(keys: list[StoredKey]) -> list[UsedKey]:
    activity = await KeyActivity.of_keys([key["_id"] for key in keys])
    return [cast(UsedKey, {**key, **activity.get(key["_id"], {})}) for key in keys]


def _now(field: str) -> Raw:
    return {field: utc_now()}


class KeyActivity(Stored):
    """`{"_id": "key_1f…", "last_used_at": …, "requests": 12, "slots": [{"id", "worker"}]}`.

    Apart from the key itself, so that use never rewrites what authentication reads. `slots`
    are the replies being written for a key with a limit of streams, each with its worker.
    """

    id: str  # type: ignore[assignment]
    last_used_at: datetime | None = None
    requests: int = 0
    slots: list[dict[str, str]] = Field(default_factory=list)

    class Settings:
        """Where it is kept and what finds it."""

        name = "key_activity"
        indexes: ClassVar = [
            IndexModel([("slots.worker", ASCENDING)], name="slot_worker", sparse=True)
        ]

    @classmethod
    async def ensure(cls, key_id: str) -> None:
        """`updateOne` with upsert: slots are only taken from what is there."""
        await cls.collection().update_one(
            {"_id": key_id}, {"$setOnInsert": {"requests": 0, "slots": []}}, upsert=True
        )

    @classmethod
    async def of_keys(cls, key_ids: list[str]) -> dict[str, Raw]:
        """Key id → `{"last_used_at", "requests"}`."""
        found = cls.collection().find({"_id": {"$in": key_ids}}, {"last_used_at": 1, "requests": 1})
        return {
            raw["_id"]: {key: value for key, value in raw.items() if key != "_id"}
            async for raw in found
        }

    @classmethod
    async def add(cls, key_id: str, requests: int, last_used_at: datetime) -> None:
        """`$inc` the requests and `$max` the time."""
        await cls.collection().update_one(
            {"_id": key_id},
            {"$inc": {"requests": requests}, "$max": {"last_used_at": last_used_at}},
            upsert=True,
        )

    @classmethod
    async def take_slot(cls, key_id: str, slot: str, worker: str, limit: int) -> bool:
        """`$push` a slot while there are fewer than `limit`: exact however many ask at once."""
        result = await cls.collection().update_one(
            {"_id": key_id, f"slots.{limit - 1}": {"$exists": False}},
            {"$push": {"slots": {"id": slot, "worker": worker}}},
        )
        return bool(result.matched_count)

    @classmethod
    async def free_slot(cls, key_id: str, slot: str) -> None:
        """`$pull` a slot."""
        await cls.collection().update_one({"_id": key_id}, {"$pull": {"slots": {"id": slot}}})

    @classmethod
    async def free_slots_of(cls, worker: str) -> None:
        """`$pull` what a dead worker held."""
        await cls.collection().update_many(
            {"slots.worker": worker}, {"$pull": {"slots": {"worker": worker}}}
        )
