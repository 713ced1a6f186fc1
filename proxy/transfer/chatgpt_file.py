"""ChatGPT's data export, `conversations.json`: a list of conversations, each a tree of messages.

The branch that ends at `current_node` is what its user saw last; the others are left out.
The format is not documented by its maker; this reads what exports of 2023 to 2026 hold.
"""

import math
from datetime import UTC, datetime
from typing import Any, get_args

from proxy.documents.base import Raw, as_utc, utc_now
from proxy.documents.conversation_import import ImportedConversation, ImportedMessage
from proxy.documents.message import Role
from proxy.errors import Unprocessable

LABEL_CHARACTERS = 500


def is_chatgpt(item: Any) -> bool:
    """Whether an item looks like one of ChatGPT's conversations."""
    return isinstance(item, dict) and "mapping" in item


def read_chatgpt(item: dict[str, Any]) -> ImportedConversation:
    """Return a conversation out of ChatGPT's export.

    Raises:
        Unprocessable: one sentence that says what is wrong.
    """
    mapping = item["mapping"]
    if not isinstance(mapping, dict):
        raise Unprocessable("mapping: must be an object of nodes")
    created_at = _time(item.get("create_time")) or utc_now()
    messages: list[ImportedMessage] = []
    thoughts: list[str] = []
    question: int | None = None
    for node in _branch(mapping, item.get("current_node")):
        message = node.get("message")
        # Exports hold empty nodes and messages without a content; they cost only themselves.
        if not isinstance(message, dict):
            continue
        if found := _thoughts(message):
            thoughts.append(found)
            continue
        fields = _fields(message, created_at)
        if fields is None:
            continue
        if fields["role"] == "assistant":
            if thoughts:
                fields["reasoning"] = "\n\n".join(thoughts)
                thoughts = []
            messages.append(ImportedMessage(fields, reply_to=question))
        else:
            if fields["role"] == "user":
                question = len(messages)
            messages.append(ImportedMessage(fields))
    system = messages[0].fields if messages and messages[0].fields["role"] == "system" else None
    last_at = max((m.fields["created_at"] for m in messages), default=created_at)
    return ImportedConversation(
        {
            "name": _label(item.get("title")),
            "project_id": 0,
            "model": "",
            "assistance_role": "",
            "status": 1 if item.get("is_archived") is True else 0,
            "system_prompt": system["content"] if system else "",
            "created_at": created_at,
            "updated_at": _time(item.get("update_time")) or last_at,
        },
        messages,
    )


def _branch(mapping: dict[str, Any], current: Any) -> list[dict[str, Any]]:
    """Return the nodes from the root to `current_node`, or to the newest leaf."""
    if not isinstance(current, str) or current not in mapping:
        leaves = [key for key, node in mapping.items() if _is_leaf(node)]
        current = max(leaves, key=lambda key: _created(mapping[key]), default=None)
    branch: list[dict[str, Any]] = []
    seen: set[str] = set()
    while isinstance(current, str) and current in mapping:
        node = mapping[current]
        if not isinstance(node, dict):
            raise Unprocessable("mapping: a node must be an object")
        if current in seen:
            raise Unprocessable("mapping: a message must not answer itself")
        seen.add(current)
        branch.append(node)
        current = node.get("parent")
    return branch[::-1]


def _is_leaf(node: Any) -> bool:
    return isinstance(node, dict) and not node.get("children")


def _created(node: dict[str, Any]) -> float:
    message = node.get("message")
    time = message.get("create_time") if isinstance(message, dict) else None
    return float(time) if isinstance(time, int | float) else -math.inf


def _fields(message: dict[str, Any], default_time: datetime) -> Raw | None:
    """Return the message's fields; None for one that ChatGPT itself does not show."""
    metadata = message.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    content = message.get("content")
    content = content if isinstance(content, dict) else {}
    text = _text(content)
    if not text.strip() or metadata.get("is_visually_hidden_from_conversation") is True:
        return None
    author = message.get("author")
    role = author.get("role") if isinstance(author, dict) else None
    if role not in get_args(Role):
        raise Unprocessable("mapping: a message has no known author")
    if role == "tool" or (role == "assistant" and message.get("recipient") not in (None, "all")):
        # Without its call a tool's result cannot be sent to a model; as text it can.
        role = "assistant"
        if content.get("content_type") != "multimodal_text":
            text = _fenced(text, content.get("language"))
    created_at = _time(message.get("create_time")) or default_time
    fields: Raw = {
        "role": role,
        "content": text,
        "created_at": created_at,
        "updated_at": _time(message.get("update_time")) or created_at,
    }
    if message.get("status") == "in_progress":
        fields["status"] = "interrupted"
    if role == "assistant" and (model := _label(metadata.get("model_slug"))):
        fields["model"] = model
    return fields


def _text(content: dict[str, Any]) -> str:
    """Return what a content shows.

    Pictures and files, which the export holds elsewhere, by name.
    """
    parts = content.get("parts")
    if isinstance(parts, list):
        text = "\n\n".join(filter(None, map(_part, parts)))
    else:
        found = content.get("text", content.get("result", ""))
        text = found if isinstance(found, str) else ""
    return text.replace("\x00", "")


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return ""
    if isinstance(part.get("text"), str):
        return str(part["text"])
    kind = str(part.get("content_type", "file")).removesuffix("_asset_pointer")
    return f"[{kind}: {part.get('asset_pointer', '')}]"


def _thoughts(message: dict[str, Any]) -> str:
    content = message.get("content")
    thoughts = content.get("thoughts") if isinstance(content, dict) else None
    if not isinstance(thoughts, list):
        return ""
    texts = (each.get("content") for each in thoughts if isinstance(each, dict))
    return "\n\n".join(text for text in texts if isinstance(text, str)).replace("\x00", "")


def _fenced(text: str, language: Any) -> str:
    name = language if isinstance(language, str) and language.isalnum() else ""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{'' if name == 'unknown' else name}\n{text}\n{fence}"


def _label(value: Any) -> str:
    return value.replace("\x00", "")[:LABEL_CHARACTERS] if isinstance(value, str) else ""


def _time(value: Any) -> datetime | None:
    """Seconds since 1970; None where it is no time."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return as_utc(datetime.fromtimestamp(value, UTC))
    except (OverflowError, ValueError, OSError):
        return None
