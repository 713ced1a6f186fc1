"""The body of `POST /v1/plan/documents/generate`."""

from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from proxy.documents.message import Status
from proxy.schemas.common import Id, ProjectLabel, Text
from proxy.schemas.messages import ReplyOptions
from proxy.schemas.plan import DocumentOut, FileName


class DocumentGenerate(ReplyOptions):
    """A document to be written by a model, from one source.

    The source is a conversation (or some of its messages), documents, or a text. `model` is
    the category's `summary_model` by default, `project_id` the conversation's project.
    """

    category_id: Id
    filename: FileName
    project_id: ProjectLabel | None = None
    conversation_id: Annotated[str, StringConstraints(max_length=100)] | None = None
    message_ids: Annotated[list[Id], Field(max_length=10_000)] = []
    document_ids: Annotated[list[Id], Field(max_length=100)] = []
    content: Text | None = None

    model_config = {
        "json_schema_extra": {
            "examples": [
                {
                    "conversation_id": "2a9f9f7a-7a7f-4d5b-bb2b-04e4bb9fce41",
                    "category_id": 2,
                    "filename": "新方案设计.md",
                    "stream": True,
                }
            ]
        }
    }

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources: list[Any] = [
            self.conversation_id,
            self.document_ids,
            self.content and self.content.strip(),
        ]
        if sum(map(bool, sources)) != 1:
            raise ValueError("send one of conversation_id, document_ids and content")
        if self.message_ids and not self.conversation_id:
            raise ValueError("message_ids needs the conversation_id that they belong to")
        return self


class DocumentGenerated(DocumentOut):
    """The new version, and how the model's reply ended."""

    status: Status
    finish_reason: str | None
