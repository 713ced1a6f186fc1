"""Older messages of a conversation, some dozens a document; see `conversation.py` for the rules."""

from collections.abc import AsyncIterator
from typing import Any, ClassVar

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from proxy.documents.base import Owned, Raw
from proxy.documents.message import Message, size_bytes

MOVE_ATTEMPTS = 4
"""How often a move that lost against an edit is tried again before the next turn tries."""

PAGE_BYTES = 8 * 1024 * 1024
"""A page takes no further message beyond this, well below Mongo's 16 MiB a document."""


class MessagePage(Owned):
    """`{"_id": "<conversation>:000000", "number": 0, "first_id", "last_id", "messages": […]}`."""

    id: str  # type: ignore[assignment]
    conversation_id: str
    number: int
    first_id: int
    last_id: int
    changes: int
    """The version of the tail that the messages were copied at."""
    messages: list[Message]

    class Settings:
        """Where it is kept and what finds it."""

        name = "message_pages"
        indexes: ClassVar = [
            IndexModel(
                [("conversation_id", ASCENDING), ("number", ASCENDING)], name="conversation_number"
            ),
            IndexModel([("messages.id", ASCENDING)], name="message_id", unique=True, sparse=True),
            IndexModel([("messages.worker", ASCENDING)], name="message_worker", sparse=True),
            IndexModel(
                [("messages.idempotency.key", ASCENDING)], name="idempotency_key", sparse=True
            ),
        ]

    @classmethod
    async def forward(
        cls, owner: str, conversation_id: str, count: int
    ) -> AsyncIterator[list[Raw]]:
        """The messages of the pages that count, oldest page first."""
        query = {"conversation_id": conversation_id, "number": {"$lt": count}}
        pages = cls.of(owner).iterate(
            query, {"messages": 1}, sort=[("number", ASCENDING)], batch_size=8
        )
        async for page in pages:
            yield page["messages"]

    @classmethod
    async def backward(
        cls, owner: str, conversation_id: str, count: int, before: int | None = None
    ) -> AsyncIterator[list[Raw]]:
        """The messages with an id below `before`, newest page first; one read a page."""
        mine = cls.of(owner)
        for number in range(count - 1, -1, -1):
            page = await mine.find_one(
                {"_id": page_id(conversation_id, number)}, {"messages": 1, "first_id": 1}
            )
            if page is None or (before is not None and page["first_id"] >= before):
                continue
            yield [m for m in page["messages"] if before is None or m["id"] < before]

    @classmethod
    async def take_from(
        cls, conversations: Any, id_: str, *, max_messages: int, max_bytes: int
    ) -> bool:
        """Move the older half of a tail over its bounds into the next page; whether it did.

        Safe at every instant and against every other mover: the page is written first and
        counts only when the update that empties the tail succeeds, which it does at the
        `changes` and `page_count` that the copy was made at.
        """
        fields = {"owner": 1, "messages": 1, "system_message_id": 1, "page_count": 1, "changes": 1}
        for _ in range(MOVE_ATTEMPTS):
            conversation = await conversations.find_one({"_id": id_}, fields)
            if conversation is None:
                return False
            moving = _older_half(conversation, max_messages, max_bytes)
            if not moving:
                return False
            ids = await cls._prepare(conversation, moving)
            if ids is None:
                continue
            result = await conversations.update_one(
                {
                    "_id": id_,
                    "changes": conversation["changes"],
                    "page_count": conversation["page_count"],
                },
                {
                    "$pull": {"messages": {"id": {"$in": ids}}},
                    "$inc": {"page_count": 1, "paged_messages": len(ids)},
                    "$set": {"last_paged_id": ids[-1]},
                },
            )
            if result.matched_count:
                return True
        return False

    @classmethod
    async def _prepare(cls, conversation: Raw, moving: list[Raw]) -> list[int] | None:
        """Write the next page, or adopt one that another mover left; None: look again."""
        page = {
            "_id": page_id(conversation["_id"], conversation["page_count"]),
            "owner": conversation["owner"],
            "conversation_id": conversation["_id"],
            "number": conversation["page_count"],
            "first_id": moving[0]["id"],
            "last_id": moving[-1]["id"],
            "changes": conversation["changes"],
            "messages": moving,
        }
        pages = cls.collection()
        try:
            await pages.insert_one(page)
        except DuplicateKeyError:
            left = await pages.find_one({"_id": page["_id"]})
            if left is None or left["changes"] > page["changes"]:
                return None
            if left["changes"] == page["changes"]:
                return [message["id"] for message in left["messages"]]
            # Copied before an edit or delete: whoever wrote it can no longer commit it.
            replaced = await pages.replace_one(
                {"_id": page["_id"], "changes": left["changes"]}, page
            )
            if not replaced.matched_count:
                return None
        return [message["id"] for message in moving]


def page_id(conversation_id: str, number: int) -> str:
    """The derived `_id` of a page."""
    return f"{conversation_id}:{number:06d}"


def _older_half(conversation: Raw, max_messages: int, max_bytes: int) -> list[Raw]:
    """The oldest messages that must go to bring the tail to half its bounds."""
    system_id = conversation.get("system_message_id")
    tail = sorted(
        (m for m in conversation["messages"] if m["id"] != system_id), key=lambda m: int(m["id"])
    )
    sizes = [size_bytes(m) for m in tail]
    count, total = len(tail), sum(sizes)
    if count <= max_messages and total <= max_bytes:
        return []
    moving: list[Raw] = []
    taken = 0
    for message, size in zip(tail, sizes, strict=True):
        enough = count <= max_messages // 2 and total <= max_bytes // 2
        # A streaming reply is written by position in the tail; what comes after it waits.
        if enough or message.get("status") == "streaming" or (taken and taken + size > PAGE_BYTES):
            break
        moving.append(message)
        taken += size
        count -= 1
        total -= size
    return moving
