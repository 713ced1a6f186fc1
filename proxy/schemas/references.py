"""Bodies of document references."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from proxy.documents.base import Raw
from proxy.documents.conversation import Reference
from proxy.documents.plan_document import StoredPlanDocument
from proxy.schemas.common import Body, ConversationId, DocumentFile, DocumentId, Id, ProjectId, Time

MAX_REFERENCES = 100
"""Documents that one project or one conversation references."""


class ReferencesReplace(Body):
    """The whole set; an empty one clears it."""

    document_ids: Annotated[list[Id], Field(max_length=MAX_REFERENCES, examples=[[205, 206]])]


class ReferencesRemove(Body):
    """The documents that are not referenced any more; without any, all."""

    document_ids: Annotated[list[Id], Field(max_length=1_000, examples=[[205, 206]])] | None = None


class ReferenceOut(BaseModel):
    """A reference with its document; either `project_id` or `conversation_id` is null."""

    id: int = Field(examples=[11])
    project_id: ProjectId | None
    conversation_id: str | None = Field(examples=[None])
    document_id: DocumentId
    reference_type: Literal["project", "conversation"]
    document_filename: DocumentFile
    document_content: str = Field(examples=["文档内容"])
    document_version: int = Field(examples=[1])
    document_created_time: Time


class ReferencesChanged(BaseModel):
    """What a change of the set did, and the set as it is now."""

    message: str = Field(examples=["References updated"])
    added_count: int = Field(examples=[1])
    removed_count: int = Field(examples=[1])
    current_references: list[ReferenceOut]


class ReferencedDocuments(BaseModel):
    """What the calls of a conversation take along."""

    conversation_id: ConversationId
    project_references: list[ReferenceOut]
    conversation_references: list[ReferenceOut] = Field(examples=[[]])


def reference_out(
    reference: Reference,
    document: StoredPlanDocument,
    *,
    project_id: int | None = None,
    conversation_id: str | None = None,
) -> Raw:
    """Return a stored reference with its document, under its wire names."""
    return {
        "id": reference["id"],
        "project_id": project_id,
        "conversation_id": conversation_id,
        "document_id": reference["document_id"],
        "reference_type": "project" if conversation_id is None else "conversation",
        "document_filename": document["filename"],
        "document_content": document["content"],
        "document_version": document["version"],
        "document_created_time": document["created_at"],
    }
