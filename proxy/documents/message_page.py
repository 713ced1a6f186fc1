"""Older messages of a conversation, some dozens a document; see `conversation.py` for the rules."""

from collections.abc import AsyncIterator
from typing import Any, ClassVar, TypedDict

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from proxy.documents.base import Owned, Raw
from proxy.documents.embedded_server import CERTAIN_IMAGE
from proxy.documents.message import Message, StoredMessage, size_bytes
from proxy.errors import Conflict, TooLarge

READ_BYTES = 1024 * 1024
"""Text that is read at a time, unless one page has more."""

READ_PAGES = 8
"""Pages of one read, at most: what bounds the memory of reading a history."""

MOVE_ATTEMPTS = 4
"""How often a move that lost against an edit is tried again before the next turn tries."""

PAGE_BYTES = 8 * 1024 * 1024
"""A page takes no further message beyond this, well below Mongo's 16 MiB a document."""

DOCUMENT_BYTES = 15 * 1024 * 1024
"""What may be in a page that grew by edits and by replies written again."""

MESSAGE_OF_OWNER = "message_of_owner"
"""The index that every look-up by a message's id names as its hint.

A foreign id must cost what an unknown one does. MongoDB's planner prefers the unique index on
`messages.id` alone, and that one reads the stranger's document to compare the owner.
"""

REPLY_BYTES = 4 * 1024 * 1024
"""The most that a reply can become; what one that is being written counts for."""


class StoredPage(TypedDict):
    """A `MessagePage` as it lies in Mongo."""

    _id: str
    owner: str
    conversation_id: str
    number: int
    first_id: int
    last_id: int
    changes: int
    preceding: int
    messages: list[StoredMessage]


class Tail(TypedDict):
    """What a move to a page reads of a conversation."""

    _id: str
    owner: str
    messages: list[StoredMessage]
    system_message_id: int | None
    page_count: int
    paged_messages: int
    changes: int


