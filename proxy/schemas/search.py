"""Bodies of `/v1/search`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from proxy.documents.message import Role
from proxy.schemas.common import (
    EMPTY_IS_ABSENT,
    NOT_TRUTH,
    Body,
    CategoryId,
    ConversationId,
    ConversationName,
    DocumentFile,
    DocumentId,
    Integer,
    Label,
    MessageId,
    ModelLabel,
    ModelName,
    OptionalId,
    ProjectId,
    ProjectName,
    Text,
    Time,
    UtcTime,
)

DEFAULT_RESULTS = 20
MAX_RESULTS = 100
"""Of one answer; a larger `limit` is cut to it."""

NEXT = "eyJzdGFydCI6eyJtZXNzYWdlcyI6WzEwNywwXX19"
"""The example of what the next page of results is asked for with."""

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
        default="",
        description='Words (all of them), `"a phrase"`, `-not`, `this OR that`',
        examples=["冒泡 排序"],
    )
    in_: MaybeText = Field(
        default=None,
        alias="in",
        description="messages, reasoning, tools, conversations, documents, projects; separated "
        "by commas. All but reasoning and tools by default",
        examples=["messages,documents"],
    )
    project_id: OptionalId = Field(default=None, examples=[1])
    conversation_id: Annotated[Label | None, EMPTY_IS_ABSENT] = Field(
        default=None, examples=["7f9f2b1c-6a53-4c8e-9a55-0d8f0c1f5a4e"]
    )
    role: Annotated[Role | None, EMPTY_IS_ABSENT] = Field(
        default=None, description="Only messages of this role"
    )
    model: Annotated[ModelLabel | None, EMPTY_IS_ABSENT] = Field(
        default=None, description="Only messages that this model wrote"
    )
    status: Annotated[State | None, BeforeValidator(_as_text)] = Field(
        default=None,
        description="0 or 1: only conversations in use, or archived ones; else how a reply stands",
    )
    from_: Annotated[UtcTime | None, EMPTY_IS_ABSENT] = Field(
        default=None, alias="from", description="Not older", examples=["2026-01-01T00:00:00Z"]
    )
    to: Annotated[UtcTime | None, EMPTY_IS_ABSENT] = Field(
        default=None, description="Older", examples=["2026-02-01T00:00:00Z"]
    )
    sort: MaybeText = Field(
        default=None, description="newest (the default) or relevance", examples=["newest"]
    )
    limit: ResultLimit = Field(
        default=None,
        description=f"{DEFAULT_RESULTS} by default, {MAX_RESULTS} at most",
        examples=[DEFAULT_RESULTS],
    )
    before: MaybeText = Field(
        default=None, description="The `next` of the answer before", examples=[NEXT]
    )
    versions: MaybeText = Field(
        default=None,
        description="all: former versions of documents, too; newest by default",
        examples=["newest"],
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
    score: float = Field(examples=[1.7])
    created_at: Time
    project_id: ProjectId
    project_name: ProjectName
    conversation_id: ConversationId | None = None
    conversation_name: ConversationName | None = None
    message_id: MessageId | None = None
    role: str | None = Field(default=None, examples=["user"])
    model: ModelName | None = None
    revision: int | None = None
    replaced_at: Time | None = None
    status: int | None = None
    updated_at: Time | None = None
    document_id: DocumentId | None = None
    filename: DocumentFile | None = None
    version: int | None = Field(default=None, examples=[1])
    category_id: CategoryId | None = None
    more: int | None = None


class SearchOut(BaseModel):
    """Results; `complete: false` says that the time was up before all was looked through."""

    query: str = Field(examples=["冒泡 排序"])
    terms: list[str] = Field(examples=[["冒泡", "排序"]])
    results: list[SearchResult]
    next: str | None = Field(examples=[NEXT])
    complete: bool = Field(examples=[True])
    scanned: int = Field(examples=[5120])
    took_ms: int = Field(examples=[38])
