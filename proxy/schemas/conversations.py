"""Bodies of `/v1/chat/conversations`."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from proxy.documents.conversation import StoredConversation
from proxy.schemas.common import NOT_TRUTH, Body, Id, Label, ProjectLabel, Text

ConversationStatus = Annotated[Literal[0, 1], NOT_TRUTH, Field(description="0 normal, 1 archived")]


class ConversationUpdate(Body):
    """Any of these; absent ones stay."""

    project_id: ProjectLabel | None = None
    name: Label | None = None
    model: Label | None = None
    assistance_role: Label | None = None
    status: ConversationStatus | None = None
    system_prompt: Text | None = None


class ConversationCreate(ConversationUpdate):
    """All optional."""

    model_config = {
        "json_schema_extra": {
            "examples": [{"system_prompt": "You are a helpful assistant.", "project_id": 2}]
        }
    }


class ConversationCreated(BaseModel):
    """`{"conversation_id": "<uuid4>"}`."""

    conversation_id: str


class ConversationFork(Body):
    """The last message that the copy should have."""

    message_id: Id


class ConversationForked(ConversationCreated):
    """The copy, and where it comes from."""

    forked_from: dict[str, Any]


class ConversationOut(BaseModel):
    """A conversation without its messages."""

    id: str
    system_prompt: str
    created_at: datetime
    updated_at: datetime
    project_id: int
    name: str
    model: str
    assistance_role: str
    status: int
    metadata: dict[str, str] | None = None
    forked_from: dict[str, Any] | None = Field(
        default=None, description="Of a fork: `conversation_id` and `message_id` where it began"
    )


class GroupedConversation(ConversationOut):
    """A conversation in its project's group."""

    conversation_id: str
    project_name: str


def conversation_out(raw: StoredConversation) -> dict[str, Any]:
    """Return a stored conversation under its wire names."""
    return {"id": raw["_id"], **{key: value for key, value in raw.items() if key != "_id"}}
