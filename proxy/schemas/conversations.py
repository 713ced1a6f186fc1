"""Bodies of `/v1/chat/conversations`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from proxy.documents.conversation import StoredConversation
from proxy.schemas.common import (
    NOT_TRUTH,
    Body,
    ConversationId,
    ConversationName,
    Id,
    Label,
    ModelLabel,
    ModelName,
    ProjectId,
    ProjectLabel,
    ProjectName,
    Text,
    Time,
)

ConversationStatus = Annotated[Literal[0, 1], NOT_TRUTH, Field(description="0 normal, 1 archived")]

ForkedFrom = Annotated[
    dict[str, Any],
    Field(
        examples=[{"conversation_id": "0c9a4f0e-3a52-4d0a-8d3c-5b7f8b1f2d64", "message_id": 107}]
    ),
]


class ConversationUpdate(Body):
    """Any of these; absent ones stay."""

    project_id: ProjectLabel | None = Field(default=None, examples=[1])
    name: Label | None = Field(default=None, examples=["Sorting"])
    model: ModelLabel | None = None
    assistance_role: Label | None = Field(default=None, examples=["架构师"])
    status: ConversationStatus | None = None
    system_prompt: Text | None = Field(default=None, examples=["You are a helpful assistant."])


class ConversationCreate(ConversationUpdate):
    """All optional."""

    model_config = {
        "json_schema_extra": {
            "examples": [{"system_prompt": "You are a helpful assistant.", "project_id": 2}]
        }
    }


class ConversationCreated(BaseModel):
    """`{"conversation_id": "<uuid4>"}`."""

    conversation_id: ConversationId


class ConversationFork(Body):
    """The last message that the copy should have."""

    message_id: Id = Field(examples=[107])


class ConversationForked(ConversationCreated):
    """The copy, and where it comes from."""

    forked_from: ForkedFrom


class ConversationOut(BaseModel):
    """A conversation without its messages."""

    id: ConversationId
    system_prompt: str = Field(examples=["You are a helpful assistant."])
    created_at: Time
    updated_at: Time
    project_id: ProjectId
    name: ConversationName
    model: ModelName
    assistance_role: str = Field(examples=["架构师"])
    status: int
    metadata: dict[str, str] | None = Field(default=None, examples=[{"topic": "sorting"}])
    forked_from: ForkedFrom | None = Field(
        default=None, description="Of a fork: `conversation_id` and `message_id` where it began"
    )


class GroupedConversation(ConversationOut):
    """A conversation in its project's group."""

    conversation_id: ConversationId
    project_name: ProjectName


def conversation_out(raw: StoredConversation) -> dict[str, Any]:
    """Return a stored conversation under its wire names."""
    return {"id": raw["_id"], **{key: value for key, value in raw.items() if key != "_id"}}
