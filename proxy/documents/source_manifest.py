"""What a reader was given of a project's source: path → hash of the text, by conversation or ETag.

Manifests are packed: the paths as deflated lines, the hashes as bytes. 50,000 paths take
about 1 MB, and it takes half a million to reach what a document may hold; a manifest
that would not fit is not kept, and its reader is given the whole source next time.
"""

import asyncio
import zlib
from contextlib import suppress
from datetime import datetime
from typing import ClassVar

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from proxy.documents.base import Owned, Raw, utc_now

_HASH_BYTES = 16
_PACKED_BYTES = 15 * 1024 * 1024


class SourceManifest(Owned[Raw]):
    """What a conversation's calls were last given.

    `{"_id": "<conversation>", "sha256": "…", "files": 812, "names": BinData, "hashes": BinData}`
    """

    id: str  # type: ignore[assignment]
    sha256: str
    files: int
    names: bytes
    hashes: bytes
    attached_at: datetime

    class Settings:
        """Where it is kept."""

        name = "source_manifests"

    @classmethod
    async def store(
        cls, owner: str, conversation_id: str, sha256: str, manifest: dict[str, str]
    ) -> None:
        """`updateOne` with upsert: the newest one counts."""
        packed = await asyncio.to_thread(_packed, manifest)
        if packed is None:
            await cls.forget(owner, conversation_id)
            return
        fields: Raw = {"sha256": sha256, **packed, "attached_at": utc_now()}
        await cls.of(owner).upsert_one({"_id": conversation_id}, {"$set": fields})

    @classmethod
    async def last(cls, owner: str, conversation_id: str) -> tuple[str, dict[str, str]] | None:
        """Return the hash of the last attached digest and its manifest.

        None when there was none.
        """
        raw = await cls.of(owner).find_one({"_id": conversation_id})
        if raw is None:
            return None
        return raw["sha256"], await asyncio.to_thread(_unpacked, raw)

    @classmethod
    async def forget(cls, owner: str, conversation_id: str) -> None:
        """`deleteOne`, with its conversation."""
        await cls.of(owner).delete_one({"_id": conversation_id})


class AnsweredDigest(Owned[Raw]):
    """What the ETag of a digest stands for, so that `since` can name it on any worker.

    `{"_id": "<project>:<choice>:<etag>", "project_id": 2, "files": 812, "names": BinData, …}`.
    The choice is that of the directory and its files.
    """

    id: str  # type: ignore[assignment]
    project_id: int
    files: int
    names: bytes
    hashes: bytes
    answered_at: datetime

    class Settings:
        """Where it is kept and what finds it."""

        name = "answered_digests"
        indexes: ClassVar = [
            IndexModel(
                [("owner", ASCENDING), ("project_id", ASCENDING), ("answered_at", DESCENDING)],
                name="newest",
            )
        ]

    @classmethod
    async def store(
        cls, owner: str, project_id: int, name: str, manifest: dict[str, str], *, kept: int
    ) -> None:
        """Touch it, or write it and drop all but the `kept` newest; `name` is `<choice>:<etag>`.

        `updateOne`; `updateOne` with upsert, `find`, `deleteMany`.
        """
        own, key = cls.of(owner), {"_id": f"{project_id}:{name}"}
        now = utc_now()
        if await own.update_one(key, {"$set": {"answered_at": now}}):
            return
        packed = await asyncio.to_thread(_packed, manifest)
        if packed is None:
            return
        fields: Raw = {"project_id": project_id, **packed, "answered_at": now}
        with suppress(DuplicateKeyError):  # another worker answered the same
            await own.upsert_one(key, {"$set": fields})
        of_project = {"project_id": project_id}
        newest = [("answered_at", DESCENDING), ("_id", DESCENDING)]
        old = await own.find(of_project, {"_id": 1}, sort=newest, skip=kept)
        if old:
            await own.delete_many({"_id": {"$in": [raw["_id"] for raw in old]}})

    @classmethod
    async def recall(cls, owner: str, project_id: int, name: str) -> dict[str, str] | None:
        """Return the manifest, or None when it is not (or no longer) known."""
        raw = await cls.of(owner).find_one({"_id": f"{project_id}:{name}"})
        return None if raw is None else await asyncio.to_thread(_unpacked, raw)

    @classmethod
    async def forget(cls, owner: str, project_id: int) -> None:
        """`deleteMany`, with its project."""
        await cls.of(owner).delete_many({"project_id": project_id})


def _packed(manifest: dict[str, str]) -> Raw | None:
    """Return the fields of a manifest; None when they are too large for a document."""
    # No displayed path holds a line break.
    names = zlib.compress("\n".join(manifest).encode(), 1)
    hashes = bytes.fromhex("".join(manifest.values()))
    if len(names) + len(hashes) > _PACKED_BYTES:
        return None
    return {"files": len(manifest), "names": names, "hashes": hashes}


def _unpacked(raw: Raw) -> dict[str, str]:
    if not raw.get("files"):
        return {}
    hashes = raw["hashes"].hex()
    size = 2 * _HASH_BYTES
    starts = range(0, len(hashes), size)
    names = zlib.decompress(raw["names"]).decode().split("\n")
    return dict(zip(names, (hashes[at : at + size] for at in starts), strict=True))
