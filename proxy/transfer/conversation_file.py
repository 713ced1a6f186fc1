"""A conversation as a file: Markdown for a person, JSON with everything, OpenAI's `messages`.

The JSON holds no ids of what is in it (a reply names its question by position; `forked_from` is
a note of where it came from) and keeps every time, so that a conversation that is exported,
imported and exported again gives the same bytes.
"""

import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError

from proxy.documents.base import Raw
from proxy.documents.chat_message import ChatMessage, calls_of, said_in
from proxy.documents.conversation import StoredConversation, is_settled
from proxy.documents.conversation_import import ImportedConversation, ImportedMessage
from proxy.documents.message import Role, StoredMessage, payload_of, wire
from proxy.documents.message_revision import MessageRevision
from proxy.documents.storable import check_fields, check_text
from proxy.errors import BadRequest, Unprocessable
from proxy.providers.logprobs import tokens_in
from proxy.responses import dumps
from proxy.schemas.common import Label, ProjectLabel, Text, UtcTime
from proxy.schemas.responses import check_metadata
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
    "suggestions",
    "points",
    "points_certain",
)

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
"""A line that begins or ends a block of code; https://spec.commonmark.org/0.31.2/#fenced-code-blocks."""

HEADINGS = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}


# Out


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


# In


def _fields(value: dict[str, Any]) -> dict[str, Any]:
    check_fields(value)
    return value


Fields = Annotated[dict[str, Any], AfterValidator(_fields)]


def _packed(value: Any) -> Any:
    # A null counts as absent, here as in every body.
    return None if value is None else ChatMessage.read(value).as_text()


Payload = Annotated[str | None, BeforeValidator(_packed)]
"""OpenAI's message, as text: its keys are an outsider's."""


def _object_text(value: str) -> str:
    """Check a text that is read as an object later."""
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("must be a text that holds a JSON object")
    check_text(found)
    return value


def _tool_names(value: str) -> str:
    if not all(isinstance(each, dict) for each in orjson.loads(_object_text(value)).values()):
        raise ValueError("must be a text that holds an object of objects")
    return value


def _logprobs(value: str) -> str:
    try:
        found = orjson.loads(_object_text(value))
        groups = found["groups"]
        is_right = type(found["left_out"]) is int and all(
            type(end) is int and tokens_in(tokens) == tokens for end, tokens in groups
        )
    except (KeyError, TypeError, ValueError):
        is_right = False
    if not is_right:
        raise ValueError("must be a text that holds groups of tokens")
    return value


def _metadata(value: dict[str, str]) -> dict[str, str]:
    try:
        check_metadata(value)
    except BadRequest as error:
        raise ValueError(error.detail) from None
    return value


ObjectText = Annotated[str, AfterValidator(_object_text)]
ToolNames = Annotated[str, AfterValidator(_tool_names)]
Logprobs = Annotated[str, AfterValidator(_logprobs)]
Metadata = Annotated[dict[str, str], AfterValidator(_metadata)]
Stretch = tuple[Literal["r", "t", "c", "h"], Annotated[int, Field(ge=0, lt=2**53)]]

Millis = Annotated[int, Field(ge=0, lt=2**53)]


class FileContent(BaseModel):
    """One content of a message, as our file has it."""

    role: Role
    content: str = ""
    payload: Payload = None
    created_at: UtcTime
    updated_at: UtcTime
    status: Literal["complete", "stopped", "truncated", "failed", "interrupted"] = "complete"
    finish_reason: Label | None = None
    reasoning: str | None = None
    error: Fields | None = None
    model: Label | None = None
    provider: Label | None = None
    usage: Fields | None = None
    started_at: UtcTime | None = None
    first_token_ms: Millis | None = None
    duration_ms: Millis | None = None
    omitted_messages: Millis | None = None
    attached_source: Fields | None = None
    order: list[Stretch] | None = None
    items: list[ObjectText] | None = None
    encrypted_reasoning: list[str] | None = None
    tool_names: ToolNames | None = None
    item_type: Literal["custom_tool_call_output"] | None = None
    logprobs: Logprobs | None = None
    suggestions: list[str] | None = None
    points: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    points_certain: bool | None = None


class FileRevision(FileContent):
    """A former content."""

    replaced_at: UtcTime


class FileMessage(FileContent):
    """A message with its former contents."""

    reply_to: Annotated[int, Field(ge=0)] | None = None
    revisions: list[FileRevision] = []


class FileOrigin(BaseModel):
    """What a conversation began as a copy of."""

    conversation_id: Annotated[str, Field(max_length=100)]
    message_id: Annotated[int, Field(ge=0, lt=2**63)]


class FileConversation(BaseModel):
    """A conversation without its messages."""

    name: Label = ""
    project_id: ProjectLabel = 0
    model: Label = ""
    assistance_role: Label = ""
    status: Literal[0, 1] = 0
    system_prompt: Text = ""
    metadata: Metadata | None = None
    forked_from: FileOrigin | None = None
    created_at: UtcTime
    updated_at: UtcTime


class ConversationFile(BaseModel):
    """The whole file."""

    format: Literal["poe-openai-proxy.conversation"]
    version: Literal[1]
    conversation: FileConversation
    messages: list[FileMessage]


def read_file(item: Any) -> ImportedConversation:
    """Return a conversation out of our own JSON.

    Raises:
        Unprocessable: one sentence that says what is wrong and where.
    """
    if not isinstance(item, dict) or "format" not in item:
        raise Unprocessable(
            "This is neither a conversation exported here with format=json nor one of the "
            "conversations.json of a ChatGPT export"
        )
    try:
        file = ConversationFile.model_validate(item)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Unprocessable(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
    about = file.conversation
    if about.system_prompt:
        first_message = file.messages[0] if file.messages else None
        if (
            first_message is None
            or first_message.role != "system"
            or first_message.content != about.system_prompt
        ):
            raise Unprocessable("messages.0: must be the system prompt of the conversation")
    messages = []
    for position, message in enumerate(file.messages):
        if message.reply_to is not None and message.reply_to >= position:
            raise Unprocessable(f"messages.{position}.reply_to: must be an earlier message")
        fields = message.model_dump(exclude_none=True, exclude={"reply_to", "revisions"})
        revisions = [
            (each.replaced_at, each.model_dump(exclude_none=True, exclude={"replaced_at"}))
            for each in message.revisions
        ]
        messages.append(ImportedMessage(fields, message.reply_to, revisions))
    return ImportedConversation(about.model_dump(exclude_none=True), messages)
