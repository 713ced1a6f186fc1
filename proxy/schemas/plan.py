"""Bodies of `/v1/plan`: categories, documents, tags."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints

from proxy.documents.base import MAX_ID, Raw
from proxy.documents.plan_category import StoredCategory
from proxy.documents.plan_document import Source, StoredPlanDocument
from proxy.documents.plan_file import Tag
from proxy.schemas.common import Body, Id, Integer, Label, ProjectLabel, Text, clean

MAX_VERSION = 1_000_000_000
"""The highest version number that a client may ask for."""

MAX_MERGED = 1_000
"""Documents of one merge."""


def _one_line(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    if any(ord(character) < 32 for character in value):
        raise ValueError("must be one line without control characters")
    return value


def _stripped(value: Any) -> Any:
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


FileName = Annotated[Label, BeforeValidator(_file_name), AfterValidator(_one_line)]
"""The name of a plan document's file; a slash in it means nothing."""

CategoryName = Annotated[Label, BeforeValidator(_stripped), AfterValidator(_one_line)]
Template = Annotated[Text, StringConstraints(max_length=200_000)]
TagName = Annotated[
    str,
    BeforeValidator(_stripped),
    StringConstraints(min_length=1, max_length=100),
    AfterValidator(clean),
    AfterValidator(_one_line),
]
"""A tag: 100 characters at most, blanks around it removed."""


def _reachable(name: str) -> str:
    if name in (".", "..") or "," in name:
        raise ValueError(
            "must not be '.' or '..' and must hold no comma: "
            "a tag is a part of an address and of lists"
        )
    return name


NewTagName = Annotated[TagName, AfterValidator(_reachable)]
"""A tag that every client can search for and delete; older ones may be others."""

AutoSave = Annotated[
    Annotated[Integer, Field(ge=-1, le=MAX_ID)] | None,
    Field(description="Where answers of this category are saved; -1 clears it"),
]


class CategoryUpdate(Body):
    """Any of a category's fields; absent ones stay."""

    name: CategoryName | None = None
    prompt_template: Template | None = None
    message_method: Label | None = None
    auto_save_category_id: AutoSave = None
    summary_model: Label | None = None


class CategoryCreate(CategoryUpdate):
    """Only the name is needed."""

    name: CategoryName


class CategoryOut(BaseModel):
    """A plan category as clients know it."""

    id: int
    name: str
    prompt_template: str
    message_method: str
    auto_save_category_id: int | None
    is_builtin: bool
    summary_model: str
    created_time: datetime


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
    category_id: Id
    filename: FileName
    content: Text = ""
    version: Annotated[Integer | None, Field(ge=0, le=MAX_VERSION)] = None
    source: Source = "user"
    related_log_id: Annotated[Integer | None, Field(ge=-MAX_ID, le=MAX_ID)] = None

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
    content: Text | None = None
    source: Source | None = None


class DocumentOut(BaseModel):
    """One version of a file.

    `provenance` and `stale` are there when a model wrote it from stored messages; `stale`
    says that one of those was edited or deleted since.
    """

    id: int
    project_id: int
    category_id: int
    filename: str
    content: str
    version: int
    source: Source
    related_log_id: int | None
    created_time: datetime
    provenance: dict[str, Any] | None = None
    stale: bool | None = None


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

    total: int
    page: int
    page_size: int
    items: list[DocumentOut]


class DocumentsDeleted(BaseModel):
    """What went, counted by what it was."""

    message: str
    deleted: dict[Literal["document_references", "document_tags", "plan_documents"], int]


class DocumentsMerge(Body):
    """Versions in the order in which they are to follow each other."""

    document_ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_MERGED)]


class DocumentsMerged(BaseModel):
    """The texts as one."""

    count: int
    merged: str


class HistoryMigrate(Body):
    """A file, and the category that its history is copied to."""

    project_id: ProjectLabel
    source_category_id: Id
    target_category_id: Id
    filename: FileName


class HistoryMigrated(BaseModel):
    """The versions that the copies got."""

    message: str
    migrated_count: int
    target_category_id: int
    filename: str
    start_version: int
    end_version: int


class VersionMigrate(Body):
    """One version, and where its copy goes."""

    document_id: Id
    target_category_id: Id
    new_filename: Annotated[FileName | None, BeforeValidator(lambda value: value or None)] = None
    source: Annotated[Source | None, BeforeValidator(lambda value: value or None)] = None


class VersionRef(BaseModel):
    """One of two versions that are compared."""

    document_id: int
    filename: str
    version: int


class DocumentDiff(BaseModel):
    """A unified diff that makes the one version of the other; empty when they are equal."""

    from_: VersionRef = Field(alias="from")
    to: VersionRef
    diff: str


class TagCreate(Body):
    """A tag."""

    tag_name: NewTagName


class TagsUpdate(Body):
    """Tags to add and to remove; what is in both is added."""

    add: Annotated[list[NewTagName], Field(max_length=100)] | None = None
    remove: Annotated[list[TagName], Field(max_length=100)] | None = None


class TagOut(BaseModel):
    """A tag of a document's file."""

    id: int
    document_id: int
    tag_name: str
    created_time: datetime


class TagList(BaseModel):
    """All tags by name."""

    document_id: int
    tags: list[TagOut]


class TagAdded(BaseModel):
    """The tag, new or not."""

    message: str
    tag: TagOut


class TagRemoved(BaseModel):
    """0 when there was none."""

    message: str
    removed_count: int


class TagsUpdated(BaseModel):
    """How many of the requested changes changed anything."""

    message: str
    added: dict[Literal["requested", "added", "duplicates"], int]
    removed: dict[Literal["requested", "removed"], int]


def tag_out(document_id: int, tag: Tag) -> Raw:
    """Return a stored tag under its wire names."""
    return {
        "id": tag["id"],
        "document_id": document_id,
        "tag_name": tag["name"],
        "created_time": tag["created_at"],
    }
