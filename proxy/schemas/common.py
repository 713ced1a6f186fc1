"""Types that many bodies share."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from proxy.documents.base import MAX_ID, as_utc
from proxy.errors import Unprocessable

NOT_UTF8 = "The request body is not UTF-8; send the JSON encoded as UTF-8"

HALF_A_CHARACTER = "must be valid Unicode; it holds half of a surrogate pair"


def clean(value: str) -> str:
    """Refuse what cannot be stored: NUL, and halves of characters."""
    if "\x00" in value:
        raise ValueError("must not contain NUL characters; remove them and send it again")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(HALF_A_CHARACTER) from None
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


Text = Annotated[str, AfterValidator(clean)]
"""Any text without NUL and without halves of characters."""

FilledText = Annotated[str, AfterValidator(clean), AfterValidator(_not_blank)]
"""Text with something to read in it."""

Label = Annotated[str, StringConstraints(max_length=500), AfterValidator(clean)]
"""A short text: a name, a model, a role; 500 characters at most."""

NOT_TRUTH = BeforeValidator(_no_truth)
"""For a number of a body; pydantic alone takes `true` for 1."""

Integer = Annotated[int, NOT_TRUTH]

Id = Annotated[Integer, Field(ge=1, le=MAX_ID)]
"""An id from a counter."""

ProjectLabel = Annotated[Integer, Field(ge=0, le=MAX_ID)]
"""A project id, or 0 for none."""

EMPTY_IS_ABSENT = BeforeValidator(lambda value: value or None)
"""For a parameter of a query string that clients send whether or not it is filled in."""

OptionalId = Annotated[ProjectLabel | None, EMPTY_IS_ABSENT]
"""A number in a query string; an empty one counts as absent."""

Limit = Annotated[Annotated[int, Field(ge=1, le=10_000)] | None, EMPTY_IS_ABSENT]
"""How many entries of a list, in a query string."""

UtcTime = Annotated[datetime, AfterValidator(as_utc)]
"""ISO 8601; a naive time is UTC."""


# Fields of many bodies, with an example; a request adds its limits where it is read.
ConversationId = Annotated[str, Field(examples=["7f9f2b1c-6a53-4c8e-9a55-0d8f0c1f5a4e"])]
MessageId = Annotated[int, Field(examples=[107])]
ReplyId = Annotated[int, Field(examples=[108])]
ProjectId = Annotated[int, Field(examples=[1])]
CategoryId = Annotated[int, Field(examples=[2])]
DocumentId = Annotated[int, Field(examples=[205])]
ConversationName = Annotated[str, Field(examples=["Sorting"])]
ProjectName = Annotated[str, Field(examples=["后端"])]
DocumentFile = Annotated[str, Field(examples=["新方案设计.md"])]
ModelName = Annotated[str, Field(examples=["gpt-4o-mini"])]
ModelLabel = Annotated[Label, Field(examples=["gpt-4o-mini"])]
ProviderName = Annotated[str, Field(examples=["openai"])]
FinishReason = Annotated[str, Field(examples=["stop"])]
OwnerId = Annotated[str, Field(examples=["default"])]
Scopes = Annotated[list[str], Field(examples=[["chat", "plan", "project"]])]
Time = Annotated[datetime, Field(examples=["2026-01-31T12:00:00Z"])]

MessageText = Annotated[FilledText, Field(examples=["请用Java写冒泡排序"])]
"""A message as it is sent."""

TokenUsage = Annotated[
    dict[str, Any],
    Field(examples=[{"prompt_tokens": 24, "completion_tokens": 7, "total_tokens": 31}]),
]
"""Of a reply, as OpenAI counts."""

AttachedSource = Annotated[
    dict[str, Any], Field(examples=[{"sha256": "9f86d081…", "files": 12, "tokens": 8431}])
]
"""What was attached of a project's source code."""


class Body(BaseModel):
    """The base of request bodies: unknown keys are let through, types are not guessed.

    A key that begins with `$` is refused: nobody sends one who does not mean an operator.
    A null counts as absent where a field may be absent: many clients write out every field.
    """

    model_config = ConfigDict(extra="ignore", strict=False)

    @model_validator(mode="before")
    @classmethod
    def _what_was_meant(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for key in data:
            if isinstance(key, str) and key.startswith("$"):
                raise ValueError("keys must not begin with '$'")
        if None not in data.values():
            return data
        needed = {name for name, field in cls.model_fields.items() if field.is_required()}
        return {key: value for key, value in data.items() if value is not None or key in needed}


FRAMES = (
    'data: {"user_message_id":107,"assistant_message_id":108,'
    '"conversation_id":"7f9f2b1c-6a53-4c8e-9a55-0d8f0c1f5a4e","session_id":"108"}\n\n'
    'data: {"content":"public class "}\n\n'
    'data: {"content":"BubbleSort { … }"}\n\n'
    'data: {"content":"","finish_reason":"stop"}\n\n'
    "data: [DONE]\n\n"
)
"""A reply as it is streamed."""

OR_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"example": FRAMES}}}
}
"""For a route's `responses`: with `stream` the answer is server-sent events."""

ASKS_A_MODEL: dict[int | str, dict[str, Any]] = {
    **OR_EVENTS,
    402: {"description": "The account at the model's provider has no credit left"},
    502: {"description": "The model's provider failed, or rejects this server's key"},
    504: {"description": "The model's provider did not answer in time"},
}
"""For a route's `responses`: how a provider can fail before the reply begins."""


Fields = Annotated[
    str,
    Field(max_length=1000, description="Only these, comma-separated: `id,name,updated_at`"),
]
"""Which fields of a list's entries are wanted, in a query string."""


def picker(fields: str, known: type[BaseModel]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what leaves only the wanted fields of a list's entry; everything without any.

    Raises:
        Unprocessable: there is no field of such a name.
    """
    names = {name for part in fields.split(",") if (name := part.strip())}
    if unknown := names - known.model_fields.keys():
        raise Unprocessable(
            f"fields: there is no field {min(unknown)[:100]!r}; there are "
            f"{', '.join(known.model_fields)}",
            param="fields",
        )
    if not names:
        return lambda row: row
    return lambda row: {name: value for name, value in row.items() if name in names}


def picked(rows: list[dict[str, Any]], fields: str, known: type[BaseModel]) -> list[dict[str, Any]]:
    """Return only the wanted fields of a list's entries; see `picker`."""
    return list(map(picker(fields, known), rows))


class Done(BaseModel):
    """`{"message": "Conversation deleted"}`."""

    message: str = Field(examples=["Conversation updated"])


class ErrorDetail(BaseModel):
    """OpenAI's error object."""

    message: str = Field(examples=["Conversation not found"])
    type: str = Field(examples=["not_found_error"])
    code: str | None = None
    param: str | None = None


class ErrorBody(BaseModel):
    """What every failure looks like: a sentence for a person, and OpenAI's error object."""

    detail: str = Field(examples=["Conversation not found"])
    message: str = Field(examples=["Conversation not found"], description="The same sentence")
    error: ErrorDetail
    errors: list[dict[str, Any]] | None = None
