"""A conversation written as a file: Markdown for a person, JSON with all, OpenAI's `messages`.

The JSON holds no ids of what is in it (a reply names its question by position; `forked_from` is
a note of where it came from) and keeps every time, so that a conversation that is exported,
imported and exported again gives the same bytes.
"""

import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Literal

from proxy.documents.base import Raw
from proxy.documents.chat_message import calls_of, said_in
from proxy.documents.conversation import StoredConversation, is_settled
from proxy.documents.message import StoredMessage, payload_of, wire
from proxy.documents.message_revision import MessageRevision
from proxy.responses import dumps
from proxy.turns.history import as_chat_message
from proxy.turns.prompt import joined

FORMAT = "poe-openai-proxy.conversation"
VERSION = 1

Format = Literal["markdown", "json", "openai"]

CONVERSATION_FIELDS = (
    "name",
    "project_id",
    "model",
    "assistance_role",
    "status",
    "system_prompt",
    "created_at",
    "updated_at",
)

OPTIONAL_FIELDS = ("metadata", "forked_from")
"""Fields of a conversation that most do not have."""

MESSAGE_FIELDS = (
    "role",
    "content",
    "payload",
    "created_at",
    "updated_at",
    "status",
    "finish_reason",
    "reasoning",
    "error",
    "model",
    "provider",
    "usage",
    "started_at",
    "first_token_ms",
    "duration_ms",
    "omitted_messages",
    "suggestions",
    "points",
    "points_certain",
    "attached_source",
    "order",
    "items",
    "encrypted_reasoning",
    "tool_names",
    "item_type",
    "logprobs",
)

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
"""A line that begins or ends a block of code; https://spec.commonmark.org/0.31.2/#fenced-code-blocks."""

HEADINGS = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}


async def as_json(
    owner: str, conversation: StoredConversation, parts: AsyncIterator[list[StoredMessage]]
) -> AsyncIterator[bytes]:
    """`{"format", "version", "conversation": {…}, "messages": [{…}, …]}`, a message a line."""
    stored: Mapping[str, Any] = conversation
    about = {key: stored[key] for key in CONVERSATION_FIELDS}
    about |= {key: stored[key] for key in OPTIONAL_FIELDS if stored.get(key)}
    yield b'{"format":%b,"version":%d,\n"conversation":%b,\n"messages":[' % (
        dumps(FORMAT),
        VERSION,
        dumps(about),
    )
    positions: dict[int, int] = {}
    separator = b"\n"
    async for messages in parts:
        former = await _revisions(owner, messages)
        lines = []
        for message in messages:
            positions[message["id"]] = len(positions)
            fields = _exported(message)
            answered = positions.get(message.get("reply_to", 0))
            if answered is not None:
                fields["reply_to"] = answered
            if message["id"] in former:
                fields["revisions"] = former[message["id"]]
            lines.append(separator + dumps(fields))
            separator = b",\n"
        yield b"".join(lines)
    yield b"\n]}\n"


async def _revisions(owner: str, messages: list[StoredMessage]) -> dict[int, list[Raw]]:
    changed = {m["id"]: m["revision"] for m in messages if m.get("revision")}
    found: dict[int, list[Raw]] = {}
    if changed:
        rows = MessageRevision.of(owner).iterate(
            {"message_id": {"$in": list(changed)}}, sort=[("message_id", 1), ("number", 1)]
        )
        async for row in rows:
            # One that is not below the message's revision belongs to a change that never was.
            if row["number"] < changed[row["message_id"]]:
                former = {**_exported(row["message"]), "replaced_at": row["replaced_at"]}
                found.setdefault(row["message_id"], []).append(former)
    return found


def _exported(message: StoredMessage) -> Raw:
    shown = {**wire(message), "logprobs": message.get("logprobs")}
    fields = {key: shown[key] for key in MESSAGE_FIELDS if shown.get(key) is not None}
    if fields.get("status") == "streaming":
        fields["status"] = "interrupted"
    return fields


async def as_openai(
    conversation: StoredConversation, parts: AsyncIterator[list[StoredMessage]]
) -> AsyncIterator[bytes]:
    """`{"model", "messages": [{"role", "content"}, …]}`, ready to send to any OpenAI client."""
    model = b'"model":%b,' % dumps(conversation["model"]) if conversation["model"] else b""
    yield b"{" + model + b'"messages":['
    separator = b"\n"
    held: list[dict[str, Any]] = []
    async for messages in parts:
        held = joined([*held, *(as_chat_message(m) for m in messages if is_settled(m))])
        # The last one may go on in the next part.
        lines = [dumps(message) for message in held[:-1]]
        held = held[-1:]
        if lines:
            yield separator + b",\n".join(lines)
            separator = b",\n"
    if held:
        yield separator + dumps(held[0])
    yield b"\n]}\n"


async def as_markdown(
    conversation: StoredConversation, parts: AsyncIterator[list[StoredMessage]]
) -> AsyncIterator[bytes]:
    """Yield a title, then each message under a heading that says who spoke, and when."""
    title = " ".join(conversation["name"].split()) or "Conversation"
    yield f"# {title}\n\n{_time(conversation['created_at'])}\n".encode()
    async for messages in parts:
        text = ""
        for message in messages:
            text += f"\n## {_heading(message)}\n\n{_body(message)}\n"
        yield text.encode("utf-8", "replace")


def _heading(message: StoredMessage) -> str:
    who = HEADINGS.get(message["role"], message["role"].title())
    model = f" ({message['model']})" if message.get("model") else ""
    return f"{who}{model} · {_time(message['created_at'])}"


def _body(message: StoredMessage) -> str:
    payload = payload_of(message) or {}
    body = _closed(message["content"].rstrip())
    parts = payload.get("content")
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict) and (shown := _shown(part)):
            body += f"\n\n{shown}"
    for name, arguments in map(said_in, calls_of(payload)):
        body += f"\n\n```json\n{name}({arguments})\n```"
    status = message.get("status", "complete")
    if status not in ("complete", "stopped"):
        body += f"\n\n*({status})*"
    return body.strip() or "*(empty)*"


def _closed(text: str) -> str:
    """Return the text with its last code block closed, so that what follows stands outside."""
    fence = ""
    for line in text.split("\n"):
        found = FENCE.match(line)
        if not found:
            continue
        marks, info = found.groups()
        if not fence:
            fence = marks
        elif marks[0] == fence[0] and len(marks) >= len(fence) and not info.strip():
            fence = ""
    return f"{text}\n{fence}" if fence else text


def _shown(part: dict[str, Any]) -> str:
    """Return a picture or a file of a message; its text stands there already."""
    kind = str(part.get("type", ""))
    if kind in ("", "text"):
        return ""
    picture = part.get("image_url")
    url = picture.get("url") if isinstance(picture, dict) else None
    if isinstance(url, str) and url.startswith(("https://", "http://")):
        return f"![{kind}](<{url}>)"
    return f"*[{kind}]*"


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
