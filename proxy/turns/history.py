"""A history that the asked provider takes, made of messages as they are stored.

What is stored may be odd: a call whose result never came, a result without its call, arguments
that were cut, two questions in a row after a failed turn. What is sent never is.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from proxy.documents.chat_message import ChatMessage, calls_of, is_text_part, text_of
from proxy.documents.message import StoredMessage, payload_of
from proxy.documents.message_parts import address_of, is_link
from proxy.documents.message_runs import native_output
from proxy.providers.base import OUTPUT, Accepts

ChatMessages = list[dict[str, Any]]

WRITTEN_BY = "@written_by"
"""Names the provider that wrote a message of the assistant, until the history is composed."""

NO_RESULT = "The result of this call is not known."
FIRST_QUESTION = "(The conversation begins with your own message.)"

REASONING = frozenset({"reasoning_content", "reasoning", "thinking"})

NOT_SENT = frozenset({WRITTEN_BY, "annotations", "citations", "search_results", "refusal"})
"""What a model has no use for when it reads its own message again."""

KNOWN = frozenset({"role", "content", "name", "tool_calls"})
"""What every provider knows of a message of the assistant."""


KNOWN_PARTS = frozenset({"image_url", "input_audio", "file"})
"""Types of OpenAI's content parts besides text."""


def as_chat_message(message: StoredMessage) -> dict[str, Any]:
    """Return a stored message as OpenAI's protocol has it."""
    return payload_of(message) or {"role": message["role"], "content": message["content"]}


def as_history(message: StoredMessage) -> dict[str, Any]:
    """Return a stored message for `composed`: a reply with more than text names its provider."""
    payload = payload_of(message)
    output = native_output(message)
    if payload is None and output is None:
        return {"role": message["role"], "content": message["content"]}
    if payload is None:
        payload = {"content": message["content"]}
    if output is not None:
        payload[OUTPUT] = output
    if message["role"] == "assistant" and (provider := message.get("provider")):
        # The stored text may hold links to the parts, which only people can follow.
        return {**payload, "role": "assistant", WRITTEN_BY: provider}
    return {**payload, "role": message["role"]}


def new_as_history(message: ChatMessage) -> dict[str, Any]:
    """Return a new message likewise; what a client brings along of a provider's stays with it."""
    if message.kept.keys().isdisjoint({"encrypted_reasoning", "items"}):
        return message.as_chat_message()
    stored = {"role": message.role, "content": message.content, "payload": message.as_text()}
    return as_history(cast(StoredMessage, {**message.kept, **stored}))


def composed(messages: ChatMessages, accepts: Accepts, provider: str) -> ChatMessages:
    """Return messages that the provider takes: `{"role", "content", …}`, system prompt first."""
    before = accepts
    if not accepts.pictures_before:
        seen = KNOWN_PARTS if accepts.parts is None else accepts.parts
        before = replace(accepts, parts=seen - {"image_url"})
    newest = max((i for i, each in enumerate(messages) if each["role"] == "user"), default=-1)
    history = _paired(
        _for_provider(message, accepts if index >= newest else before, provider)
        for index, message in enumerate(messages)
    )
    return _alternating(history) if accepts.alternates else history


def _for_provider(message: dict[str, Any], accepts: Accepts, provider: str) -> dict[str, Any]:
    role = message["role"]
    if message.keys() == {"role", "content"} and isinstance(message["content"], str):
        if role == "developer" and not accepts.developer_role:
            return {**message, "role": "system"}
        return message
    if role == "assistant":
        return _reply_for(message, accepts, provider)
    content = message.get("content")
    if isinstance(content, list):
        content = _parts_for(content, accepts)
    elif not isinstance(content, str):
        content = text_of(content)
    if role == "developer" and not accepts.developer_role:
        role = "system"
    return {**message, "role": role, "content": content}


def _reply_for(message: dict[str, Any], accepts: Accepts, provider: str) -> dict[str, Any]:
    """Return a message of the assistant: what only its own provider knows goes to that one only."""
    written_by = message.get(WRITTEN_BY)
    is_own = written_by in (None, provider)
    calls = calls_of(message)
    keys = {
        key: value
        for key, value in message.items()
        if (is_own or key in KNOWN) and key not in NOT_SENT and not (key in REASONING and not calls)
    }
    keys.pop("tool_calls", None)
    if isinstance(audio := keys.get("audio"), dict):
        # It is named by its id, and only where it was made.
        keys.pop("audio")
        if isinstance(id_ := audio.get("id"), str) and id_:
            keys["audio"] = {"id": id_}
    content = message.get("content")
    if isinstance(content, list) and not (written_by is not None and is_own):
        content = text_of(_parts_for(content, Accepts(parts=frozenset())))
    elif not isinstance(content, str | list):
        content = text_of(content)
    images = message.get("images")
    if "images" not in keys and isinstance(images, list) and images:
        content = "\n\n".join(filter(None, [text_of(content), *map(_in_words, images)]))
    if calls:
        keys["tool_calls"] = calls if is_own else list(map(_known_of_call, calls))
        content = content or None
    return {**keys, "content": content}


