"""Bodies of `/v1/search`."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from proxy.documents.message import Role
from proxy.schemas.common import (
    EMPTY_IS_ABSENT,
    NOT_TRUTH,
    Body,
    Integer,
    Label,
    OptionalId,
    Text,
    UtcTime,
)

DEFAULT_RESULTS = 20
MAX_RESULTS = 100
"""Of one answer; a larger `limit` is cut to it."""

State = Literal["0", "1", "streaming", "complete", "stopped", "truncated", "failed", "interrupted"]


def _as_text(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number else value or None


MaybeText = Annotated[Text | None, BeforeValidator(_as_text)]

ResultLimit = Annotated[
    Annotated[Integer, Field(ge=1, le=10_000)] | None, EMPTY_IS_ABSENT, NOT_TRUTH
]


class SearchParameters(Body):
    """What to look for, and where; empty ones count as absent."""

    # Taken so that `search_request` can refuse them: a filter that is misspelled and let
    # through would find what was to be left out.
    model_config = {
        "extra": "allow",
        "json_schema_extra": {
            "additionalProperties": False,
            "examples": [{"q": "冒泡 排序", "limit": 20}],
        },
    }

    q: str = Field(
        default="", description='Words (all of them), `"a phrase"`, `-not`, `this OR that`'
    )
    in_: MaybeText = Field(
        default=None,
        alias="in",
        description="messages, reasoning, tools, conversations, documents, projects; separated "
        "by commas. All but reasoning and tools by default",
    )
    project_id: OptionalId = None
    conversation_id: Annotated[Label | None, EMPTY_IS_ABSENT] = None
    role: Annotated[Role | None, EMPTY_IS_ABSENT] = Field(
        default=None, description="Only messages of this role"
    )
    model: Annotated[Label | None, EMPTY_IS_ABSENT] = Field(
        default=None, description="Only messages that this model wrote"
    )
    status: Annotated[State | None, BeforeValidator(_as_text)] = Field(
        default=None,
        description="0 or 1: only conversations in use, or archived ones; else how a reply stands",
    )
    from_: Annotated[UtcTime | None, EMPTY_IS_ABSENT] = Field(
        default=None, alias="from", description="Not older"
    )
    to: Annotated[UtcTime | None, EMPTY_IS_ABSENT] = Field(default=None, description="Older")
    sort: MaybeText = Field(default=None, description="newest (the default) or relevance")
    limit: ResultLimit = Field(
        default=None, description=f"{DEFAULT_RESULTS} by default, {MAX_RESULTS} at most"
    )
    before: MaybeText = Field(default=None, description="The `next` of the answer before")
    versions: MaybeText = Field(
        default=None, description="all: former versions of documents, too; newest by default"
    )
    revisions: bool = Field(default=False, description="Former texts of edited messages, too")


class SearchResult(BaseModel):
    """One hit; which fields there are depends on its `type`.

    `highlights` are `[start, end]` in `snippet`, counted in code points.
    """

    type: Literal["message", "conversation", "document", "project"]
    snippet: str = Field(examples=["…写冒泡排序…"])
    highlights: list[list[int]] = Field(examples=[[[2, 6]]])
    field: str = Field(examples=["text"])
    score: float
    created_at: datetime
    project_id: int
    project_name: str
    conversation_id: str | None = None
    conversation_name: str | None = None
    message_id: int | None = None
    role: str | None = None
    model: str | None = None
    revision: int | None = None
    replaced_at: datetime | None = None
    status: int | None = None
    updated_at: datetime | None = None
    document_id: int | None = None
    filename: str | None = None
    version: int | None = None
    category_id: int | None = None
    more: int | None = None


class SearchOut(BaseModel):
    """Results; `complete: false` says that the time was up before all was looked through."""

    query: str
    terms: list[str] = Field(examples=[["冒泡", "排序"]])
    results: list[SearchResult]
    next: str | None
    complete: bool
    scanned: int
    took_ms: int
