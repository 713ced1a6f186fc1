"""Bodies of `/v1/status` and `/v1/chat/running-replies`."""

from datetime import datetime

from pydantic import BaseModel, Field

from proxy.documents.message import Status


class RunningReply(BaseModel):
    """A reply that is being written, by whichever worker."""

    message_id: int
    conversation_id: str
    conversation_name: str
    project_id: int
    model: str
    provider: str
    started_at: datetime | None
    worker: str


class WorkerOut(BaseModel):
    """A process that writes replies."""

    id: str = Field(examples=["host:4711:1f2e3d4c"])
    started_at: datetime


class AnswerOut(BaseModel):
    """How the last call of a provider ended, as far as the asked worker made it."""

    model: str
    status: Status
    at: datetime
    first_token_ms: int | None
    duration_ms: int | None


class ProviderOut(BaseModel):
    """A configured provider; `models` counts those that it lists."""

    name: str
    models: int
    last_answer: AnswerOut | None


class DatabaseOut(BaseModel):
    """The database server, its size on disk in bytes where it tells, and what it holds."""

    server: str = Field(examples=["mongodb"])
    version: str
    size_bytes: int | None
    conversations: int
    plan_documents: int


class StatusOut(BaseModel):
    """What an operator looks at first."""

    version: str
    database: DatabaseOut
    workers: list[WorkerOut]
    providers: list[ProviderOut]
