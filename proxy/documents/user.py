"""People who log in with a browser, and their sessions."""

from datetime import datetime, timedelta
from typing import ClassVar, TypedDict, cast
from uuid import uuid4

from pydantic import Field
from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from proxy.credentials import hash_key, new_token
from proxy.documents.base import Owned, Stored, utc_now
from proxy.documents.counter import Counter
from proxy.errors import Conflict, NotFound

SHOWN = {"name": 1, "owner": 1, "scopes": 1, "created_at": 1}
"""What leaves: never a hash."""


class UserNotFound(NotFound):
    """No such user."""

    message = "User not found"


class StoredUser(TypedDict):
    """A `User` as it lies in Mongo; only logging in reads the hash."""

    _id: str
    owner: str
    name: str
    login: str
    password_hash: str
    scopes: list[str]
    created_at: datetime


class User(Owned[StoredUser]):
    """`{"_id": "user_1f…", "name": "Ada", "login": "ada", "owner": "ada", …}`.

    `login` is the name without regard to case, unique on the server.
    """

    id: str = Field(default_factory=lambda: f"user_{uuid4().hex}")  # type: ignore[assignment]
    name: str
    login: str
    password_hash: str
    scopes: list[str]
    created_at: datetime = Field(default_factory=utc_now)

    class Settings:
        """Where it is kept and what finds it."""

        name = "users"
        indexes: ClassVar = [IndexModel([("login", ASCENDING)], name="login", unique=True)]

    def raw(self) -> StoredUser:
        """Return it as it is stored."""
        return cast(StoredUser, self.fields())

    @classmethod
    async def create_new(
        cls, owner: str, name: str, password_hash: str, scopes: list[str]
    ) -> StoredUser:
        """`insertOne`.

        Raises:
            Conflict: the name is taken.
        """
        user = cls(
            owner=owner,
            name=name,
            login=login_name(name),
            password_hash=password_hash,
            scopes=scopes,
        )
        raw = user.raw()
        if await cls.by_login(name) is not None:
            raise name_taken(name)
        await cls._remember_users()
        try:
            await cls.of(owner).insert(raw)
        except DuplicateKeyError:
            raise name_taken(name) from None
        shown = {field: value for field, value in raw.items() if field in ("_id", *SHOWN)}
        return cast(StoredUser, shown)

    @classmethod
    async def by_login(cls, name: str) -> StoredUser | None:
        """Return the user of this name, with the password's hash: for logging in only."""
        found: StoredUser | None = await cls.collection().find_one({"login": login_name(name)})
        return found

    @classmethod
    async def exist(cls) -> bool:
        """Return whether there is, or once was, any user."""
        if await cls.collection().find_one({}, {"name": 1}) is not None:
            return True
        counter = await Counter.collection().find_one({"_id": "users"})
        return counter is not None and counter["value"] > 0

    @classmethod
    async def _remember_users(cls) -> None:
        """`$max` a counter, so that a server whose last user is removed does not fall open."""
        await Counter.collection().update_one({"_id": "users"}, {"$max": {"value": 1}}, upsert=True)

    @classmethod
    async def list_all(cls) -> list[StoredUser]:
        """All users of the server, by name: for its operator."""
        return [raw async for raw in cls.collection().find({}, SHOWN).sort("login", ASCENDING)]

    @classmethod
    async def set_password(cls, name: str, password_hash: str) -> None:
        """`$set` the hash and end all sessions.

        Raises:
            UserNotFound: there is none of this name.
        """
        user = await cls._named(name)
        await cls.collection().update_one(
            {"_id": user["_id"]}, {"$set": {"password_hash": password_hash}}
        )
        await Session.end_all(user["_id"])

    @classmethod
    async def remove(cls, name: str) -> None:
        """`deleteOne` and end all sessions; what the user made stays with its owner.

        Raises:
            UserNotFound: there is none of this name.
        """
        user = await cls._named(name)
        await cls._remember_users()
        await cls.collection().delete_one({"_id": user["_id"]})
        await Session.end_all(user["_id"])

    @classmethod
    async def _named(cls, name: str) -> StoredUser:
        user = await cls.by_login(name)
        if user is None:
            raise UserNotFound(f"There is no user {name!r}; `proxy users list` shows all")
        return user


class StoredSession(TypedDict):
    """A `Session` as it lies in Mongo."""

    _id: str
    user_id: str
    user_name: str
    owner: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime


class Session(Stored):
    """`{"_id": "<sha256 of the cookie>", "user_id": …, "owner": …, "expires_at": …}`."""

    id: str  # type: ignore[assignment]
    user_id: str
    user_name: str
    owner: str
    scopes: list[str]
    created_at: datetime = Field(default_factory=utc_now)
    expires_at: datetime

    class Settings:
        """Where it is kept and what finds it; the database deletes what has expired."""

        name = "sessions"
        indexes: ClassVar = [
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
            IndexModel([("user_id", ASCENDING)], name="of_user"),
        ]

    @classmethod
    async def begin(cls, user: StoredUser, lifetime: timedelta) -> str:
        """`insertOne`; the secret for the cookie, of which only the hash is kept."""
        token = new_token()
        now = utc_now()
        await cls.collection().insert_one(
            {
                "_id": hash_key(token),
                "user_id": user["_id"],
                "user_name": user["name"],
                "owner": user["owner"],
                "scopes": user["scopes"],
                "created_at": now,
                "expires_at": now + lifetime,
            }
        )
        return token

    @classmethod
    async def by_hash(cls, hash_: str) -> StoredSession | None:
        """Return the session of a cookie, expired or not."""
        found: StoredSession | None = await cls.collection().find_one({"_id": hash_})
        return found

    @classmethod
    async def end(cls, hash_: str) -> None:
        """`deleteOne`."""
        await cls.collection().delete_one({"_id": hash_})

    @classmethod
    async def end_all(cls, user_id: str) -> None:
        """`deleteMany`."""
        await cls.collection().delete_many({"user_id": user_id})


def login_name(name: str) -> str:
    """Return a name as log-in compares it."""
    return name.strip().casefold()


def name_taken(name: str) -> Conflict:
    """Return the 409 for a second user of one name."""
    return Conflict(f"There is already a user named {name!r}; choose another name")
