"""Stored messages as items: a reply is its reasoning, its text and its tool calls, in order.

Source: https://platform.openai.com/docs/api-reference/responses/object.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from proxy.dialects.responses.ids import ItemId
from proxy.documents.base import Raw
from proxy.documents.logprobs import groups_of, left_out_of, tokens_between
from proxy.documents.message import MessageFields, payload_of
from proxy.documents.message_runs import Run, calls_of, encrypted_of, reasoning_of, runs_of, text_of

LOGPROBS = "message.output_text.logprobs"
"""What `include` names to get log probabilities."""

LEFT_OUT = "proxy:logprobs_left_out"
"""Of a text: of how many tokens its log probabilities were not kept, for their size."""

_STATUS = {"streaming": "in_progress", "complete": "completed"}


@dataclass(frozen=True, slots=True)
class ItemView:
    """How items are shown: `seal` makes `encrypted_content` where a client asked for it."""

    summary: bool = False
    """Whether reasoning is shown as its own summary, too."""
    seal: Callable[[Raw], str] | None = None
    logprobs: bool = False
    """Whether texts are shown with the log probabilities of their tokens."""


PLAIN = ItemView()


def names_of(message: MessageFields) -> dict[str, Raw]:
    """Return what the client calls the functions that are called."""
    names = message.get("tool_names")
    if isinstance(names, str):
        names = orjson.loads(names)
    return names if isinstance(names, dict) else {}


def has_said(message: MessageFields) -> bool:
    """Whether anything of a reply has arrived."""
    return any(map(message.get, ("content", "reasoning", "payload", "items")))


def items_of(message: MessageFields, view: ItemView = PLAIN) -> list[Raw]:
    """Return the items of any stored message, one for most."""
    if message["role"] == "assistant":
        return output_items(message, view)
    if message["role"] == "tool":
        return [_call_output(message)]
    return [
        {
            "id": str(ItemId("msg", message["id"])),
            "type": "message",
            "role": message["role"],
            "status": "completed",
            "content": _input_parts(message),
        }
    ]


def output_items(message: MessageFields, view: ItemView = PLAIN) -> list[Raw]:
    """Return the items of a reply, in their order."""
    runs = runs_of(message)
    status = message.get("status", "complete")
    if not runs and status == "complete":
        runs = [Run("t", 0, 0)]
    items: list[Raw] = []
    groups = groups_of(message) if view.logprobs else []
    left_out = left_out_of(message) if view.logprobs else 0
    numbers = {"r": 0, "t": 0}
    for position, run in enumerate(runs):
        # What was cut off is the last item alone.
        is_last = position == len(runs) - 1
        shown = _STATUS.get(status, "incomplete") if is_last else "completed"
        if run.kind == "r":
            text = reasoning_of(message)[run.start : run.end]
            items.append(reasoning_item(message, numbers["r"], text, view))
            numbers["r"] += 1
        elif run.kind == "t":
            text = text_of(message)[run.start : run.end]
            tokens = tokens_between(groups, run.start, run.end)
            items.append(text_item(message, numbers["t"], text, shown, tokens))
            if left_out and run.end == len(text_of(message)):
                items[-1]["content"][0][LEFT_OUT] = left_out
            numbers["t"] += 1
        elif run.kind == "h":
            items += [hosted_item(message, k) for k in range(run.start, run.end)]
        else:
            calls = calls_of(message)
            items += [call_item(message, k, calls[k], shown) for k in range(run.start, run.end)]
    return items


def reasoning_item(message: MessageFields, number: int, text: str, view: ItemView = PLAIN) -> Raw:
    """Return a stretch of reasoning as an item."""
    item: Raw = {
        "id": str(ItemId("rs", message["id"], number)),
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": text}] if view.summary and text else [],
        "content": [{"type": "reasoning_text", "text": text}] if text else [],
    }
    if view.seal is not None:
        sealed = {"reasoning": text}
        if encrypted := encrypted_of(message, number):
            sealed["encrypted"] = encrypted
        item["encrypted_content"] = view.seal(sealed)
    return item


def text_item(
    message: MessageFields, number: int, text: str, status: str, logprobs: list[Raw]
) -> Raw:
    """Return a stretch of a reply's text as an item; annotations stand at the first."""
    part = {
        "type": "output_text",
        "text": text,
        "annotations": annotations_of(message) if not number else [],
        "logprobs": logprobs,
    }
    return {
        "id": str(ItemId("msg", message["id"], number)),
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part],
    }


