"""Replies that are being written, wherever in a conversation they lie."""

from proxy.documents.base import Raw
from proxy.documents.conversation import Conversation, StoredConversation
from proxy.documents.message import StoredMessage
from proxy.documents.message_page import MessagePage

SHOWN = {
    f"messages.{name}": 1 for name in ("id", "status", "model", "provider", "started_at", "worker")
}


async def running_replies(owner: str) -> list[Raw]:
    """Return the owner's replies that a worker holds, oldest first.

    `{"message_id", "conversation_id", "conversation_name", "project_id", "model", "provider",
    "started_at", "worker"}`.
    """
    held: Raw = {"messages.worker": {"$gt": ""}}
    found: list[tuple[str, StoredMessage]] = []
    about: dict[str, StoredConversation] = {}
    names = {"name": 1, "project_id": 1}
    async for raw in Conversation.of(owner).iterate(held, {**SHOWN, **names}):
        about[raw["_id"]] = raw
        found += [(raw["_id"], message) for message in raw["messages"]]
    async for page in MessagePage.of(owner).iterate(held, {**SHOWN, "conversation_id": 1}):
        found += [(page["conversation_id"], message) for message in page["messages"]]
    running = [
        (id_, message)
        for id_, message in found
        if message.get("status") == "streaming" and message.get("worker")
    ]
    missing = [id_ for id_, _ in running if id_ not in about]
    for raw in await Conversation.of(owner).find({"_id": {"$in": missing}}, names):
        about[raw["_id"]] = raw
    return [
        {
            "message_id": message["id"],
            "conversation_id": id_,
            "conversation_name": about[id_]["name"],
            "project_id": about[id_]["project_id"],
            "model": message.get("model", ""),
            "provider": message.get("provider", ""),
            "started_at": message.get("started_at"),
            "worker": message["worker"],
        }
        for id_, message in sorted(running, key=lambda pair: int(pair[1]["id"]))
        # Deleted while this was read: its pages go after it.
        if id_ in about
    ]
