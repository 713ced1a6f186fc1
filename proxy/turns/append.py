"""New messages put behind a conversation's last one, without asking a model."""

import asyncio
from collections.abc import Sequence

from pymongo.errors import PyMongoError

from proxy.documents.base import is_too_large
from proxy.documents.chat_message import ChatMessage
from proxy.documents.conversation import Conversation, StoredConversation
from proxy.documents.counter import Counter
from proxy.documents.message import FIXED_BYTES, StoredMessage, size_bytes
from proxy.errors import TooLarge, Unavailable
from proxy.settings import Settings
from proxy.turns.turn import message_of

APPEND_ATTEMPTS = 32
"""How often ids are reserved anew when newer messages moved to a page meanwhile."""


def check_size(new: Sequence[ChatMessage], settings: Settings) -> None:
    """Check what one call brings.

    Raises:
        TooLarge: it exceeds `message_bytes`.
    """
    size = sum(size_bytes(message_of(0, message)) for message in new)
    if size > settings.message_bytes + FIXED_BYTES * max(1, len(new)):
        raise TooLarge(
            f"The message is larger than {settings.message_bytes} bytes; "
            "split it into several messages"
        )


def check_length(conversation: StoredConversation, settings: Settings) -> None:
    """Check that a conversation may grow.

    Raises:
        TooLarge: it has `conversation_messages` already.
    """
    limit = settings.conversation_messages
    if conversation["paged_messages"] + len(conversation["messages"]) >= limit:
        raise TooLarge(
            f"The conversation has {limit} messages, as many as it may; begin a new one",
            code="conversation_full",
        )


async def append_messages(
    owner: str, conversation_id: str, new: Sequence[ChatMessage], settings: Settings
) -> list[StoredMessage]:
    """Append messages to a conversation; as they are stored.

    Raises:
        ConversationNotFound: there is none for this owner.
        TooLarge: they exceed `message_bytes`, or the conversation `conversation_messages`.
    """
    check_size(new, settings)
    for _ in range(APPEND_ATTEMPTS):
        conversation, first_id = await asyncio.gather(
            Conversation.with_tail(owner, conversation_id),
            Counter.reserve("messages", len(new)),
        )
        check_length(conversation, settings)
        messages = [message_of(id_, message) for id_, message in enumerate(new, first_id)]
        try:
            stored = await Conversation.append(owner, conversation_id, messages)
        except PyMongoError as error:
            if not is_too_large(error):
                raise
            stored = False
        if stored:
            grown = len(conversation["messages"]) + len(messages)
            size = sum(map(size_bytes, conversation["messages"])) + sum(map(size_bytes, messages))
            if grown > settings.tail_messages or size > settings.tail_bytes:
                await move_tail(conversation_id, settings)
            return messages
        await move_tail(conversation_id, settings)
    raise Unavailable("This conversation is very busy; try again", retry_after_seconds=1)


async def move_tail(conversation_id: str, settings: Settings) -> None:
    """Move the older half of a tail that is too large to a page."""
    await Conversation.move_tail(
        conversation_id, max_messages=settings.tail_messages, max_bytes=settings.tail_bytes
    )
