"""The items of a conversation: listed in pages, brought in, taken out one by one."""

from collections.abc import AsyncIterator
from typing import Any

from proxy.dialects.responses.answer import page_of
from proxy.dialects.responses.ids import ItemId
from proxy.dialects.responses.input import Unseal, read_input
from proxy.dialects.responses.items import PLAIN, ItemView, items_of
from proxy.dialects.responses.turn import chat_message
from proxy.documents.base import Raw
from proxy.documents.chat_message import ChatMessage
from proxy.documents.conversation import Conversation
from proxy.documents.message import MessageFields, StoredMessage, packed, payload_of
from proxy.schemas.completions import wrong

MOST_ITEMS = 20
"""How many items one call may bring, as OpenAI has it."""


PARTS = frozenset({"payload", "reasoning", "order", "items", "encrypted_reasoning", "logprobs"})
"""Fields of a reply that a deleted item may take along."""


def new_messages(items: Any, unseal: Unseal) -> list[ChatMessage]:
    """Read the items that a call brings into a conversation.

    Raises:
        BadRequest: names what is wrong, or what cannot be kept.
    """
    if items is None:
        return []
    if not isinstance(items, list) or len(items) > MOST_ITEMS:
        raise wrong("items", f"must be a list of at most {MOST_ITEMS} items")
    found = read_input(items, unseal, "items")
    if found.ignored:
        raise wrong("items", f"items of the type {found.ignored[0]} cannot be kept here")
    if any(message.reference for message in found.messages):
        raise wrong("items", "an item_reference names an item that is there already")
    return [chat_message(message) for message in found.messages]


async def list_page(
    owner: str,
    conversation_id: str,
    *,
    after: ItemId | None,
    limit: int,
    newest_first: bool,
    view: ItemView = PLAIN,
) -> Raw:
    """Return a page of a conversation's items behind `after`.

    Raises:
        ConversationNotFound: there is none for this owner.
    """
    if newest_first:
        messages = _backward(owner, conversation_id, after, limit)
    else:
        messages = _forward(owner, conversation_id)
    items: list[Raw] = []
    passed = after is None
    async for message in messages:
        shown = items_of(message, view)
        if newest_first:
            shown.reverse()
        if after is not None and not passed:
            behind = _is_behind(message, after, newest_first=newest_first)
            passed = behind or message["id"] == after.message_id
            if not behind:
                ids = [item["id"] for item in shown]
                shown = shown[ids.index(str(after)) + 1 :] if str(after) in ids else []
        if passed:
            items += shown
        if len(items) > limit:
            break
    return page_of(items[:limit], len(items) > limit)


def _is_behind(message: StoredMessage, after: ItemId, *, newest_first: bool) -> bool:
    """Whether a message lies behind the cursor, whose own may have been deleted."""
    if newest_first:
        return message["id"] < after.message_id
    # A system prompt is the first, whatever its id.
    return message["role"] != "system" and message["id"] > after.message_id


async def _backward(
    owner: str, conversation_id: str, after: ItemId | None, limit: int
) -> AsyncIterator[StoredMessage]:
    """Give the newest messages first, from the one that the cursor names on."""
    before = after.message_id + 1 if after is not None else None
    found = await Conversation.history_before(
        owner, conversation_id, before=before, limit=limit + 2
    )
    for message in reversed(found):
        yield message


async def _forward(owner: str, conversation_id: str) -> AsyncIterator[StoredMessage]:
    async for part in Conversation.history(owner, conversation_id):
        for message in part:
            yield message


def without_item(message: MessageFields, item: ItemId) -> Raw | None:
    """Return the fields of a message that lost one of its items; None when nothing is left."""
    payload = payload_of(message) or {}
    calls = list(payload.get("tool_calls") or ())
    text, reasoning = message.get("content") or "", message.get("reasoning") or ""
    made = list(message.get("items") or ())
    if item.kind in ("fc", "ctc"):
        if item.part < len(calls):
            del calls[item.part]
    elif item.kind == "hi":
        if item.part < len(made):
            del made[item.part]
    elif item.kind == "rs":
        reasoning = ""
        payload.pop("reasoning_content", None)
    else:
        text = ""
    if not (text or calls or reasoning or made or payload.get("reasoning_content")):
        return None
    fields: Raw = {"content": text}
    if made:
        fields["items"] = made
    if reasoning:
        fields["reasoning"] = reasoning
    if text and (logprobs := message.get("logprobs")):
        fields["logprobs"] = logprobs
    rest = {key: each for key, each in payload.items() if key != "tool_calls"}
    if calls or rest.keys() - {"role", "content"}:
        more = {"tool_calls": calls} if calls else {}
        fields["payload"] = packed({**rest, "role": "assistant", "content": text or None, **more})
    return fields


def created_items(messages: list[StoredMessage]) -> Raw:
    """Return the items of messages that were just stored, as one list."""
    items = [item for message in messages for item in items_of(message)]
    return page_of(items, has_more=False)
