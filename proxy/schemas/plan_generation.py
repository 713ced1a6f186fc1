"""The body of `POST /v1/plan/documents/generate`."""

from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from proxy.documents.message import Status
from proxy.documents.plan_document import Source
from proxy.schemas.common import ConversationId, FinishReason, Id, ProjectLabel, Text
from proxy.schemas.messages import ReplyOptions
from proxy.schemas.plan import DocumentOut, FileName


class DocumentGenerate(ReplyOptions):
    """A document to be written by a model, from one source.

    The source is a conversation (or some of its messages), documents, or a text. `model` is
    the category's `summary_model` by default, `project_id` the conversation's project.
    """

    category_id: Id = Field(examples=[2])
    filename: FileName
    project_id: ProjectLabel | None = Field(default=None, examples=[1])
    conversation_id: Annotated[ConversationId, StringConstraints(max_length=100)] | None = None
    message_ids: Annotated[list[Id], Field(max_length=10_000, examples=[[106, 107]])] = []
    document_ids: Annotated[list[Id], Field(max_length=100, examples=[[205, 206]])] = []
    content: Text | None = Field(default=None, examples=["文档内容"])

    model_config = {
        "json_schema_extra": {
            "examples": [
                {
                    "conversation_id": "7f9f2b1c-6a53-4c8e-9a55-0d8f0c1f5a4e",
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

    source: Source = Field(examples=["chat"])
    status: Status = Field(examples=["complete"])
    finish_reason: FinishReason | None
