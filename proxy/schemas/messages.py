"""Bodies of messages, turns and streams."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from proxy.documents.base import MAX_ID
from proxy.documents.message import Status
from proxy.schemas.common import (
    AttachedSource,
    Body,
    ConversationId,
    FinishReason,
    Id,
    Integer,
    Label,
    MessageId,
    MessageText,
    ModelLabel,
    ModelName,
    ProviderName,
    ReplyId,
    Text,
    Time,
    TokenUsage,
    UtcTime,
)
from proxy.source_code.base import SourceAttachment

ReplyText = Annotated[str, Field(examples=["public class BubbleSort { … }"])]


class ReplyOptions(Body):
    """How the reply is delivered."""

    model: ModelLabel | None = None
    stream: bool = False
    on_disconnect: Literal["continue", "cancel"] = "continue"
    accept_replace: bool = False


class SourceCode(Body):
    """Which of the project's source: gitignore-style patterns, a bound in tokens."""

    include: Annotated[list[Label], Field(max_length=100, examples=[["src/**"]])] = []
    exclude: Annotated[list[Label], Field(max_length=100, examples=[["*.min.js"]])] = []
    max_tokens: Annotated[Integer, Field(ge=1, le=MAX_ID, examples=[100_000])] | None = None
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
    content: MessageText
    documents: Annotated[list[Id], Field(max_length=100, examples=[[205, 206]])] = []
    system_prompt_append: Text = Field(default="", examples=["Answer in Chinese."])
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

    content: MessageText
    created_at: UtcTime | None = Field(default=None, examples=["2026-01-31T12:00:00Z"])


class MessagesDelete(Body):
    """The messages may belong to several conversations."""

    message_ids: Annotated[list[Id], Field(max_length=10_000, examples=[[106, 107]])]


class StreamStop(Body):
    """The `session_id` of a stream's first frame."""

    session_id: Annotated[str, StringConstraints(max_length=100)] | int = Field(examples=["108"])


class StreamStopped(BaseModel):
    """The text so far is kept."""

    message: str = Field(examples=["Stream stopped"])
    session_id: str = Field(examples=["108"])


class MessageOut(BaseModel):
    """A message; the fields after `updated_at` are there where they are known."""

    id: ReplyId
    role: str = Field(examples=["assistant"])
    content: ReplyText
    created_at: Time
    updated_at: Time
    status: Status = "complete"
    revision: int = 0
    reply_to: MessageId | None = None
    reasoning: str | None = Field(default=None, examples=[None])
    finish_reason: FinishReason | None = None
    error: dict[str, Any] | None = Field(default=None, examples=[None])
    model: ModelName | None = None
    provider: ProviderName | None = None
    usage: TokenUsage | None = None
    started_at: Time | None = None
    first_token_ms: int | None = Field(default=None, examples=[420])
    duration_ms: int | None = Field(default=None, examples=[2300])
    omitted_messages: int | None = Field(default=None, examples=[None])
    attached_source: AttachedSource | None = None
    suggestions: list[str] | None = Field(default=None, examples=[["And in Rust?"]])
    points: float | None = Field(default=None, examples=[None])
    points_certain: bool | None = Field(default=None, examples=[None])
    payload: dict[str, Any] | None = Field(
        default=None,
        description="OpenAI's message where it is more than text (tools, images)",
        examples=[None],
    )


class MessageDetail(MessageOut):
    """A message with its conversation and former contents, oldest first."""

    conversation_id: ConversationId
    revisions: list[dict[str, Any]] = []


class MessageList(BaseModel):
    """All messages of a conversation, in order."""

    conversation_id: ConversationId
    messages: list[MessageOut]


class ReplyOut(BaseModel):
    """The answer to a turn that is not streamed."""

    conversation_id: ConversationId
    reply: ReplyText
    user_message_id: MessageId | None
    assistant_message_id: ReplyId
    status: Status = "complete"
    finish_reason: FinishReason | None = None
    model: ModelName | None = Field(default=None, description="Which model answered")
    omitted_messages: int | None = Field(default=None, examples=[None])
