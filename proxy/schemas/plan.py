"""Bodies of `/v1/plan`: categories and documents."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints

from proxy.documents.base import MAX_ID, Raw
from proxy.documents.plan_category import StoredCategory
from proxy.documents.plan_document import Source, StoredPlanDocument
from proxy.schemas.common import (
    Body,
    CategoryId,
    DocumentFile,
    DocumentId,
    Id,
    Integer,
    Label,
    ModelLabel,
    ModelName,
    ProjectId,
    ProjectLabel,
    Text,
    Time,
)

MAX_VERSION = 1_000_000_000
"""The highest version number that a client may ask for."""

MAX_MERGED = 1_000
"""Documents of one merge."""

TEMPLATE = "Write a plan for:\n{doc}\n\nEnvironment: {env}"
"""The example of a category's prompt template."""

CONTENT = "# 方案\n…"
"""The example of a document's text."""

PROVENANCE = {
    "conversation_id": "7f9f2b1c-6a53-4c8e-9a55-0d8f0c1f5a4e",
    "message_ids": [106, 107],
    "message_revisions": [0, 0],
    "category_id": 2,
    "model": "gpt-4o-mini",
    "provider": "openai",
}
"""The example of what a document was written from."""


def one_line(value: str) -> str:
    """Refuse what is blank or holds line ends and other control characters."""
    if not value.strip():
        raise ValueError("must not be empty")
    if any(ord(character) < 32 for character in value):
        raise ValueError("must be one line without control characters")
    return value


def stripped(value: Any) -> Any:
    """Return a text without the blanks around it, and what is no text as it is."""
    return value.strip() if isinstance(value, str) else value


FILE_NAME_CHARACTERS = 500

LINE_ENDS = re.compile("[\t\n\v\f\r\u2028\u2029]")


def _file_name(value: Any) -> Any:
    """Make one line of a name, and shorten it, its ending kept: clients send whole prompts."""
    if not isinstance(value, str):
        return value
    name = " ".join(value.split()) if LINE_ENDS.search(value) else value
    if len(name) > FILE_NAME_CHARACTERS:
        stem, dot, ending = name.rpartition(".")
        ending = dot + ending if stem and ending.isalnum() and len(ending) <= 10 else ""
        name = name[: FILE_NAME_CHARACTERS - len(ending) - 1].rstrip() + "…" + ending
    return name


FileName = Annotated[
    Label,
    BeforeValidator(_file_name),
    AfterValidator(one_line),
    Field(examples=["新方案设计.md"]),
]
"""The name of a plan document's file; a slash in it means nothing."""

CategoryName = Annotated[
    Label, BeforeValidator(stripped), AfterValidator(one_line), Field(examples=["评审计划"])
]
Template = Annotated[Text, StringConstraints(max_length=200_000), Field(examples=[TEMPLATE])]
AutoSave = Annotated[
    Annotated[Integer, Field(ge=-1, le=MAX_ID)] | None,
    Field(description="Where answers of this category are saved; -1 clears it", examples=[5]),
]


class CategoryUpdate(Body):
    """Any of a category's fields; absent ones stay."""

    name: CategoryName | None = None
    prompt_template: Template | None = None
    message_method: Label | None = Field(default=None, examples=["PlanGetRequest"])
    auto_save_category_id: AutoSave = None
    summary_model: ModelLabel | None = None


class CategoryCreate(CategoryUpdate):
    """Only the name is needed."""

    name: CategoryName


class CategoryOut(BaseModel):
    """A plan category as clients know it."""

    id: CategoryId
    name: str = Field(examples=["评审计划"])
    prompt_template: str = Field(examples=[TEMPLATE])
    message_method: str = Field(examples=["PlanGetRequest"])
    auto_save_category_id: int | None = Field(examples=[5])
    is_builtin: bool = Field(examples=[False])
    summary_model: ModelName
    created_time: Time


def category_fields(body: CategoryUpdate) -> Raw:
    """Return what a body sets; `auto_save_category_id` below 1 clears it."""
    fields = body.model_dump(exclude_none=True)
    if fields.get("auto_save_category_id", 1) < 1:
        fields["auto_save_category_id"] = None
    return fields


def category_out(raw: StoredCategory) -> Raw:
    """Return a stored category under its wire names."""
    return {
        "id": raw["_id"],
        "name": raw["name"],
        "prompt_template": raw["prompt_template"],
        "message_method": raw["message_method"],
        "auto_save_category_id": raw.get("auto_save_category_id"),
        "is_builtin": raw["is_builtin"],
        "summary_model": raw["summary_model"],
        "created_time": raw["created_at"],
    }


