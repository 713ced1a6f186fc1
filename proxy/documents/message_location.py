"""A message by its id alone: found in a tail or a page, edited, written again.

A message only ever moves from the tail to a page, also while its text is being written, so
whoever looks in the tails first and in the pages second cannot miss it. Each write names one
element by its `attempt` (`"<id>:<revision>"`): a write that was decided on an older content
matches nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from proxy.documents.base import Raw, utc_now
from proxy.documents.chat_message import with_text
from proxy.documents.conversation import Conversation, ConversationNotFound
from proxy.documents.message import (
    INTERNAL,
    StoredMessage,
    attempt_name,
    id_of_attempt,
    packed,
    payload_of,
)
from proxy.documents.message_page import MESSAGE_OF_OWNER, MessagePage, StoredPage
from proxy.documents.message_revision import MessageRevision
from proxy.documents.response import StoredResponse
from proxy.documents.worker import Worker
from proxy.errors import Conflict, NotFound


class MessageNotFound(NotFound):
    """No such message for this caller."""

    message = "Message not found"


@dataclass(frozen=True, slots=True)
class MessageLocation:
    """Where a message lies: in the document of a conversation, or of one of its pages."""

    owner: str
    conversation_id: str
    document_id: str

    @property
    def in_page(self) -> bool:
        """Whether it left the tail; it never comes back."""
        return self.document_id != self.conversation_id

    async def write(
        self,
        attempt: str,
        fields: Raw,
        *,
        unset: tuple[str, ...] = (),
        conversation_fields: Raw | None = None,
        touch: bool = True,
    ) -> bool:
        """`$set` and `$unset` on the element that holds `attempt`; whether there is one.

        Moves the conversation's `updated_at`, in the same update where both are one document.
        """
        now = utc_now()
        here: Raw = {"_id": self.document_id, "messages.attempt": attempt}
        set_: Raw = {f"messages.$.{key}": value for key, value in fields.items()}
        update: Raw = {"$set": set_}
        if unset:
            update["$unset"] = {f"messages.$.{key}": 1 for key in unset}
        if self.in_page:
            written = await MessagePage.collection().update_one(here, update)
            if written.matched_count and touch:
                await Conversation.touch(self.owner, self.conversation_id)
            return bool(written.matched_count)
        if touch:
            set_["updated_at"] = now
        set_.update(conversation_fields or {})
        # What no move has begun to copy makes none copy again: else turns that are faster
        # than a move would let none of them end, and the tail would grow until it is full.
        newer = {"last_paged_id": {"$lt": id_of_attempt(attempt)}}
        tails = Conversation.collection()
        written = await tails.update_one({**here, **newer}, update)
        if not written.matched_count:
            written = await tails.update_one(here, {**update, "$inc": {"changes": 1}})
        return bool(written.matched_count)


@dataclass(frozen=True, slots=True)
class LocatedMessage:
    """A message with its place; `is_system_prompt` when it mirrors its conversation's prompt."""

    location: MessageLocation
    message: StoredMessage
    is_system_prompt: bool = False

    @classmethod
    async def find(cls, owner: str, message_id: int) -> "LocatedMessage":
        """Find a message by its id: one index look-up in the tails, else one in the pages.

        Raises:
            MessageNotFound: there is none for this owner.
        """
        element = {"messages": {"$elemMatch": {"id": message_id}}}
        tail = await Conversation.of(owner).find_one(
            {"messages.id": message_id},
            {**element, "system_message_id": 1},
            hint=MESSAGE_OF_OWNER,
        )
        if tail is not None:
            location = MessageLocation(owner, tail["_id"], tail["_id"])
            return cls(location, tail["messages"][0], tail.get("system_message_id") == message_id)
        page = await MessagePage.of(owner).find_one(
            {"messages.id": message_id},
            {**element, "conversation_id": 1, "number": 1},
            hint=MESSAGE_OF_OWNER,
        )
        if page is None or not await is_counted(owner, page):
            raise MessageNotFound
        return cls(
            MessageLocation(owner, page["conversation_id"], page["_id"]), page["messages"][0]
        )

    async def _keep_revision(self, now: datetime) -> None:
        number = self.message.get("revision", 0)
        former = {key: value for key, value in self.message.items() if key not in INTERNAL}
        await MessageRevision.collection().update_one(
            {"_id": attempt_name(self.message["id"], number)},
            {
                "$setOnInsert": {
                    "owner": self.location.owner,
                    "message_id": self.message["id"],
                    "conversation_id": self.location.conversation_id,
                    "number": number,
                    "replaced_at": now,
                    "message": former,
                }
            },
            upsert=True,
        )

    async def replace(
        self, fields: Raw, unset: tuple[str, ...] = (), conversation_fields: Raw | None = None
    ) -> str | None:
        """Keep the present content as a revision and write a new one; the new attempt's name.

        `conversation_fields` change with a message of the tail, in the same update. None when
        somebody else changed the message meanwhile: find it again.
        """
        now = utc_now()
        await self._keep_revision(now)
        id_, revision = self.message["id"], self.message.get("revision", 0)
        attempt = attempt_name(id_, revision + 1)
        written = await self.location.write(
            attempt_name(id_, revision),
            {**fields, "revision": revision + 1, "attempt": attempt, "updated_at": now},
            unset=unset,
            conversation_fields={
                **(conversation_fields or {}),
                **({"system_prompt": fields["content"]} if self.is_system_prompt else {}),
            },
        )
        if not written:
            await self._forget_if_gone()
            return None
        return attempt

    async def _forget_if_gone(self) -> None:
        """Whoever deleted the message may have looked for revisions before one was kept."""
        id_ = self.message["id"]
        try:
            await LocatedMessage.find(self.location.owner, id_)
        except MessageNotFound:
            await MessageRevision.collection().delete_many({"message_id": id_})


