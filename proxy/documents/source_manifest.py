"""What a conversation's calls were last given of a project's source: path → hash of the text."""

import zlib
from datetime import datetime
from typing import ClassVar

import orjson

from proxy.documents.base import Owned, Raw, utc_now


class SourceManifest(Owned):
    """`{"_id": "<conversation>", "sha256": "…", "paths": 812, "manifest": BinData}`.

    The manifest is deflated JSON: 50,000 paths take about 3 MB.
    """

    NOUN: ClassVar[str] = "Manifest"

    id: str  # type: ignore[assignment]
    sha256: str
    paths: int
    manifest: bytes
    attached_at: datetime

    class Settings:
        """Where it is kept."""

        name = "source_manifests"

    @classmethod
    async def remember(
        cls, owner: str, conversation_id: str, sha256: str, manifest: dict[str, str]
    ) -> None:
        """`updateOne` with upsert: the newest one counts."""
        fields: Raw = {
            "sha256": sha256,
            "paths": len(manifest),
            "manifest": zlib.compress(orjson.dumps(manifest), 1),
            "attached_at": utc_now(),
        }
        await cls.of(owner).upsert_one({"_id": conversation_id}, {"$set": fields})

    @classmethod
    async def last(cls, owner: str, conversation_id: str) -> tuple[str, dict[str, str]] | None:
        """The hash of the last attached digest and its manifest; None when there was none."""
        raw = await cls.of(owner).find_one({"_id": conversation_id})
        if raw is None:
            return None
        manifest: dict[str, str] = orjson.loads(zlib.decompress(raw["manifest"]))
        return raw["sha256"], manifest

    @classmethod
    async def forget(cls, owner: str, conversation_id: str) -> None:
        """`deleteOne`, with its conversation."""
        await cls.of(owner).delete_one({"_id": conversation_id})
