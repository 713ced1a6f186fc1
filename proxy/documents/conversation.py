"""A conversation and its newest messages; the older ones are in `MessagePage` documents.

One list in two places, without a transaction:

- All messages of a page have smaller ids than all messages of the tail, pages are numbered
  in order, so the list is pages, then tail. Turns may arrive in another order than their ids
  were reserved: a move first raises `last_paged_id`, and nothing is appended below that.
- A page counts only when its `number` is below the conversation's `page_count`. One
  update moves messages: it pulls them from the tail and raises `page_count`, `changes` and
  `appends`.
- The copy in the page was made at a version of the tail, `changes`; every write to a
  message in the tail (edit, checkpoint, end of a reply) up to `last_paged_id` raises that, and
  every delete, and the update asks for the same value: a write that lands in between wins, and
  the copy is made again. Writes to newer messages do not concern it.
- An append under an idempotency key asks for the `appends` that it searched at: nothing was
  appended or moved since.
- The system message stays in the tail, so that prompt and message change in one update.
- A filter names the `_id` and one guard: the embedded server uses an index only where it
  covers the whole filter, and would look at every conversation otherwise.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, ClassVar, NotRequired, TypedDict, cast
from uuid import uuid4

from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from proxy.documents.base import Owned, Raw, utc_now
from proxy.documents.message import Message, StoredMessage
from proxy.documents.message_page import MESSAGE_OF_OWNER, MessagePage
from proxy.errors import NotFound

SUMMARY = {
    "system_prompt": 1,
    "created_at": 1,
    "updated_at": 1,
    "project_id": 1,
    "name": 1,
    "model": 1,
    "assistance_role": 1,
    "status": 1,
    "metadata": 1,
    "forked_from": 1,
}
"""What a list shows: no messages are read."""

OPTIONAL = ("metadata", "forked_from", "document_references")
"""What only those conversations have that use it."""


class ConversationNotFound(NotFound):
    """No such conversation for this caller."""

    message = "Conversation not found"


class Reference(TypedDict):
    """That a conversation's or a project's calls take a plan document along as context."""

    id: int
    document_id: int
    created_at: datetime


class StoredConversation(TypedDict):
    """A `Conversation` as it lies in Mongo."""

    _id: str
    owner: str
    project_id: int
    name: str
    model: str
    assistance_role: str
    status: int
    system_prompt: str
    system_message_id: int | None
    metadata: NotRequired[dict[str, str]]
    forked_from: NotRequired[dict[str, Any]]
    document_references: NotRequired[list[Reference]]
    created_at: datetime
    updated_at: datetime
    messages: list[StoredMessage]
    page_count: int
    last_paged_id: int
    paged_messages: int
    changes: int
    appends: int


class Conversation(Owned[StoredConversation]):
    """`db.conversations.findOne({_id: "<uuid4>"})`."""

    id: str = Field(default_factory=lambda: str(uuid4()))  # type: ignore[assignment]
    project_id: int = 0
    name: str = ""
    model: str = ""
    assistance_role: str = ""
    status: int = 0
    system_prompt: str = ""
    system_message_id: int | None = None
    metadata: dict[str, str] | None = None
    """Short texts that a client of OpenAI's Conversations keeps here."""
    forked_from: dict[str, Any] | None = None
    """`{"conversation_id", "message_id"}` of what this began as a copy of."""
    document_references: list[dict[str, Any]] | None = None
    """Plan documents that its calls take along; see `document_reference.py`."""
    created_at: datetime = Field(default_factory=utc_now)
    updated_at: datetime = Field(default_factory=utc_now)
    messages: list[Message] = Field(default_factory=list)
    page_count: int = 0
    last_paged_id: int = 0
    paged_messages: int = 0
    changes: int = 0
    appends: int = 0

    class Settings:
        """Where it is kept and what finds it."""

        name = "conversations"
        indexes: ClassVar = [
            IndexModel([("owner", ASCENDING), ("updated_at", DESCENDING)], name="newest"),
            IndexModel(
                [("owner", ASCENDING), ("project_id", ASCENDING), ("updated_at", DESCENDING)],
                name="newest_of_project",
            ),
            IndexModel(
                [("owner", ASCENDING), ("status", ASCENDING), ("updated_at", DESCENDING)],
                name="newest_of_status",
            ),
            IndexModel([("messages.id", ASCENDING)], name="message_id", unique=True, sparse=True),
            IndexModel([("owner", ASCENDING), ("messages.id", ASCENDING)], name=MESSAGE_OF_OWNER),
            IndexModel([("messages.worker", ASCENDING)], name="message_worker", sparse=True),
            IndexModel(
                [("document_references.document_id", ASCENDING)],
                name="document_reference",
                sparse=True,
            ),
        ]

    # Whole conversations

    async def create(self) -> None:  # type: ignore[override]
        """`insertOne`, with the system prompt as first message when it has one."""
        await self.of(self.owner).insert(self.raw())

    def raw(self) -> StoredConversation:
        """Return it as it is stored."""
        fields = self.model_dump(exclude={"id", "messages", "revision_id"})
        for name in OPTIONAL:
            if fields[name] is None:
                del fields[name]
        messages = [message.raw() for message in self.messages]
        return cast(StoredConversation, {"_id": self.id, **fields, "messages": messages})

    @classmethod
    async def insert_with(
        cls, conversation: StoredConversation, messages: list[StoredMessage]
    ) -> bool:
        """`insertOne` with its first messages; False when there is one with this id."""
        try:
            await cls.of(conversation["owner"]).insert({**conversation, "messages": messages})
        except DuplicateKeyError:
            return False
        return True

    @classmethod
    async def exists(cls, owner: str, id_: str) -> bool:
        """Whether this owner has it."""
        return await cls.of(owner).find_one({"_id": id_}, {"_id": 1}) is not None

    @classmethod
    async def summaries(
        cls,
        owner: str,
        *,
        project_id: int | None = None,
        status: int | None = None,
        before: datetime | None = None,
        limit: int = 0,
        matching: Raw | None = None,
    ) -> list[StoredConversation]:
        """Return conversations without messages, newest activity first.

        `matching` is a further filter.
        """
        query: Raw = dict(matching or {})
        if project_id is not None:
            query["project_id"] = project_id
        if status is not None:
            query["status"] = status
        if before is not None:
            query["updated_at"] = {"$lt": before}
        return await cls.of(owner).find(
            query, SUMMARY, sort=[("updated_at", DESCENDING)], limit=limit
        )

    @classmethod
    async def summary(cls, owner: str, id_: str) -> StoredConversation:
        """One conversation without its messages.

        Raises:
            ConversationNotFound: there is none for this owner.
        """
        raw = await cls.of(owner).find_one({"_id": id_}, SUMMARY)
        if raw is None:
            raise ConversationNotFound
        return raw

    @staticmethod
    def holding(low: int, high: int) -> Raw:
        """Return a filter for tails that may hold messages with `low <= id < high`.

        All ids of a tail are above `last_paged_id`, but that of the system message.
        """
        return {
            "messages.id": {"$gte": low, "$lt": high},
            "$or": [
                {"last_paged_id": {"$lt": high}},
                {"system_message_id": {"$gte": low, "$lt": high}},
            ],
        }

    @classmethod
    async def with_tail(cls, owner: str, id_: str) -> StoredConversation:
        """Return the conversation with its embedded messages: all that most turns need.

        Raises:
            ConversationNotFound: there is none for this owner.
        """
        raw = await cls.of(owner).find_one({"_id": id_})
        if raw is None:
            raise ConversationNotFound
        return cls.in_order(raw)

    @staticmethod
    def in_order(raw: StoredConversation) -> StoredConversation:
        """Return a loaded conversation with its tail in order, the system prompt first."""
        raw["messages"].sort(key=lambda m: (m["id"] != raw["system_message_id"], m["id"]))
        return raw

    @classmethod
    async def prompt_state(cls, owner: str, id_: str) -> StoredConversation:
        """`{"system_message_id", "changes"}`.

        Raises:
            ConversationNotFound: there is none for this owner.
        """
        raw = await cls.of(owner).find_one({"_id": id_}, {"system_message_id": 1, "changes": 1})
        if raw is None:
            raise ConversationNotFound
        return raw

    @classmethod
    async def change(cls, owner: str, id_: str, fields: Raw) -> None:
        """`$set` fields that are not the system prompt (see `change_conversation`).

        Raises:
            ConversationNotFound: there is none for this owner.
        """
        update = {"$set": {**fields, "updated_at": utc_now()}}
        if not await cls.of(owner).update_one({"_id": id_}, update):
            raise ConversationNotFound

    @classmethod
    async def put_prompt(cls, state: StoredConversation, fields: Raw, new_id: int) -> bool:
        """Give a first system prompt its message, or take the message of an emptied one away.

        False when the conversation has changed since its `prompt_state`: look again.
        """
        update: Raw = {"$set": {**fields, "updated_at": utc_now()}, "$inc": {"changes": 1}}
        if fields["system_prompt"]:
            message = Message(
                id=new_id, role="system", content=fields["system_prompt"], attempt=f"{new_id}:0"
            )
            update["$set"]["system_message_id"] = new_id
            update["$push"] = {"messages": message.raw()}
        else:
            update["$set"]["system_message_id"] = None
            update["$pull"] = {"messages": {"id": state["system_message_id"]}}
        result = await cls.collection().update_one(
            {"_id": state["_id"], "changes": state["changes"]}, update
        )
        return bool(result.matched_count)

    @classmethod
    async def remove(cls, owner: str, id_: str) -> None:
        """`deleteOne`; its pages, invisible from then on, follow.

        Raises:
            ConversationNotFound: there is none for this owner.
        """
        if not await cls.of(owner).delete_one({"_id": id_}):
            raise ConversationNotFound
        await MessagePage.collection().delete_many({"conversation_id": id_})

    # Messages

    @classmethod
    async def append(
        cls, owner: str, id_: str, messages: list[StoredMessage], *, appends: int | None = None
    ) -> bool:
        """Push messages with reserved ids onto the tail: one `$push`.

        False when nothing was stored: the conversation is gone, newer messages have already
        moved to a page (reserve higher ids), or anything came since the `appends` given.
        """
        query: Raw = {"_id": id_}
        if appends is None:
            query |= {"owner": owner, "last_paged_id": {"$lt": messages[0]["id"]}}
        else:
            query["appends"] = appends
        result = await cls.collection().update_one(
            query,
            {
                "$push": {"messages": {"$each": messages}},
                "$set": {"updated_at": messages[-1]["updated_at"]},
                "$inc": {"appends": 1},
            },
        )
        return bool(result.matched_count)

    @classmethod
    async def move_tail(cls, id_: str, *, max_messages: int, max_bytes: int) -> bool:
        """Move the older half of a tail that exceeds its bounds to a page; whether it did."""
        return await MessagePage.take_from(
            cls.collection(), id_, max_messages=max_messages, max_bytes=max_bytes
        )

    @classmethod
    async def touch(cls, owner: str, id_: str, *, paged_messages: int = 0) -> None:
        """Move `updated_at` after a change in one of its pages."""
        update: Raw = {"$set": {"updated_at": utc_now()}}
        if paged_messages:
            update["$inc"] = {"paged_messages": paged_messages}
        await cls.of(owner).update_one({"_id": id_}, update)

    @classmethod
    async def history(cls, owner: str, id_: str) -> AsyncIterator[list[StoredMessage]]:
        """All messages in order, a page at a time: memory holds one page and the tail.

        Raises:
            ConversationNotFound: there is none for this owner.
        """
        conversation = await cls.with_tail(owner, id_)
        tail, system_id = conversation["messages"], conversation["system_message_id"]
        if conversation["page_count"] and tail and tail[0]["id"] == system_id:
            yield [tail.pop(0)]
        async for page in MessagePage.forward(owner, id_, conversation["page_count"]):
            yield page
        yield tail

    @classmethod
    async def history_before(
        cls, owner: str, id_: str, *, before: int | None, limit: int
    ) -> list[StoredMessage]:
        """Return the last `limit` messages with an id below `before`, in order.

        Raises:
            ConversationNotFound: there is none for this owner.
        """
        conversation = await cls.with_tail(owner, id_)
        system_id = conversation["system_message_id"]
        if before is not None and before == system_id:
            return []
        tail = conversation["messages"]
        system = [m for m in tail if m["id"] == system_id]
        found = [m for m in tail if m["id"] != system_id and (before is None or m["id"] < before)]
        if before is not None and before > conversation["last_paged_id"]:
            before = None
        if len(found) < limit and conversation["page_count"]:
            async for page in MessagePage.backward(owner, id_, conversation["page_count"], before):
                found = page["messages"] + found
                if len(found) >= limit:
                    break
        if len(found) < limit:
            found = system + found
        return found[-limit:]

    @classmethod
    async def history_after(
        cls, owner: str, id_: str, *, after: int, limit: int
    ) -> list[StoredMessage]:
        """Return the first `limit` messages with an id above `after`, in order, no system prompt.

        Raises:
            ConversationNotFound: there is none for this owner.
        """
        conversation = await cls.with_tail(owner, id_)
        found: list[StoredMessage] = []
        pages = conversation["page_count"]
        if pages and after < conversation["last_paged_id"]:
            async for page in MessagePage.after(owner, id_, pages, after):
                found += page
                if len(found) >= limit:
                    return found[:limit]
        system_id = conversation["system_message_id"]
        found += [m for m in conversation["messages"] if m["id"] > after and m["id"] != system_id]
        return found[:limit]


def prompt_messages(raw: StoredConversation) -> list[StoredMessage]:
    """Return the tail's messages that a model may see: no half-written reply, nothing empty."""
    return [m for m in raw["messages"] if is_settled(m)]


def is_settled(message: StoredMessage) -> bool:
    """Whether the text of a message is final and worth sending to a model."""
    return message.get("status") != "streaming" and bool(
        message.get("content") or message.get("payload") or message.get("items")
    )
