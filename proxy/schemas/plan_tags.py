"""Bodies of the tags of `/v1/plan/documents`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints

from proxy.documents.base import Raw
from proxy.documents.plan_file import Tag
from proxy.schemas.common import Body, DocumentId, Time, clean
from proxy.schemas.plan import one_line, stripped

TagName = Annotated[
    str,
    BeforeValidator(stripped),
    StringConstraints(min_length=1, max_length=100),
    AfterValidator(clean),
    AfterValidator(one_line),
    Field(examples=["设计"]),
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


class TagCreate(Body):
    """A tag."""

    tag_name: NewTagName


class TagsUpdate(Body):
    """Tags to add and to remove; what is in both is added."""

    add: Annotated[list[NewTagName], Field(max_length=100)] | None = None
    remove: Annotated[list[TagName], Field(max_length=100, examples=[["草稿"]])] | None = None


class TagOut(BaseModel):
    """A tag of a document's file."""

    id: int = Field(examples=[1])
    document_id: DocumentId
    tag_name: str = Field(examples=["设计"])
    created_time: Time


class TagList(BaseModel):
    """All tags by name."""

    document_id: DocumentId
    tags: list[TagOut]


class TagAdded(BaseModel):
    """The tag, new or not."""

    message: str = Field(examples=["Tag added"])
    tag: TagOut


class TagRemoved(BaseModel):
    """0 when there was none."""

    message: str = Field(examples=["Tag removed"])
    removed_count: int = Field(examples=[1])


class TagsUpdated(BaseModel):
    """How many of the requested changes changed anything."""

    message: str = Field(examples=["Tags updated"])
    added: dict[Literal["requested", "added", "duplicates"], int] = Field(
        examples=[{"requested": 2, "added": 1, "duplicates": 1}]
    )
    removed: dict[Literal["requested", "removed"], int] = Field(
        examples=[{"requested": 1, "removed": 1}]
    )


def tag_out(document_id: int, tag: Tag) -> Raw:
    """Return a stored tag under its wire names."""
    return {
        "id": tag["id"],
        "document_id": document_id,
        "tag_name": tag["name"],
        "created_time": tag["created_at"],
    }