def annotations_of(message: MessageFields) -> list[Raw]:
    """Return what a model says of its sources, flat as Responses have it."""
    found = (payload_of(message) or {}).get("annotations")
    flat = []
    for annotation in found if isinstance(found, list) else ():
        if not isinstance(annotation, dict):
            continue
        nested = annotation.get(str(annotation.get("type")))
        inner = nested if isinstance(nested, dict) else annotation
        flat.append({"type": annotation.get("type"), **inner})
    return flat


def call_item(message: MessageFields, number: int, call: Raw, status: str) -> Raw:
    """Return a tool call as an item, under the name and in the kind that the client gave it."""
    name, arguments = call_of(call)
    known = names_of(message).get(name) or {}
    call_id = call.get("id") or f"call_{message['id']}_{number}"
    if known.get("kind") == "custom" or call.get("type") == "custom":
        return {
            "id": str(ItemId("ctc", message["id"], number)),
            "type": "custom_tool_call",
            "call_id": call_id,
            "name": known.get("name", name),
            "input": custom_input(call),
            "status": status,
        }
    item: Raw = {
        "id": str(ItemId("fc", message["id"], number)),
        "type": "function_call",
        "call_id": call_id,
        "name": known.get("name", name),
        "arguments": arguments,
        "status": status,
    }
    if known.get("namespace"):
        item["namespace"] = known["namespace"]
    return item


def hosted_item(message: MessageFields, number: int) -> Raw:
    """Return what a hosted tool of a native upstream made, under an id of ours."""
    text = message["items"][number]
    item: Raw = orjson.loads(text) if isinstance(text, str) else dict(text)
    item["id"] = str(ItemId("hi", message["id"], number))
    return item


def call_of(call: Raw) -> tuple[str, str]:
    """Return the name and the arguments of a tool call in chat's shape."""
    part = call.get(call.get("type") or "function")
    part = part if isinstance(part, dict) else {}
    arguments = part.get("arguments", part.get("input"))
    if not isinstance(arguments, str):
        arguments = orjson.dumps(arguments).decode() if arguments is not None else ""
    return str(part.get("name") or ""), arguments


def custom_input(call: Raw) -> str:
    """Return the text that a custom tool gets, out of the function call that stood for it."""
    _, arguments = call_of(call)
    if call.get("type") == "custom":
        return arguments
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    text = given.get("input") if isinstance(given, dict) else None
    return text if isinstance(text, str) else arguments


def _call_output(message: MessageFields) -> Raw:
    payload = payload_of(message) or {}
    is_custom = message.get("item_type") == "custom_tool_call_output"
    content = payload.get("content", message["content"])
    return {
        "id": str(ItemId("ctco" if is_custom else "fco", message["id"])),
        "type": "custom_tool_call_output" if is_custom else "function_call_output",
        "call_id": payload.get("tool_call_id") or "",
        "output": _parts(content) if isinstance(content, list) else content or "",
        "status": "completed",
    }


def _input_parts(message: MessageFields) -> list[Raw]:
    content = (payload_of(message) or {}).get("content")
    if isinstance(content, list):
        return _parts(content)
    return [
        {"type": "input_text", "text": content if isinstance(content, str) else text_of(message)}
    ]


def _parts(content: list[Any]) -> list[Raw]:
    return [_part(part) for part in content if isinstance(part, dict)]


def _part(part: Raw) -> Raw:
    """Return a part of a chat message as Responses write it; an unknown one as it is."""
    kind = part.get("type")
    if kind == "text":
        return {"type": "input_text", "text": part.get("text") or ""}
    if kind == "image_url":
        image = part.get("image_url")
        image = image if isinstance(image, dict) else {"url": image}
        return {
            "type": "input_image",
            "image_url": image.get("url"),
            "detail": image.get("detail") or "auto",
        }
    if kind == "file":
        file = part.get("file")
        return {"type": "input_file", **(file if isinstance(file, dict) else {})}
    return part