class MessagePage(Owned[StoredPage]):
    """`{"_id": "<conversation>:000000", "number": 0, "first_id", "last_id", "messages": […]}`."""

    id: str  # type: ignore[assignment]
    conversation_id: str
    number: int
    first_id: int
    last_id: int
    changes: int
    """The version of the tail that the messages were copied at; deletes raise it."""
    preceding: int = 0
    """Messages in all former pages when this one was made."""

    messages: list[Message]

    class Settings:
        """Where it is kept and what finds it."""

        name = "message_pages"
        indexes: ClassVar = [
            IndexModel(
                [("conversation_id", ASCENDING), ("messages.idempotency.key", ASCENDING)],
                name="conversation_and_key",
            ),
            IndexModel([("messages.id", ASCENDING)], name="message_id", unique=True, sparse=True),
            IndexModel([("owner", ASCENDING), ("messages.id", ASCENDING)], name=MESSAGE_OF_OWNER),
            IndexModel([("messages.worker", ASCENDING)], name="message_worker", sparse=True),
        ]

    @staticmethod
    def holding(low: int, high: int) -> Raw:
        """Return a filter for pages that may hold messages with `low <= id < high`."""
        return {"last_id": {"$gte": low}, "first_id": {"$lt": high}}

    @classmethod
    async def forward(
        cls, owner: str, conversation_id: str, count: int
    ) -> AsyncIterator[list[StoredMessage]]:
        """Yield the messages of the pages that count, oldest page first."""
        async for page in cls._read(owner, conversation_id, range(count)):
            yield page["messages"]

    @classmethod
    async def backward(
        cls, owner: str, conversation_id: str, count: int, before: int | None = None
    ) -> AsyncIterator[StoredPage]:
        """Yield the pages with messages below the id `before`, newest first, and only those."""
        if before is not None:
            count = await cls._count_below(owner, conversation_id, count, before)
        async for page in cls._read(owner, conversation_id, range(count - 1, -1, -1)):
            if before is not None:
                page["messages"] = [m for m in page["messages"] if m["id"] < before]
            yield page

    @classmethod
    async def after(
        cls, owner: str, conversation_id: str, count: int, after: int
    ) -> AsyncIterator[list[StoredMessage]]:
        """Yield the messages with ids above `after`, page by page, oldest first."""
        first = max(0, await cls._count_below(owner, conversation_id, count, after + 1) - 1)
        async for page in cls._read(owner, conversation_id, range(first, count)):
            yield [m for m in page["messages"] if m["id"] > after]

    @classmethod
    async def _read(
        cls, owner: str, conversation_id: str, numbers: range
    ) -> AsyncIterator[StoredPage]:
        """Pages in the order of their numbers, a few a read: the first reads are the small ones.

        So few that a slow reader of long pages holds about `READ_BYTES` of them.

        By `_id`: a sorted query may read all pages of a conversation to give the first.
        """
        start, size = 0, 1
        while start < len(numbers):
            wanted = numbers[start : start + size]
            found = await cls.of(owner).find_any(
                "_id",
                [page_id(conversation_id, number) for number in wanted],
                {"number": 1, "preceding": 1, "messages": 1},
            )
            for page in sorted(found, key=lambda page: wanted.index(page["number"])):
                yield page
            start += size
            page_bytes = sum(size_bytes(m) for page in found for m in page["messages"]) // size
            found.clear()
            size = max(1, min(size * 2, READ_PAGES, READ_BYTES // max(1, page_bytes)))

    @classmethod
    async def _count_below(cls, owner: str, conversation_id: str, count: int, before: int) -> int:
        """How many pages begin below a message id: halving, as ids rise from page to page."""
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            page = await cls.of(owner).find_one(
                {"_id": page_id(conversation_id, middle)}, {"first_id": 1}
            )
            if page is not None and page["first_id"] < before:
                low = middle + 1
            else:
                high = middle
        return low

    @classmethod
    async def check_room(cls, id_: str) -> None:
        """Check that one more reply of a page can be written to its full size.

        Raises:
            Conflict: not beside those that are being written now.
            TooLarge: not beside its messages.
        """
        page = await cls.collection().find_one({"_id": id_}, {"messages": 1})
        messages = page["messages"] if page else []
        room = DOCUMENT_BYTES - REPLY_BYTES
        if sum(map(_reserved_bytes, messages)) <= room:
            return
        if sum(map(size_bytes, messages)) <= room:
            raise Conflict("Replies beside this one are being written; try again when they end")
        raise TooLarge("The messages beside this reply leave no room for another one")

    @classmethod
    async def take_from(
        cls, conversations: Any, id_: str, *, max_messages: int, max_bytes: int
    ) -> bool:
        """Move the older half of a tail over its bounds into the next page; whether it did.

        Safe at every instant and against every other mover: first nothing may be appended
        below the last message that moves any more, then the page is written, and it counts
        only when the update that empties the tail succeeds, which it does at the `changes`
        that the copy was made at.
        """
        fields = dict.fromkeys(Tail.__annotations__, 1)
        for _ in range(MOVE_ATTEMPTS):
            conversation: Tail | None = await conversations.find_one({"_id": id_}, fields)
            if conversation is None:
                # It was deleted, perhaps just before this move wrote a page of it.
                await cls.collection().delete_many({"conversation_id": id_})
                return False
            moving = _older_half(conversation, max_messages, max_bytes)
            if not moving:
                return False
            last_id = moving[-1]["id"]
            conversation = await conversations.find_one_and_update(
                {"_id": id_},
                {"$max": {"last_paged_id": last_id}},
                projection=fields,
                return_document=CERTAIN_IMAGE,
            )
            if conversation is None:
                continue
            moving = _fitting([m for m in _in_order(conversation) if m["id"] <= last_id])
            if not moving:
                continue
            ids = await cls._prepare(conversation, moving)
            if ids is None:
                continue
            result = await conversations.update_one(
                {"_id": id_, "changes": conversation["changes"]},
                {
                    "$pull": {"messages": {"id": {"$in": ids}}},
                    "$inc": {
                        "page_count": 1,
                        "paged_messages": len(ids),
                        "changes": 1,
                        "appends": 1,
                    },
                },
            )
            if result.matched_count:
                return True
        return False

    @classmethod
    async def _prepare(cls, conversation: Tail, moving: list[StoredMessage]) -> list[int] | None:
        """Write the next page, or adopt one that another mover left; None: look again."""
        page: StoredPage = {
            "_id": page_id(conversation["_id"], conversation["page_count"]),
            "owner": conversation["owner"],
            "conversation_id": conversation["_id"],
            "number": conversation["page_count"],
            "first_id": moving[0]["id"],
            "last_id": moving[-1]["id"],
            "changes": conversation["changes"],
            "preceding": conversation["paged_messages"],
            "messages": moving,
        }
        pages = cls.collection()
        try:
            await pages.insert_one(page)
        except DuplicateKeyError:
            left: StoredPage | None = await pages.find_one({"_id": page["_id"]})
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
    """Return the derived `_id` of a page."""
    return f"{conversation_id}:{number:06d}"


def _reserved_bytes(message: StoredMessage) -> int:
    """Return what a message counts for in its page: while it is written, all it may become."""
    size = size_bytes(message)
    return max(size, REPLY_BYTES) if message.get("status") == "streaming" else size


def _in_order(conversation: Tail) -> list[StoredMessage]:
    """Return the messages of a tail that may move: all but the system message."""
    system_id = conversation.get("system_message_id")
    return sorted(
        (m for m in conversation["messages"] if m["id"] != system_id), key=lambda m: int(m["id"])
    )


def _older_half(conversation: Tail, max_messages: int, max_bytes: int) -> list[StoredMessage]:
    """Return the oldest messages that must go to bring the tail to half its bounds."""
    tail = _in_order(conversation)
    sizes = [size_bytes(m) for m in tail]
    count, total = len(tail), sum(sizes)
    if count <= max_messages and total <= max_bytes:
        return []
    moved = 0
    while moved < count and (count - moved > max_messages // 2 or total > max_bytes // 2):
        total -= sizes[moved]
        moved += 1
    return _fitting(tail[:moved])


def _fitting(messages: list[StoredMessage]) -> list[StoredMessage]:
    """Return the first of them that fill a page, at least one."""
    taken = 0
    for position, message in enumerate(messages):
        taken += _reserved_bytes(message)
        if position and taken > PAGE_BYTES:
            return messages[:position]
    return messages
