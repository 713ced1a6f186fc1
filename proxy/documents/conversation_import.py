"""A whole conversation from a file, stored at once: all of it becomes visible, or nothing."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast
from uuid import uuid4

from proxy.documents.base import Raw
from proxy.documents.conversation import Conversation, StoredConversation
from proxy.documents.counter import Counter
from proxy.documents.message import Message, StoredMessage, attempt_name, size_bytes
from proxy.documents.message_page import PAGE_BYTES, MessagePage, StoredPage, page_id
from proxy.documents.message_revision import MessageRevision, StoredRevision
from proxy.documents.response import StoredResponse
from proxy.documents.worker import Worker
from proxy.errors import Unavailable


@dataclass
class ImportedMessage:
    """A message without an id; `fields` are those of `Message`.

    `reply_to` is the position of the message that it answers. `revisions` are its former
    contents, oldest first, each with the time it was replaced.
    """

    fields: Raw
    reply_to: int | None = None
    revisions: list[tuple[datetime, Raw]] = field(default_factory=list)


@dataclass
class ImportedConversation:
    """A conversation without ids; its system prompt is its first message, if it has one."""

    fields: Raw
    messages: list[ImportedMessage]


async def store_imported(
    owner: str,
    imported: ImportedConversation,
    *,
    worker: str,
    tail_messages: int,
    tail_bytes: int,
) -> str:
    """Store it under new ids and return the conversation's.

    Revisions and pages come first: nobody sees them before the one insert of the
    conversation itself, so that a crash at any instant leaves nothing half there. What it
    leaves unseen is noted under the worker's name, and goes when the worker is found dead.

    Raises:
        Unavailable: the worker was taken for dead while it stored this.
    """
    id_ = str(uuid4())
    first_id = await Counter.reserve("messages", max(1, len(imported.messages)))
    # Thousands of messages take longer than the event loop may be held up.
    conversation, pages, revisions = await asyncio.to_thread(
        _laid_out, owner, id_, first_id, imported, tail_messages, tail_bytes
    )
    has_parts = bool(pages or revisions)
    try:
        if has_parts:
            await Worker.begin_import(worker, id_)
        for batch in (revisions[i : i + 100] for i in range(0, len(revisions), 100)):
            await MessageRevision.collection().insert_many(batch)
        for page in pages:
            await MessagePage.of(owner).insert(page)
        await Conversation.of(owner).insert(conversation)
        if has_parts and not await Worker.end_import(worker, id_):
            raise Unavailable
    except BaseException:
        # The conversation first: its insert may have come through although it failed.
        await Conversation.of(owner).delete_many({"_id": id_})
        await drop_parts(id_)
        await Worker.end_import(worker, id_)
        raise
    return id_


async def drop_parts(conversation_id: str) -> None:
    """Delete the pages and revisions of a conversation that is not there itself."""
    await MessagePage.collection().delete_many({"conversation_id": conversation_id})
    await MessageRevision.collection().delete_many({"conversation_id": conversation_id})
    await StoredResponse.forget_conversation(conversation_id)


async def drop_imports(worker: str) -> None:
    """Delete the parts of conversations that a dead worker did not store to the end."""
    for id_ in await Worker.mark_dead(worker):
        if await Conversation.collection().find_one({"_id": id_}, {"_id": 1}) is None:
            await drop_parts(id_)


def _laid_out(
    owner: str,
    id_: str,
    first_id: int,
    imported: ImportedConversation,
    tail_messages: int,
    tail_bytes: int,
) -> tuple[StoredConversation, list[StoredPage], list[StoredRevision]]:
    """Return the conversation, its pages and the revisions of its messages, as they are stored."""
    messages = [
        _message(first_id + position, message, first_id)
        for position, message in enumerate(imported.messages)
    ]
    system = messages[0] if imported.fields["system_prompt"] else None
    others = messages[1:] if system else messages
    start = _start_of_tail(others, tail_messages // 2, tail_bytes // 2)
    pages = _pages(owner, id_, others[:start], tail_messages)
    conversation = Conversation(
        **imported.fields,
        id=id_,
        owner=owner,
        system_message_id=system["id"] if system else None,
        page_count=len(pages),
        last_paged_id=pages[-1]["last_id"] if pages else 0,
        paged_messages=start,
    ).raw()
    conversation["messages"] = ([system] if system else []) + others[start:]
    return conversation, pages, _revisions(owner, id_, first_id, imported.messages)


def _message(id_: int, message: ImportedMessage, first_id: int) -> StoredMessage:
    raw = Message(id=id_, **message.fields).raw()
    raw["revision"] = len(message.revisions)
    raw["attempt"] = attempt_name(id_, raw["revision"])
    if message.reply_to is not None:
        raw["reply_to"] = first_id + message.reply_to
    return raw


def _start_of_tail(messages: list[StoredMessage], max_messages: int, max_bytes: int) -> int:
    start = len(messages)
    while start and max_messages > 0:
        max_bytes -= size_bytes(messages[start - 1])
        if max_bytes < 0:
            break
        start -= 1
        max_messages -= 1
    return start


def _pages(
    owner: str, id_: str, messages: list[StoredMessage], page_messages: int
) -> list[StoredPage]:
    pages: list[StoredPage] = []
    held: list[StoredMessage] = []
    size = 0

    def close() -> None:
        number = len(pages)
        pages.append(
            {
                "_id": page_id(id_, number),
                "owner": owner,
                "conversation_id": id_,
                "number": number,
                "first_id": held[0]["id"],
                "last_id": held[-1]["id"],
                "changes": 0,
                "preceding": pages[-1]["preceding"] + len(pages[-1]["messages"]) if pages else 0,
                "messages": list(held),
            }
        )
        held.clear()

    for message in messages:
        weight = size_bytes(message)
        if held and (len(held) >= page_messages or size + weight > PAGE_BYTES):
            close()
            size = 0
        held.append(message)
        size += weight
    if held:
        close()
    return pages


def _revisions(
    owner: str, id_: str, first_id: int, messages: list[ImportedMessage]
) -> list[StoredRevision]:
    return [
        {
            "_id": attempt_name(first_id + position, number),
            "owner": owner,
            "message_id": first_id + position,
            "conversation_id": id_,
            "number": number,
            "replaced_at": replaced_at,
            "message": cast(
                StoredMessage, {**former, "id": first_id + position, "revision": number}
            ),
        }
        for position, message in enumerate(messages)
        for number, (replaced_at, former) in enumerate(message.revisions)
    ]
