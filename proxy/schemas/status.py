"""Bodies of `/v1/status` and `/v1/chat/running-replies`."""

from typing import Annotated

from pydantic import BaseModel, Field

from proxy.documents.message import Status
from proxy.schemas.common import (
    ConversationId,
    ConversationName,
    ModelName,
    ProjectId,
    ProviderName,
    ReplyId,
    Time,
)

WorkerId = Annotated[str, Field(examples=["host:4711:1f2e3d4c"])]


class RunningReply(BaseModel):
    """A reply that is being written, by whichever worker."""

    message_id: ReplyId
    conversation_id: ConversationId
    conversation_name: ConversationName
    project_id: ProjectId
    model: ModelName
    provider: ProviderName
    started_at: Time | None
    worker: WorkerId


class WorkerOut(BaseModel):
    """A process that writes replies."""

    id: WorkerId
    started_at: Time


class AnswerOut(BaseModel):
    """How the last call of a provider ended, as far as the asked worker made it."""

    model: ModelName
    status: Status = Field(examples=["complete"])
    at: Time
    first_token_ms: int | None = Field(examples=[420])
    duration_ms: int | None = Field(examples=[2300])


class ProviderOut(BaseModel):
    """A configured provider; `models` counts those that it lists."""

    name: ProviderName
    models: int = Field(examples=[84])
    last_answer: AnswerOut | None


class DatabaseOut(BaseModel):
    """The database server, its size on disk in bytes where it tells, and what it holds."""

    server: str = Field(examples=["mongodb"])
    version: str = Field(examples=["8.0.4"])
    size_bytes: int | None = Field(examples=[52_428_800])
    conversations: int = Field(examples=[310])
    plan_documents: int = Field(examples=[42])


class StatusOut(BaseModel):
    """What an operator looks at first."""

    version: str = Field(examples=["0.1.0"])
    database: DatabaseOut
    workers: list[WorkerOut]
    providers: list[ProviderOut]
