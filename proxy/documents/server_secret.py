"""Secrets that the server makes for itself, the same ones on every worker."""

from datetime import datetime

from proxy.documents.base import Stored, utc_now
from proxy.errors import StorageUnavailable

REASONING = "reasoning"


class ServerSecret(Stored):
    """`{"_id": "reasoning", "value": "…", "created_at"}`; it never leaves the server."""

    id: str  # type: ignore[assignment]
    value: str
    created_at: datetime

    class Settings:
        """Where it is kept."""

        name = "server_secrets"

    @classmethod
    async def create_missing(cls, name: str, value: str) -> None:
        """Keep a secret unless there is one: `$setOnInsert`."""
        await cls.collection().update_one(
            {"_id": name}, {"$setOnInsert": {"value": value, "created_at": utc_now()}}, upsert=True
        )

    @classmethod
    async def value_of(cls, name: str) -> str:
        """Read a secret.

        Raises:
            StorageUnavailable: it is gone (somebody dropped the collection).
        """
        found = await cls.collection().find_one({"_id": name})
        if found is None:
            raise StorageUnavailable("A secret of the server is missing; restart it to make one")
        return str(found["value"])
