"""The processes that write replies: a heartbeat and a list of stop requests each."""

import os
import socket
from datetime import datetime
from uuid import uuid4

from pydantic import Field

from proxy.documents.base import Raw, Stored, utc_now


def new_worker_id() -> str:
    """Return a name nobody had before, readable in a shell."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"


class Worker(Stored):
    """`{"_id": "host:4711:1f2e3d4c", "beats": 12, "stops": ["107:0"]}`.

    `beats` goes up while the worker lives. Others judge it by their own clock: dead is who
    has not moved for a lease, so clocks that differ cannot kill a living worker.
    """

    id: str = Field(default_factory=new_worker_id)  # type: ignore[assignment]
    started_at: datetime = Field(default_factory=utc_now)
    beats: int = 0
    stops: list[str] = Field(default_factory=list)
    """The attempts (`"<message id>:<revision>"`) that somebody wants stopped."""

    imports: list[str] = Field(default_factory=list)
    """Conversations that it is storing from a file: their pages come before themselves."""
    dead: bool = False
    """Judged dead: what it was storing is being removed, and it must not end any of it."""

    class Settings:
        """Where it is kept."""

        name = "workers"

    @classmethod
    async def register(cls, worker_id: str) -> None:
        """`updateOne` with upsert: before the first reply carries the worker's name."""
        await cls.collection().update_one(
            {"_id": worker_id},
            {"$setOnInsert": {"started_at": utc_now(), "stops": []}, "$inc": {"beats": 1}},
            upsert=True,
        )

    @classmethod
    async def beat(cls, worker_id: str, answered: list[str]) -> None:
        """`$inc` the beats, and `$pull` the stop requests that were answered."""
        result = await cls.collection().update_one(
            {"_id": worker_id}, {"$inc": {"beats": 1}, "$pull": {"stops": {"$in": answered}}}
        )
        if not result.matched_count:
            await cls.register(worker_id)

    @classmethod
    async def stop_requests(cls, worker_id: str) -> list[str]:
        """Return the attempts that should stop."""
        found = await cls.collection().find_one({"_id": worker_id}, {"stops": 1})
        return list(found.get("stops", [])) if found else []

    @classmethod
    async def ask_to_stop(cls, worker_id: str, attempt: str) -> bool:
        """`$addToSet` a stop request; False when there is no such worker any more."""
        result = await cls.collection().update_one(
            {"_id": worker_id}, {"$addToSet": {"stops": attempt}}
        )
        return bool(result.matched_count)

    @classmethod
    async def begin_import(cls, worker_id: str, conversation_id: str) -> None:
        """`$addToSet`: its pages come before the conversation itself, or go after it."""
        update = {"$addToSet": {"imports": conversation_id}}
        result = await cls.collection().update_one({"_id": worker_id}, update)
        if not result.matched_count:
            await cls.register(worker_id)
            await cls.collection().update_one({"_id": worker_id}, update)

    @classmethod
    async def end_import(cls, worker_id: str, conversation_id: str) -> bool:
        """`$pull` it; False when the worker was found dead meanwhile: pages may be gone."""
        result = await cls.collection().update_one(
            {"_id": worker_id, "imports": conversation_id, "dead": {"$ne": True}},
            {"$pull": {"imports": conversation_id}},
        )
        return bool(result.matched_count)

    @classmethod
    async def mark_dead(cls, worker_id: str) -> list[str]:
        """`$set` it dead, and only then see which conversations it did not end."""
        await cls.collection().update_one({"_id": worker_id}, {"$set": {"dead": True}})
        found = await cls.collection().find_one({"_id": worker_id}, {"imports": 1})
        return list(found.get("imports", [])) if found else []

    @classmethod
    async def list_all(cls) -> list[Raw]:
        """Return those that are alive or not yet known to be dead: `{"id", "started_at"}`."""
        found = cls.collection().find({"dead": {"$ne": True}}, {"started_at": 1})
        return [{"id": raw["_id"], "started_at": raw["started_at"]} async for raw in found]

    @classmethod
    async def beats_of_all(cls) -> dict[str, int]:
        """Worker id → beats."""
        return {raw["_id"]: raw["beats"] async for raw in cls.collection().find({}, {"beats": 1})}

    @classmethod
    async def forget(cls, worker_id: str) -> None:
        """`deleteOne`: it ended, and nothing carries its name any more."""
        await cls.collection().delete_one({"_id": worker_id})

    @classmethod
    async def leave(cls, worker_id: str) -> None:
        """`deleteOne` at an orderly end, unless an import still goes on: that one is found dead."""
        await cls.collection().delete_one({"_id": worker_id, "imports.0": {"$exists": False}})
