"""A plan document while a model writes it: what is kept of it until it is a version.

The text so far is checkpointed here, so that what was paid for outlives the server. When the
reply has ended its text becomes a version of the file, and the draft keeps only how it ended:
for who waits on another worker, and for copies of the request under the same key.

Two document ids are reserved at the beginning, one for the whole text and one for the part
that a dead worker leaves: whoever stores the part, also for a worker that was taken for dead
by mistake, can never take the place of the whole.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, NotRequired, TypedDict, cast

from pydantic import Field
from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from proxy.documents.base import Owned, Raw, utc_now
from proxy.documents.message import Status
from proxy.documents.plan_document import PlanDocument, Provenance, StoredPlanDocument
from proxy.documents.plan_file import PlanFileName

INTERRUPTED = {
    "type": "interrupted",
    "message": "The server stopped while this document was being written",
}


class StoredPlanDraft(TypedDict):
    """A `PlanDraft` as it lies in Mongo; one that has ended has no file and no provenance."""

    _id: int
    owner: str
    document_id: int
    part_id: int
    is_stored: bool
    file: PlanFileName
    provenance: Provenance
    attempt: str
    status: Status
    content: str
    worker: NotRequired[str]
    provider: str
    model: str
    key_id: NotRequired[str]
    finish_reason: NotRequired[str]
    error: NotRequired[dict[str, Any]]
    key: NotRequired[str]
    body: NotRequired[str]
    created_at: datetime


class DraftAsReply(StoredPlanDraft):
    """A draft, and the document that became of it once it has ended."""

    document: NotRequired[StoredPlanDocument | None]


class PlanDraft(Owned[StoredPlanDraft]):
    """`{"_id": 77, "document_id": 41, "status": "streaming", "content": "# 计划…", "worker": …}`.

    `_id` is the stream's session id, `key_id` the API key that asked for it. `key` is a hash of
    owner and `Idempotency-Key`, `body` one of the request. Once `is_stored`, `document_id`
    names the version.
    """

    id: int  # type: ignore[assignment]
    document_id: int
    part_id: int
    is_stored: bool = False
    file: dict[str, Any] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)
    attempt: str
    status: Status = "streaming"
    content: str = ""
    worker: str | None = None
    provider: str
    model: str
    key_id: str | None = None
    finish_reason: str | None = None
    error: dict[str, Any] | None = None
    key: str | None = None
    body: str | None = None
    created_at: datetime = Field(default_factory=utc_now)

    class Settings:
        """Where it is kept and what finds it."""

        name = "plan_drafts"
        indexes: ClassVar = [
            IndexModel([("key", ASCENDING)], name="key", unique=True, sparse=True),
            IndexModel([("worker", ASCENDING)], name="worker", sparse=True),
        ]

    def raw(self) -> StoredPlanDraft:
        """Return it as it is stored: absent fields are absent, not null."""
        return cast(StoredPlanDraft, self.fields(without_none=True))

    async def begin(self) -> bool:
        """`insertOne`; False when the key belongs to another draft."""
        try:
            await self.of(self.owner).insert(self.raw())
        except DuplicateKeyError:
            return False
        return True

    @classmethod
    async def with_key(cls, owner: str, key: str) -> StoredPlanDraft | None:
        """Return the draft that was begun under a hashed key.

        One whose document was deleted goes.
        """
        found = await cls.of(owner).find_any("key", [key])
        draft = found[0] if found else None
        if draft is not None and draft["is_stored"]:
            document = await PlanDocument.of(owner).find_one({"_id": draft["document_id"]}, {})
            if document is None:
                await cls.of(owner).delete_one({"_id": draft["_id"]})
                return None
        return draft

    @classmethod
    async def as_reply(cls, owner: str, id_: int) -> DraftAsReply | None:
        """Return a draft with the fields of a reply; one that has ended with its `document`."""
        draft = cast(DraftAsReply | None, await cls.of(owner).find_one({"_id": id_}))
        if draft is not None and draft["status"] != "streaming":
            document = await PlanDocument.of(owner).find_one({"_id": draft["document_id"]})
            draft["document"] = document
            draft["content"] = document["content"] if document else ""
        return draft

    @classmethod
    async def checkpoint(cls, id_: int, content: str) -> None:
        """`$set` the text so far."""
        await cls.collection().update_one(
            {"_id": id_, "status": "streaming"}, {"$set": {"content": content}}
        )

    @classmethod
    async def end(cls, id_: int, fields: Raw, *, guard: Raw | None = None) -> bool:
        """`$set` how it ended, for the text is a version now; whether the `guard` matched."""
        draft = {"content", "worker", "key_id", "file", "provenance"}
        gone = (draft | {"error", "finish_reason"}) - set(fields)
        result = await cls.collection().update_one(
            {"_id": id_, **(guard or {})},
            {"$set": fields, "$unset": dict.fromkeys(sorted(gone), 1)},
        )
        return bool(result.matched_count)

    @classmethod
    async def left_by(cls, worker: str) -> list["LeftDraft"]:
        """Return what a worker has begun and not ended."""
        return [LeftDraft(raw) async for raw in cls.collection().find({"worker": worker})]


@dataclass(frozen=True, slots=True)
class LeftDraft:
    """A draft that nobody writes any more."""

    draft: StoredPlanDraft

    async def interrupt(self) -> bool:
        """Make its text a version that says so; safe to repeat, and one of several did it."""
        draft = self.draft
        owner = draft["owner"]
        # It may have been stored whole, and only the word of it was lost.
        document = await _stored(owner, draft["document_id"])
        if document is None and draft["content"]:
            document = await _stored(owner, draft["part_id"])
        if document is None and draft["content"]:
            provenance: Provenance = {
                **draft["provenance"],
                "model": draft["model"],
                "provider": draft["provider"],
                "status": "interrupted",
            }
            document = await PlanDocument.create_version(
                owner,
                draft["file"],
                {"content": draft["content"], "source": "chat", "provenance": provenance},
                id_=draft["part_id"],
            )
        ended: Raw = {"status": "interrupted", "error": INTERRUPTED}
        if document is not None:
            status = document.get("provenance", {}).get("status", "complete")
            ended = {"status": status} if status != "interrupted" else ended
            ended.update(is_stored=True, document_id=document["_id"])
        return await PlanDraft.end(draft["_id"], ended, guard={"worker": draft["worker"]})


async def _stored(owner: str, id_: int) -> StoredPlanDocument | None:
    return await PlanDocument.of(owner).find_one({"_id": id_}, {"provenance": 1})


def key_hash(owner: str, key: str) -> str:
    """Return what stands for an `Idempotency-Key` of an owner."""
    return hashlib.sha256(f"{owner}\n{key}".encode()).hexdigest()
