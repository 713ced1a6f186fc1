"""Bodies of messages, turns and streams."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from proxy.documents.base import MAX_ID
from proxy.documents.message import Status
from proxy.schemas.common import Body, FilledText, Id, Integer, Label, Text, UtcTime
from proxy.source_code.base import SourceAttachment


class ReplyOptions(Body):
    """How the reply is delivered."""

    model: Label | None = None
    stream: bool = False
    on_disconnect: Literal["continue", "cancel"] = "continue"
    accept_replace: bool = False


class SourceCode(Body):
    """Which of the project's source: gitignore-style patterns, a bound in tokens."""

    include: Annotated[list[Label], Field(max_length=100)] = []
    exclude: Annotated[list[Label], Field(max_length=100)] = []
    max_tokens: Annotated[Integer, Field(ge=1, le=MAX_ID)] | None = None
    since: Literal["last"] | None = Field(
        default=None, description="Only what changed since this conversation's last attachment"
    )

    def attachment(self) -> SourceAttachment:
        """As a turn takes it."""
        return SourceAttachment(
            tuple(self.include), tuple(self.exclude), self.max_tokens, self.since == "last"
        )


class Attach(Body):
    """What is attached to one call."""

    source_code: SourceCode | None = None


class MessageCreate(ReplyOptions):
    """One new message; the history is the server's."""

    role: Literal["user", "system", "assistant"] = "user"
    content: FilledText
    documents: Annotated[list[Id], Field(max_length=100)] = []
    system_prompt_append: Text = ""
    attach: Attach | None = None

    @property
    def source(self) -> SourceAttachment | None:
        """The source code that goes along, as a turn takes it."""
        wanted = self.attach.source_code if self.attach else None
        return wanted.attachment() if wanted else None

    model_config = {
        "json_schema_extra": {
            "examples": [
                {
                    "role": "user",
                    "content": "请用Java写冒泡排序",
                    "model": "ChatGPT-4o-Latest",
                    "stream": False,
                }
            ]
        }
    }


class MessageUpdate(Body):
    """The new text; `created_at` moves the message's time."""

    content: FilledText
    created_at: UtcTime | None = None


class MessagesDelete(Body):
    """The messages may belong to several conversations."""

    message_ids: Annotated[list[Id], Field(max_length=10_000)]


class StreamStop(Body):
    """The `session_id` of a stream's first frame."""

    session_id: Annotated[str, StringConstraints(max_length=100)] | int


class StreamStopped(BaseModel):
    """The text so far is kept."""

    message: str
    session_id: str


class MessageOut(BaseModel):
    """A message; the fields after `updated_at` are there where they are known."""

    id: int
    role: str
    content: str
    created_at: datetime
    updated_at: datetime
    status: Status = "complete"
    revision: int = 0
    reply_to: int | None = None
    reasoning: str | None = None
    finish_reason: str | None = None
    error: dict[str, Any] | None = None
    model: str | None = None
    provider: str | None = None
    usage: dict[str, Any] | None = None
    started_at: datetime | None = None
    first_token_ms: int | None = None
    duration_ms: int | None = None
    omitted_messages: int | None = None
    attached_source: dict[str, Any] | None = None
    suggestions: list[str] | None = None
    points: float | None = None
    points_certain: bool | None = None
    payload: dict[str, Any] | None = Field(
        default=None, description="OpenAI's message where it is more than text (tools, images)"
    )


class MessageDetail(MessageOut):
    """A message with its conversation and former contents, oldest first."""

    conversation_id: str
    revisions: list[dict[str, Any]] = []


class MessageList(BaseModel):
    """All messages of a conversation, in order."""

    conversation_id: str
    messages: list[MessageOut]


class ReplyOut(BaseModel):
    """The answer to a turn that is not streamed."""

    conversation_id: str
    reply: str
    user_message_id: int | None
    assistant_message_id: int
    status: Status = "complete"
    finish_reason: str | None = None
    model: str | None = Field(default=None, description="Which model answered")
    omitted_messages: int | None = None
