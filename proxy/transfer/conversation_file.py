"""A conversation read from our own JSON: a file from outside, so every field is checked."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError

from proxy.documents.chat_message import ChatMessage
from proxy.documents.conversation_import import ImportedConversation, ImportedMessage
from proxy.documents.message import Role
from proxy.documents.storable import check_fields, check_text
from proxy.errors import BadRequest, Unprocessable
from proxy.providers.logprobs import tokens_in
from proxy.schemas.common import Label, ProjectLabel, Text, UtcTime
from proxy.schemas.responses import check_metadata


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
