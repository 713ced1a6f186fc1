"""Calls that come again: by an idempotency key, or by an SDK itself after its time-out."""

from collections.abc import Sequence
from datetime import timedelta

from proxy.caller import current_caller
from proxy.documents.base import utc_now
from proxy.documents.conversation import StoredConversation
from proxy.documents.message import StoredMessage
from proxy.documents.message_page import MessagePage
from proxy.streaming.reply import KeyReused
from proxy.turns.turn import NewTurn

RETRIED_WITHIN = timedelta(minutes=15)
"""How long after a turn began an SDK's own repetition of its call is taken for one."""


async def reply_of_key(conversation: StoredConversation, turn: NewTurn) -> StoredMessage | None:
    """Return the reply that this idempotency key began in this conversation.

    Raises:
        KeyReused: with another body.
    """
    found: StoredMessage | None = _with_key(conversation["messages"], turn.idempotency_key)
    if found is None and conversation["page_count"]:
        page = await MessagePage.collection().find_one(
            {
                "conversation_id": conversation["_id"],
                "messages.idempotency.key": turn.idempotency_key,
            },
            {"messages": 1},
        )
        found = _with_key(page["messages"] if page else [], turn.idempotency_key)
    if found is not None and found["idempotency"]["body"] != turn.fingerprint:
        raise KeyReused
    return found


def reply_of_retry(conversation: StoredConversation, turn: NewTurn) -> StoredMessage | None:
    """Return the reply that an SDK asks for again by itself, after its time-out."""
    caller = current_caller.get()
    key_id = caller.key_id if caller is not None else ""
    oldest = utc_now() - RETRIED_WITHIN
    message: StoredMessage
    for message in reversed(conversation["messages"]):
        if message.get("started_at") is None:
            continue
        if message["started_at"] < oldest:
            break
        if (message.get("idempotency") or {}).get("body") != turn.fingerprint:
            continue
        if "key" in message["idempotency"] or (message.get("key_id") or "") != (key_id or ""):
            continue
        return message
    return None


def has_come_to_nothing(message: StoredMessage) -> bool:
    """Whether a reply failed before its first word: a repetition tries it again."""
    failed = message.get("status") in ("failed", "interrupted", "stopped")
    return failed and not message.get("content")


def _with_key(messages: Sequence[StoredMessage], key: str | None) -> StoredMessage | None:
    return next((m for m in messages if m.get("idempotency", {}).get("key") == key), None)
