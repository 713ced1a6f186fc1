"""A client's thread of calls that it stores itself (`store: false`), kept as one conversation.

Codex sends its whole history with every call and names its thread in a header. The model is shown
what the client sent; the conversation gets what it does not hold yet, and the reply.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.dialects.responses.call import Call
from proxy.dialects.responses.turn import chat_messages, new_turn
from proxy.documents.base import Raw
from proxy.documents.chat_message import ChatMessage, calls_of
from proxy.documents.conversation import Conversation, ConversationNotFound
from proxy.documents.message import StoredMessage, payload_of
from proxy.turns.turn import NewTurn, conversation_id_of

THREAD_HEADERS = ("thread-id", "session-id", "session_id")
"""Where a client names its thread: agents below one session differ in the first alone."""

THREAD_CHARACTERS = 200


def thread_of(headers: Mapping[str, str]) -> str:
    """Return the name that a client gives to its thread; empty where it gives none."""
    found = next(filter(None, map(headers.get, THREAD_HEADERS)), "")
    return found if len(found) <= THREAD_CHARACTERS else ""


async def turn_in_thread(
    owner: str, thread: str, call: Call, messages: Sequence[ChatMessage]
) -> tuple[str, NewTurn]:
    """Return the conversation of a thread, empty where it is not there yet, and the turn in it."""
    conversation_id = conversation_id_of(owner, thread)
    stored: list[StoredMessage] = []
    try:
        async for part in Conversation.history(owner, conversation_id):
            stored += part
    except ConversationNotFound:
        conversation_id = ""
    new = not_kept_yet(messages, stored)
    turn = new_turn(call, list(messages), idempotency_key=None, fingerprint="")
    shown = chat_messages(call, list(messages))
    return conversation_id, turn.in_thread(thread, tuple(new), shown)


def not_kept_yet(sent: Sequence[ChatMessage], stored: Sequence[StoredMessage]) -> list[ChatMessage]:
    """Return what of a sent history is not stored: both are in order, either may lack parts.

    A client sums its history up when it grows too long: what it left out stays stored, and the
    summary is new.
    """
    positions: dict[Any, list[int]] = {}
    for position, message in enumerate(stored):
        said = (message["role"], message.get("content") or "", payload_of(message))
        positions.setdefault(_signature(*said), []).append(position)
    reached = 0
    new = []
    for each in sent:
        there = positions.get(_signature(each.role, each.content, each.payload), ())
        found = [position for position in there if position >= reached]
        if found:
            reached = found[0] + 1
        else:
            new.append(each)
    return new


def _signature(role: str, content: str, payload: Raw | None) -> Any:
    payload = payload or {}
    return (
        role,
        content.strip(),
        tuple(call["id"] for call in calls_of(payload)),
        payload.get("tool_call_id"),
    )