def _known_of_call(call: dict[str, Any]) -> dict[str, Any]:
    kind, text = ("custom", "input") if call["type"] == "custom" else ("function", "arguments")
    said = {key: call[kind][key] for key in ("name", text)}
    return {"id": call["id"], "type": call["type"], kind: said}


def _parts_for(parts: list[Any], accepts: Accepts) -> list[Any]:
    """Parts that the model takes; the others are named in a line of text."""
    found: list[Any] = []
    for part in parts:
        if isinstance(part, str):
            found.append({"type": "text", "text": part})
        elif not isinstance(part, dict):
            continue
        elif is_text_part(part):
            if isinstance(part.get("text"), str) and part["text"]:
                found.append(part)
        elif _takes(part, accepts):
            found.append(part)
        else:
            found.append({"type": "text", "text": _in_words(part)})
    return found


def _takes(part: dict[str, Any], accepts: Accepts) -> bool:
    if accepts.parts is not None and part.get("type") not in accepts.parts:
        return False
    return accepts.data_urls or not address_of(part) or is_link(address_of(part))


def _in_words(part: Any) -> str:
    kind = str(part.get("type", "file")) if isinstance(part, dict) else "file"
    kind = kind.removesuffix("_url").removeprefix("input_")[:40]
    url = address_of(part) if isinstance(part, dict) else ""
    return f"[{kind}: {url}]" if is_link(url) else f"[{kind}: not shown to this model]"


def _paired(messages: Iterable[dict[str, Any]]) -> ChatMessages:
    """Put the results of calls right behind them: each has one, and there is none without."""
    rest = list(messages)
    taken: set[int] = set()
    history: ChatMessages = []
    for index, message in enumerate(rest):
        if message["role"] == "tool":
            continue
        calls = message.get("tool_calls") if message["role"] == "assistant" else None
        if not calls:
            if message["role"] != "assistant" or message.get("content") or _has_more(message):
                history.append(message)
            continue
        results = [_result_of(call, rest, index, taken) for call in calls]
        kept = [
            (_with_whole_arguments(call), result)
            for call, result in zip(calls, results, strict=True)
            if result is not None or _has_whole_arguments(call)
        ]
        if kept:
            history.append({**message, "tool_calls": [call for call, _ in kept]})
            history += [
                result or {"role": "tool", "tool_call_id": call["id"], "content": NO_RESULT}
                for call, result in kept
            ]
        elif message.get("content"):
            without = {key: value for key, value in message.items() if key not in REASONING}
            del without["tool_calls"]
            history.append(without)
    return history


def _has_more(message: dict[str, Any]) -> bool:
    return "images" in message or OUTPUT in message


def _result_of(
    call: dict[str, Any], messages: ChatMessages, index: int, taken: set[int]
) -> dict[str, Any] | None:
    """Return the first result of a call behind it that is no other call's."""
    for position in range(index + 1, len(messages)):
        message = messages[position]
        is_result = message["role"] == "tool" and message.get("tool_call_id") == call["id"]
        if is_result and position not in taken:
            taken.add(position)
            return message
        if any(each["id"] == call["id"] for each in message.get("tool_calls") or ()):
            # The id is used again: what follows is the result of that one.
            return None
    return None


def _has_whole_arguments(call: dict[str, Any]) -> bool:
    if call["type"] == "custom":
        return True
    try:
        return isinstance(json.loads(call["function"]["arguments"] or "{}"), dict)
    except (ValueError, RecursionError):
        return False


def _with_whole_arguments(call: dict[str, Any]) -> dict[str, Any]:
    """Return a call whose arguments are an object, as strict servers want it.

    Cut ones stay readable.
    """
    if call["type"] == "custom":
        return call
    text = call["function"]["arguments"]
    if _has_whole_arguments(call):
        return call if text else {**call, "function": {**call["function"], "arguments": "{}"}}
    wrapped = json.dumps({"arguments": text}, ensure_ascii=False)
    return {**call, "function": {**call["function"], "arguments": wrapped}}


def _alternating(messages: ChatMessages) -> ChatMessages:
    """Join neighbours of one role; the system prompt is first, a question is next."""
    history: ChatMessages = []
    for message in messages:
        if message["role"] == "system" and any(each["role"] != "system" for each in history):
            message = {**message, "role": "user"}  # noqa: PLW2901
        last = history[-1] if history else None
        if (
            last is not None
            and last["role"] == message["role"]
            and message["role"] != "tool"
            and "tool_calls" not in last
            and OUTPUT not in last
            and OUTPUT not in message
        ):
            history[-1] = _joined(last, message)
            continue
        if message["role"] == "assistant" and all(each["role"] == "system" for each in history):
            history.append({"role": "user", "content": FIRST_QUESTION})
        history.append(message)
    return history


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    one, two = first.get("content"), second.get("content")
    if isinstance(one, list) or isinstance(two, list):
        content: Any = [*_as_parts(one), *_as_parts(two)]
    else:
        # A continued reply is one text; two questions are two.
        separator = "" if first["role"] == "assistant" else "\n\n"
        content = separator.join(filter(None, (one, two)))
    return {**first, **second, "content": content}


def _as_parts(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []
