"""A call as a turn of the engine: its messages, with the items that it refers to."""

from typing import Any

from proxy.dialects.responses.call import Call
from proxy.dialects.responses.ids import PREVIOUS, ItemId, no_item, no_response, read_item_id
from proxy.dialects.responses.input import InputMessage
from proxy.documents.base import Raw
from proxy.documents.chat_message import ChatMessage
from proxy.documents.conversation import is_settled
from proxy.documents.conversation_fork import messages_until
from proxy.documents.message import StoredMessage, packed, payload_of
from proxy.documents.message_location import MessageNotFound, find_messages
from proxy.documents.message_runs import calls_of, reasoning_of, runs_of
from proxy.schemas.completions import wrong
from proxy.turns.history import as_history, new_as_history
from proxy.turns.turn import NewTurn


async def resolved(owner: str, call: Call) -> list[ChatMessage]:
    """Return the messages of a call, those behind an `item_reference` copied into their place.

    What the conversation of the call holds already is left out: it is in its history.

    Raises:
        NotFound: a reference names nothing of this owner.
        BadRequest: no message is left.
    """
    given = call.input.messages
    wanted: dict[str, ItemId] = {}
    for message in given:
        if message.reference:
            id_ = read_item_id(message.reference)
            if id_ is None:
                raise no_item(message.reference, param="input")
            wanted[message.reference] = id_
    stored: dict[int, tuple[str, StoredMessage]] = {}
    if wanted:
        previous = [call.previous.message_id] if call.previous else []
        stored = await find_messages(owner, [*previous, *{i.message_id for i in wanted.values()}])
    history = call.conversation_id
    if call.previous and call.previous.message_id in stored:
        history = stored[call.previous.message_id][0]
    found: list[ChatMessage] = []
    parts: list[ItemId] = []

    def close() -> None:
        if parts:
            found.append(_copied(stored[parts[0].message_id][1], parts))
            parts.clear()

    for message in given:
        if not message.reference:
            close()
            found.append(chat_message(message))
            continue
        id_ = wanted[message.reference]
        if id_.message_id not in stored:
            raise no_item(message.reference, param="input")
        if history and stored[id_.message_id][0] == history:
            continue
        if parts and parts[0].message_id != id_.message_id:
            close()
        parts.append(id_)
    close()
    return found


def chat_message(message: InputMessage) -> ChatMessage:
    """Return a new message as it is stored."""
    kept: Raw = {}
    if message.names:
        kept["tool_names"] = packed(message.names)
    if message.encrypted:
        kept["encrypted_reasoning"] = message.encrypted
        kept["order"] = message.order
    if message.is_custom:
        kept["item_type"] = "custom_tool_call_output"
    return ChatMessage(message.role, message.content, message.payload, kept)


def _copied(message: StoredMessage, parts: list[ItemId]) -> ChatMessage:
    """Return the parts of a stored message that were referred to, as a message of its own."""
    payload = payload_of(message)
    if message["role"] != "assistant":
        return ChatMessage(message["role"], message["content"], payload)
    kinds: set[str] = {part.kind for part in parts}
    text = message["content"] if "msg" in kinds else ""
    calls = calls_of(message)
    numbers = sorted({part.part for part in parts if part.kind in ("fc", "ctc")})
    chosen = [calls[number] for number in numbers if number < len(calls)]
    reasoning = reasoning_of(message) if "rs" in kinds else ""
    kept = _native(message, kinds, chosen)
    if not chosen and not reasoning:
        return ChatMessage("assistant", text, None, kept)
    copy: dict[str, Any] = {"role": "assistant", "content": text or None}
    if chosen:
        copy["tool_calls"] = chosen
    if reasoning:
        copy["reasoning_content"] = reasoning
    if names := message.get("tool_names"):
        kept["tool_names"] = names
    return ChatMessage("assistant", text, copy, kept)


def _native(message: StoredMessage, kinds: set[str], calls: list[Raw]) -> Raw:
    """Return the fields of a copy that only the provider of the message knows."""
    kept: Raw = {}
    if "rs" in kinds and message.get("encrypted_reasoning"):
        kept["encrypted_reasoning"] = message["encrypted_reasoning"]
    if "hi" in kinds and message.get("items"):
        kept["items"] = message["items"]
    if kept:
        wanted = {"r": "rs" in kinds, "t": "msg" in kinds, "h": "hi" in kinds, "c": False}
        runs = [run for run in runs_of(message) if wanted[run.kind]]
        kept["order"] = [[run.kind, run.end - run.start] for run in runs]
        kept["order"] += [["c", len(calls)]] if calls else []
        kept["provider"] = message.get("provider") or ""
    return kept


def chat_messages(call: Call, messages: list[ChatMessage]) -> list[Raw]:
    """Return all that a model is shown of a call without a history."""
    head = [{"role": "system", "content": call.instructions}] if call.instructions else []
    return head + [new_as_history(message) for message in messages]


async def with_history(owner: str, call: Call, messages: list[ChatMessage]) -> list[Raw]:
    """Return all that a model is shown of a call that is not kept, with what came before it.

    Raises:
        NotFound: the previous response is none of this owner.
        Conflict: it is still being written.
    """
    shown = chat_messages(call, messages)
    if call.previous is None:
        return shown
    try:
        stored = await messages_until(owner, call.previous.message_id, call.previous.revision)
    except MessageNotFound:
        raise no_response(str(call.previous), param=PREVIOUS) from None
    history = [as_history(message) for message in stored if is_settled(message)]
    heads = [each.pop(0) for each in (history, shown) if each and each[0]["role"] == "system"]
    text = "\n\n".join(head["content"] for head in heads)
    return [*([{"role": "system", "content": text}] if text else []), *history, *shown]


def new_turn(
    call: Call, messages: list[ChatMessage], *, idempotency_key: str | None, fingerprint: str
) -> NewTurn:
    """Return the turn that a call asks for.

    Raises:
        BadRequest: it brings no message.
    """
    if not messages:
        raise wrong("input", "must bring a message that the conversation does not hold yet")
    return NewTurn(
        messages=tuple(messages),
        model=call.model,
        parameters=call.parameters(),
        responses=call.native_parameters(),
        system_prompt_append=call.instructions,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
        previous=(call.previous.message_id, call.previous.revision) if call.previous else None,
        truncates=call.truncates,
        stores_all=True,
        reply_fields={"tool_names": packed(call.tools.names)} if call.tools.names else {},
    )
