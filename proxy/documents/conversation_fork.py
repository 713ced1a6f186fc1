"""A copy of a conversation up to one of its messages: where a history goes on another way."""

from proxy.documents.base import utc_now
from proxy.documents.conversation import Conversation, StoredConversation
from proxy.documents.conversation_import import (
    ImportedConversation,
    ImportedMessage,
    store_imported,
)
from proxy.documents.counter import Counter
from proxy.documents.message import INTERNAL, StoredMessage, attempt_name
from proxy.documents.message_location import LocatedMessage, MessageNotFound
from proxy.documents.message_page import MESSAGE_OF_OWNER
from proxy.documents.message_revision import MessageRevision
from proxy.errors import Conflict

COPIED = ("project_id", "name", "model", "assistance_role", "system_prompt", "metadata")
"""What a fork takes over of its conversation besides messages."""

_OWN = INTERNAL | {"id", "revision", "reply_to"}


async def conversation_of_message(owner: str, message_id: int) -> StoredConversation:
    """Load the conversation that holds a message, with its tail: one look-up for a newest one.

    Raises:
        MessageNotFound: there is none for this owner.
    """
    found = await Conversation.of(owner).find_one(
        {"messages.id": message_id}, hint=MESSAGE_OF_OWNER
    )
    if found is None:
        located = await LocatedMessage.find(owner, message_id)
        return await Conversation.with_tail(owner, located.location.conversation_id)
    return Conversation.in_order(found)


def is_newest(conversation: StoredConversation, message_id: int, revision: int) -> bool:
    """Whether this writing of a reply is the newest message of its conversation.

    Raises:
        Conflict: it is still being written.
    """
    if not conversation["messages"]:
        return False
    newest = conversation["messages"][-1]
    if newest["id"] != message_id or newest.get("revision", 0) != revision:
        return False
    if newest.get("status") == "streaming":
        raise Conflict("The previous response is still being written; wait for its end")
    return True


async def writing_of(
    owner: str, message_id: int, revision: int | None = None
) -> tuple[LocatedMessage, StoredMessage]:
    """Find a message, in one of its writings.

    Raises:
        MessageNotFound: there is none for this owner.
        Conflict: it is still being written.
    """
    located = await LocatedMessage.find(owner, message_id)
    last = located.message
    if revision is not None and revision != last.get("revision", 0):
        former = await MessageRevision.of(owner).find_one(
            {"_id": attempt_name(message_id, revision)}
        )
        if former is None or revision > last.get("revision", 0):
            raise MessageNotFound
        last = former["message"]
    elif last.get("status") == "streaming":
        raise Conflict("This reply is still being written; wait for its end or stop it")
    return located, last


async def messages_until(
    owner: str, message_id: int, revision: int | None = None
) -> list[StoredMessage]:
    """Return the messages of a conversation up to one in this writing, its prompt first.

    Raises:
        MessageNotFound: there is none for this owner.
        Conflict: it is still being written.
    """
    located, last = await writing_of(owner, message_id, revision)
    id_ = located.location.conversation_id
    system_id = (await Conversation.prompt_state(owner, id_))["system_message_id"]
    found: list[StoredMessage] = []
    async for part in Conversation.history(owner, id_):
        found += [m for m in part if m["id"] < message_id or m["id"] == system_id]
    return [*found, last]


async def fork_conversation(
    owner: str,
    message_id: int,
    revision: int | None = None,
    *,
    worker: str,
    tail_messages: int,
    tail_bytes: int,
) -> str:
    """Copy all messages up to this one, in this writing, into a new conversation; its id.

    Raises:
        MessageNotFound: there is none for this owner.
        Conflict: it is still being written.
    """
    located, last = await writing_of(owner, message_id, revision)
    source_id = located.location.conversation_id
    messages: list[ImportedMessage] = []
    positions: dict[int, int] = {}
    about = await Conversation.with_tail(owner, source_id)
    async for part in Conversation.history(owner, source_id):
        for message in part:
            is_prompt = message["id"] == about["system_message_id"]
            if message["id"] > message_id and not is_prompt:
                continue
            copied = last if message["id"] == message_id else message
            if copied.get("status") == "streaming":
                continue
            positions[message["id"]] = len(messages)
            messages.append(
                ImportedMessage(
                    {key: value for key, value in copied.items() if key not in _OWN},
                    reply_to=positions.get(copied.get("reply_to", 0)),
                )
            )
    now = utc_now()
    references = about.get("document_references") or []
    if references:
        first = await Counter.reserve("document_references", len(references))
        references = [{**each, "id": id_} for id_, each in enumerate(references, first)]
    fields = {
        **{key: value for key, value in about.items() if key in COPIED},
        "status": 0,
        "created_at": now,
        "updated_at": now,
        "forked_from": {"conversation_id": source_id, "message_id": message_id},
        **({"document_references": references} if references else {}),
    }
    return await store_imported(
        owner,
        ImportedConversation(fields, messages),
        worker=worker,
        tail_messages=tail_messages,
        tail_bytes=tail_bytes,
    )
