"""Replies that nobody writes any more: found by the name of their worker, marked interrupted."""

from dataclasses import dataclass

from proxy.documents.base import Raw, Stored, utc_now
from proxy.documents.conversation import Conversation
from proxy.documents.page import MessagePage

HOLDERS: tuple[type[Stored], ...] = (Conversation, MessagePage)
"""Where messages are; they move from the first to the second."""


async def interrupt_replies(worker: str) -> int:
    """Mark what a dead worker left `streaming` as `interrupted`; how many documents it touched."""
    touched = 0
    for holder in HOLDERS:
        # Each pass marks one reply a document; the filter is its own guard.
        while (
            result := await holder.collection().update_many(
                {"messages.worker": worker}, _interruption(holder)
            )
        ).matched_count:
            touched += int(result.matched_count)
    return touched


async def attempts_of(worker: str) -> dict[str, "Held"]:
    """The attempts that are `streaming` under a worker's name, and where."""
    fields = {"messages.worker": 1, "messages.attempt": 1}
    return {
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

    async def interrupt(self) -> None:
        """Mark it as `interrupted`; where it moved meanwhile, nothing happens."""
        await self.holder.collection().update_one(
            {"_id": self.document_id, "messages.attempt": self.attempt},
            _interruption(self.holder),
        )


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