class DocumentCreate(Body):
    """A new version of a file; `version` counts only when it is higher than every stored one."""

    project_id: ProjectLabel = 0
    category_id: Id = Field(examples=[2])
    filename: FileName
    content: Text = Field(default="", examples=["文档内容"])
    version: Annotated[Integer | None, Field(ge=0, le=MAX_VERSION, examples=[1])] = None
    source: Source = "user"
    related_log_id: Annotated[Integer | None, Field(ge=-MAX_ID, le=MAX_ID, examples=[None])] = None

    model_config = {
        "json_schema_extra": {
            "examples": [
                {
                    "project_id": 1,
                    "category_id": 2,
                    "filename": "新方案设计.md",
                    "content": "文档内容",
                    "version": 1,
                    "source": "chat",
                }
            ]
        }
    }


class DocumentUpdate(Body):
    """What differs in the new version."""

    filename: FileName | None = None
    content: Text | None = Field(default=None, examples=[CONTENT])
    source: Source | None = None


class DocumentOut(BaseModel):
    """One version of a file.

    `provenance` and `stale` are there when a model wrote it from stored messages; `stale`
    says that one of those was edited or deleted since.
    """

    id: DocumentId
    project_id: ProjectId
    category_id: CategoryId
    filename: DocumentFile
    content: str = Field(examples=[CONTENT])
    version: int = Field(examples=[1])
    source: Source
    related_log_id: int | None = Field(examples=[None])
    created_time: Time
    provenance: dict[str, Any] | None = Field(default=None, examples=[PROVENANCE])
    stale: bool | None = Field(default=None, examples=[False])


def document_out(raw: StoredPlanDocument, stale: bool | None = None) -> Raw:
    """Return a stored version under its wire names."""
    fields: Raw = {
        "id": raw["_id"],
        "project_id": raw["project_id"],
        "category_id": raw["category_id"],
        "filename": raw["filename"],
        "content": raw["content"],
        "version": raw["version"],
        "source": raw["source"],
        "related_log_id": raw.get("related_log_id"),
        "created_time": raw["created_at"],
    }
    if "provenance" in raw:
        fields["provenance"] = raw["provenance"]
        fields["stale"] = bool(stale)
    return fields


class DocumentPage(BaseModel):
    """One page of newest versions; `total` counts files."""

    total: int = Field(examples=[1])
    page: int = Field(examples=[1])
    page_size: int = Field(examples=[20])
    items: list[DocumentOut]


class DocumentsDeleted(BaseModel):
    """What went, counted by what it was."""

    message: str = Field(examples=["Documents deleted"])
    deleted: dict[Literal["document_references", "document_tags", "plan_documents"], int] = Field(
        examples=[{"document_references": 1, "document_tags": 0, "plan_documents": 3}]
    )


class DocumentsMerge(Body):
    """Versions in the order in which they are to follow each other."""

    document_ids: Annotated[
        list[Id], Field(min_length=1, max_length=MAX_MERGED, examples=[[205, 206]])
    ]


class DocumentsMerged(BaseModel):
    """The texts as one."""

    count: int = Field(examples=[1])
    merged: str = Field(examples=["--- a.md- 版本[1] 开始 ---\n…\n--- a.md- 版本[1] 结束 ---"])


class HistoryMigrate(Body):
    """A file, and the category that its history is copied to."""

    project_id: ProjectLabel = Field(examples=[1])
    source_category_id: Id = Field(examples=[2])
    target_category_id: Id = Field(examples=[3])
    filename: FileName


class HistoryMigrated(BaseModel):
    """The versions that the copies got."""

    message: str = Field(examples=["Migration completed"])
    migrated_count: int = Field(examples=[4])
    target_category_id: int = Field(examples=[3])
    filename: DocumentFile
    start_version: int = Field(examples=[1])
    end_version: int = Field(examples=[4])


class VersionMigrate(Body):
    """One version, and where its copy goes."""

    document_id: Id = Field(examples=[205])
    target_category_id: Id = Field(examples=[3])
    new_filename: Annotated[FileName | None, BeforeValidator(lambda value: value or None)] = Field(
        default=None, examples=["新方案设计-2.md"]
    )
    source: Annotated[Source | None, BeforeValidator(lambda value: value or None)] = None


class VersionRef(BaseModel):
    """One of two versions that are compared."""

    document_id: DocumentId
    filename: DocumentFile
    version: int = Field(examples=[1])


class DocumentDiff(BaseModel):
    """A unified diff that makes the one version of the other; empty when they are equal."""

    from_: VersionRef = Field(alias="from")
    to: VersionRef = Field(
        examples=[{"document_id": 206, "filename": "新方案设计.md", "version": 2}]
    )
    diff: str = Field(examples=["--- v1\n+++ v2\n@@ -1 +1 @@\n-draft\n+final\n"])
