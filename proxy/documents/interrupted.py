"""Replies that nobody writes any more: found by their worker's name, marked interrupted."""

from dataclasses import dataclass
from typing import Protocol

from proxy.documents.base import Raw, Stored, utc_now
from proxy.documents.conversation import Conversation
from proxy.documents.message import StoredMessage
from proxy.documents.message_page import MessagePage
from proxy.documents.plan_draft import PlanDraft, StoredPlanDraft
from proxy.documents.usage import Usage

HOLDERS: tuple[type[Stored], ...] = (Conversation, MessagePage)
"""Where messages are; they move from the first to the second."""

COUNTED = (
    "owner",
    "conversation_id",
    "number",
    *(f"messages.{name}" for name in ("worker", "key_id", "provider", "model")),
)
"""What says under what a reply is counted."""


async def interrupt_replies(worker: str) -> int:
    """Mark what a dead worker left `streaming` as `interrupted`, and count it; how many.

    The draft of a plan document becomes a version of its file.
    """
    interrupted = 0
    for left in await PlanDraft.left_by(worker):
        if await left.interrupt():
            interrupted += 1
            draft = left.draft
            await _count(draft["owner"], draft["file"]["project_id"], draft)
    for holder in HOLDERS:
        while held := [raw async for raw in holder.collection().find(_held_by(worker), COUNTED)]:
            for raw in held:
                for message in raw["messages"]:
                    if message.get("worker") != worker:
                        continue
                    # It marks the first that is left: the filter is its own guard, so that
                    # of several who find the same worker dead one counts.
                    result = await holder.collection().update_one(
                        {"_id": raw["_id"], **_held_by(worker)}, _interruption(holder)
                    )
                    if result.matched_count:
                        interrupted += 1
                        await _count_message(raw, message)
    return interrupted


async def _count_message(raw: Raw, message: StoredMessage) -> None:
    conversation = await Conversation.of(raw["owner"]).find_one(
        {"_id": raw.get("conversation_id", raw["_id"])}, {"project_id": 1, "page_count": 1}
    )
    if conversation is None:
        return
    if raw.get("number", -1) >= conversation["page_count"]:
        # The copy of a move that broke off: the reply itself is in the tail.
        return
    await _count(raw["owner"], conversation["project_id"], message)


async def _count(owner: str, project_id: int, reply: StoredMessage | StoredPlanDraft) -> None:
    """Add a reply to what was used, as a failed request; nobody knows its tokens."""
    labels = {
        "day": utc_now().date().isoformat(),
        "owner": owner,
        "key_id": reply.get("key_id", ""),
        "project_id": project_id,
        "model": f"{reply.get('provider')}/{reply.get('model')}",
    }
    await Usage.add(labels, {"requests": 1, "errors": 1})


def _held_by(worker: str) -> Raw:
    return {"messages.worker": worker}


class Left(Protocol):
    """One writing of a reply that nobody writes any more."""

    async def interrupt(self) -> bool:
        """Mark it as `interrupted`; whether this call did."""
        ...


async def attempts_of(worker: str) -> dict[str, Left]:
    """Return the attempts that are `streaming` under a worker's name, and where."""
    fields = {"messages.worker": 1, "messages.attempt": 1}
    drafts = {left.draft["attempt"]: left for left in await PlanDraft.left_by(worker)}
    return drafts | {
        message["attempt"]: Held(holder, raw["_id"], message["attempt"])
        for holder in HOLDERS
        async for raw in holder.collection().find({"messages.worker": worker}, fields)
        for message in raw["messages"]
        if message.get("worker") == worker
    }


@dataclass(frozen=True, slots=True)
class Held:
    """One writing of a reply in the document that holds it."""

    holder: type[Stored]
    document_id: str
    attempt: str

    async def interrupt(self) -> bool:
        """Mark it as `interrupted`; where it moved meanwhile, nothing happens."""
        result = await self.holder.collection().update_one(
            {"_id": self.document_id, "messages.attempt": self.attempt},
            _interruption(self.holder),
        )
        return bool(result.matched_count)


def _interruption(holder: type[Stored]) -> Raw:
    update: Raw = {
        "$set": {
            "messages.$.status": "interrupted",
            "messages.$.updated_at": utc_now(),
            "messages.$.error": {
                "type": "interrupted",
                "message": "The server stopped while this reply was being written",
            },
        },
        "$unset": {"messages.$.worker": 1},
    }
    if holder is Conversation:
        update["$inc"] = {"changes": 1}
    return update
