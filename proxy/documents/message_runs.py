"""How the parts of a stored reply lie: reasoning, text, calls, what a provider's tools made."""

from typing import Any, Literal, NamedTuple

import orjson

from proxy.documents.base import Raw
from proxy.documents.message import MessageFields, payload_of

RunKind = Literal["r", "t", "c", "h"]


class Run(NamedTuple):
    """A stretch of one kind in a reply: reasoning, text (characters), calls or hosted items."""

    kind: RunKind
    start: int
    end: int


def reasoning_of(message: MessageFields) -> str:
    """Return the reasoning of a message, the model's own or one that a client sent back."""
    payload = payload_of(message) or {}
    found = message.get("reasoning") or payload.get("reasoning_content")
    return found if isinstance(found, str) else ""


def encrypted_of(message: MessageFields, number: int) -> str:
    """Return what a provider gave for a stretch of reasoning: `<provider>:<content>`, or none."""
    found = message.get("encrypted_reasoning") or ()
    return str(found[number]) if number < len(found) else ""


def calls_of(message: MessageFields) -> list[Raw]:
    """Return the tool calls of a message, in the shape of chat completions."""
    calls = (payload_of(message) or {}).get("tool_calls")
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def text_of(message: MessageFields) -> str:
    """Return the text of a reply."""
    content = message.get("content")
    return content if isinstance(content, str) else ""


def runs_of(message: MessageFields) -> list[Run]:
    """Return the stretches of a reply in their order: reasoning, text, calls where none is kept.

    `order` (`[["r", 120], ["t", 40], ["r", 30]]`) is kept of a reply that went back; a stretch
    of reasoning that a provider encrypted may have no character.
    """
    sizes: dict[str, int] = {
        "r": len(reasoning_of(message)),
        "h": len(message.get("items") or ()),
        "t": len(text_of(message)),
        "c": len(calls_of(message)),
    }
    ordered = _ordered(message.get("order"), sizes)
    if ordered is not None:
        return ordered
    return [Run(kind, 0, size) for kind, size in sizes.items() if size]  # type: ignore[arg-type]


def _ordered(order: Any, sizes: dict[str, int]) -> list[Run] | None:
    """Return the stretches of a kept order; None where an edit changed what it counted."""
    if not isinstance(order, list):
        return None
    begun = dict.fromkeys(sizes, 0)
    runs = []
    for run in order:
        kind: Any
        kind, count = run if isinstance(run, list) and len(run) == 2 else ("", 0)
        if kind not in begun or not isinstance(count, int):
            return None
        runs.append(Run(kind, begun[kind], begun[kind] + count))
        begun[kind] += count
    return runs if begun == sizes else None


def native_output(message: MessageFields) -> list[Raw] | None:
    """Return a reply as items for the provider that made it; None where it is text and calls.

    Calls are named alone (`{"type": "calls", "ids": […]}`): they are in the message.
    """
    if not (message.get("items") or message.get("encrypted_reasoning")):
        return None
    output: list[Raw] = []
    reasonings = 0
    for run in runs_of(message):
        if run.kind == "r":
            text = reasoning_of(message)[run.start : run.end]
            output.append(
                {
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": text}] if text else [],
                    "encrypted_content": encrypted_of(message, reasonings),
                }
            )
            reasonings += 1
        elif run.kind == "t":
            output.append({"type": "text", "text": text_of(message)[run.start : run.end]})
        elif run.kind == "c":
            ids = [call.get("id") for call in calls_of(message)[run.start : run.end]]
            output.append({"type": "calls", "ids": ids})
        else:
            output += [orjson.loads(item) for item in message["items"][run.start : run.end]]
    return output
