"""One message of a conversation, embedded in the conversation or in one of its pages."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired, TypedDict, cast

import orjson
from pydantic import BaseModel, BeforeValidator, Field

from proxy.documents.base import Raw, utc_now

Role = Literal["system", "user", "assistant", "tool", "developer"]
Status = Literal["streaming", "complete", "stopped", "truncated", "failed", "interrupted"]
"""How a reply stands; `truncated` ended without a finish reason, `interrupted` lost its worker."""

INTERNAL = frozenset({"attempt", "worker", "key_id", "idempotency", "request"})
"""Fields that never leave over HTTP."""

ONLY_ASKED_FOR = frozenset({"logprobs"})
"""What lists leave out for its size: a call of Responses asks for it."""

_NOT_SHOWN = INTERNAL | ONLY_ASKED_FOR

FIXED_BYTES = 400
"""What a message without any text is taken to weigh."""


def attempt_name(message_id: int, revision: int) -> str:
    """Return what names one content of one message."""
    return f"{message_id}:{revision}"


def id_of_attempt(attempt: str) -> int:
    """Return the id of the message that an attempt is of."""
    return int(attempt.partition(":")[0])


def _text_of(payload: Any) -> Any:
    return packed(payload) if isinstance(payload, dict) else payload


def packed(payload: dict[str, Any]) -> str:
    """Return an OpenAI message as it is stored."""
    return orjson.dumps(payload).decode()


class Message(BaseModel):
    """A message as it is embedded.

    `attempt` (`"<id>:<revision>"`) names one writing of a reply, so that a late writer of
    an earlier one cannot touch it. `worker` is set while a reply streams and names the
    worker that holds it, `key_id` the key that asked for it. `payload` is OpenAI's message
    where it is more than plain text (parts, tool calls), as JSON text: an outsider's keys,
    `$date` among them, must not become database types. Former contents are in
    `message_revisions`.
    """

    id: int
    role: Role
    content: str = ""
    created_at: datetime = Field(default_factory=utc_now)
    updated_at: datetime = Field(default_factory=utc_now)
    status: Status = "complete"
    revision: int = 0
    payload: Annotated[str | None, BeforeValidator(_text_of)] = None

    reasoning: str | None = None
    finish_reason: str | None = None
    reply_to: int | None = None
    """The message that this reply answers; absent when that one was not stored."""
    error: dict[str, Any] | None = None
    model: str | None = None
    provider: str | None = None
    usage: dict[str, Any] | None = None
    started_at: datetime | None = None
    first_token_ms: int | None = None
    duration_ms: int | None = None
    omitted_messages: int | None = None
    """Messages left out of this reply's prompt because the model's window was full."""
    attached_source: dict[str, Any] | None = None
    suggestions: list[str] | None = None
    """What a person might say next, as Poe's bots suggest it."""
    points: float | None = None
    """Poe's points that the reply cost, read some time after its end."""
    points_certain: bool | None = None
    """Whether no other query of the same bot could be meant by those points."""
    order: list[list[Any]] | None = None
    """How reasoning, text and calls lie in a reply that went back: `[["r", 120], ["t", 40], …]`."""
    items: list[str] | None = None
    """What a provider's own tools made, each an item of Responses as JSON text."""
    encrypted_reasoning: list[str] | None = None
    """Of each stretch of reasoning what its provider gave to be sent back to it,
    `<provider>:<content>`; empty where there is none."""
    tool_names: str | None = None
    """Of tool calls: what the client calls the functions, as JSON text."""
    item_type: str | None = None
    """The type of its item in Responses, where its role does not tell."""
    logprobs: str | None = None
    """Log probabilities of a reply's tokens, where they were asked for, as JSON text."""

    attempt: str | None = None
    worker: str | None = None
    key_id: str | None = None
    idempotency: dict[str, str] | None = None
    request: str | None = None
    """What the reply was asked with besides messages (parameters, documents …), as JSON text."""

    def raw(self) -> "StoredMessage":
        """As it is stored: absent fields are absent, not null."""
        return cast(StoredMessage, self.model_dump(exclude_none=True))


class StoredMessage(TypedDict):
    """A `Message` as it lies in a conversation, a page or a revision."""

    id: int
    role: Role
    content: str
    created_at: datetime
    updated_at: datetime
    status: Status
    revision: int
    payload: NotRequired[str]

    reasoning: NotRequired[str]
    finish_reason: NotRequired[str]
    reply_to: NotRequired[int]
    error: NotRequired[dict[str, Any]]
    model: NotRequired[str]
    provider: NotRequired[str]
    usage: NotRequired[dict[str, Any]]
    started_at: NotRequired[datetime]
    first_token_ms: NotRequired[int]
    duration_ms: NotRequired[int]
    omitted_messages: NotRequired[int]
    attached_source: NotRequired[dict[str, Any]]
    suggestions: NotRequired[list[str]]
    points: NotRequired[float]
    points_certain: NotRequired[bool]
    order: NotRequired[list[list[Any]]]
    items: NotRequired[list[str]]
    encrypted_reasoning: NotRequired[list[str]]
    tool_names: NotRequired[str]
    item_type: NotRequired[str]
    logprobs: NotRequired[str]

    attempt: NotRequired[str]
    worker: NotRequired[str]
    key_id: NotRequired[str]
    idempotency: NotRequired[dict[str, str]]
    request: NotRequired[str]


MessageFields = Mapping[str, Any]
"""A stored message, or what is known of a reply that is still being written: only to be read."""


def payload_of(message: MessageFields) -> dict[str, Any] | None:
    """Return the OpenAI message that was stored, where it is more than plain text."""
    text = message.get("payload")
    if not text:
        return None
    payload: dict[str, Any] = orjson.loads(text)
    return payload


def with_error_as_text(message: MessageFields) -> Raw:
    """Return a message as `wire` does, a failed reply without a text with its error as content."""
    shown = wire(message)
    error = shown.get("error")
    if error and not shown["content"]:
        shown["content"] = str(error.get("message") or "")
    return shown


def wire(message: MessageFields) -> Raw:
    """Return a stored message as it leaves over HTTP; `payload` is OpenAI's message again."""
    out = {key: value for key, value in message.items() if key not in _NOT_SHOWN}
    if "payload" in out:
        out["payload"] = payload_of(message)
    return out


def size_bytes(message: Mapping[str, Any]) -> int:
    """Return what a message weighs in its document, near enough to bound it; its id may miss."""
    size = FIXED_BYTES
    for key in ("content", "reasoning", "payload", "request", "logprobs"):
        if text := message.get(key):
            size += len(text.encode())
    for key in ("items", "encrypted_reasoning"):
        if texts := message.get(key):
            size += sum(len(text.encode()) for text in texts if text)
    return size