async def is_counted(owner: str, page: StoredPage) -> bool:
    """Whether a page is part of its conversation (and not the leftover of a broken move)."""
    conversation = await Conversation.of(owner).find_one(
        {"_id": page["conversation_id"]}, {"page_count": 1}
    )
    return conversation is not None and conversation["page_count"] > page["number"]


async def find_messages(
    owner: str, message_ids: Sequence[int]
) -> dict[int, tuple[str, StoredMessage]]:
    """Find messages by their ids: each with the id of its conversation; unknown ones are left out.

    Two look-ups for any number, one more for what has left the tails.
    """
    wanted = set(message_ids)
    asked = {"messages.id": {"$in": sorted(wanted)}}
    found: dict[int, tuple[str, StoredMessage]] = {}
    for tail in await Conversation.of(owner).find(asked, {"messages": 1}, hint=MESSAGE_OF_OWNER):
        for message in tail["messages"]:
            if message["id"] in wanted:
                found[message["id"]] = (tail["_id"], message)
    if found.keys() == wanted:
        return found
    fields = {"messages": 1, "conversation_id": 1, "number": 1}
    for page in await MessagePage.of(owner).find(asked, fields, hint=MESSAGE_OF_OWNER):
        if await is_counted(owner, page):
            for message in page["messages"]:
                if message["id"] in wanted:
                    found.setdefault(message["id"], (page["conversation_id"], message))
    return found


async def edit_message(
    owner: str, message_id: int, content: str, created_at: datetime | None = None
) -> None:
    """Replace a message's text; the former one becomes a revision.

    Raises:
        MessageNotFound: there is none for this owner.
        Conflict: it is a reply that is still being written.
    """
    fields: Raw = {"content": content}
    unset: tuple[str, ...]
    if created_at is not None:
        fields["created_at"] = created_at
    while True:
        located = await LocatedMessage.find(owner, message_id)
        if located.message.get("status") == "streaming":
            raise Conflict("This reply is still being written; stop it before editing it")
        changed, unset = fields, ("payload", "logprobs")
        if (payload := payload_of(located.message)) is not None:
            # Pictures and calls stay; a person edits the text.
            changed, unset = (
                {**fields, "payload": packed(with_text(payload, content))},
                ("logprobs",),
            )
        if await located.replace(changed, unset=unset):
            return


async def change_conversation(owner: str, id_: str, fields: Raw, new_id: int = 0) -> None:
    """`$set` fields of a conversation; the system prompt changes its message with it.

    The former prompt becomes a revision of the message. `new_id` is a reserved id, used when
    a first system prompt is set.

    Raises:
        ConversationNotFound: there is none for this owner.
    """
    prompt = fields.get("system_prompt")
    if prompt is None:
        await Conversation.change(owner, id_, fields)
        return
    while True:
        state = await Conversation.prompt_state(owner, id_)
        present = state.get("system_message_id")
        if present is None and not prompt:
            await Conversation.change(owner, id_, fields)
            return
        if present is None or not prompt:
            if await Conversation.put_prompt(state, fields, new_id):
                await MessageRevision.collection().delete_many({"message_id": present})
                return
            continue
        try:
            located = await LocatedMessage.find(owner, present)
        except MessageNotFound:
            continue
        if located.message["content"] == prompt:
            others = {key: value for key, value in fields.items() if key != "system_prompt"}
            await Conversation.change(owner, id_, others)
            return
        if await located.replace({"content": prompt}, conversation_fields=fields):
            return


async def remove_conversation(owner: str, id_: str, *, worker: str) -> None:
    """Delete a conversation with its pages and revisions.

    What a crash leaves of it is noted under the worker's name, as that of an import is.

    Raises:
        ConversationNotFound: there is none for this owner.
    """
    await Worker.begin_import(worker, id_)
    try:
        await Conversation.remove(owner, id_)
        await MessageRevision.collection().delete_many({"conversation_id": id_})
        await StoredResponse.forget_conversation(id_)
    except ConversationNotFound:
        await Worker.end_import(worker, id_)
        raise
    await Worker.end_import(worker, id_)
