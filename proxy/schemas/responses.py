"""Bodies of `/v1/responses`: read by hand, modelled for the documentation only."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from proxy.schemas.common import Body, FilledText
from proxy.schemas.completions import MODEL_CHARACTERS, MODEL_RULE, read_object, wrong

METADATA_PAIRS = 16
METADATA_KEY_CHARACTERS = 64
METADATA_VALUE_CHARACTERS = 512

_FLAGS = ("stream", "store", "background", "parallel_tool_calls")
_NUMBERS = {"temperature": (0, 2), "top_p": (0, 1)}
_COUNTS = ("max_output_tokens", "max_tool_calls")
_TEXTS = (
    *("instructions", "previous_response_id", "user", "safety_identifier"),
    *("prompt_cache_key", "service_tier"),
)
_INNER_TEXTS = (("reasoning", "effort"), ("reasoning", "summary"), ("text", "verbosity"))
_OBJECTS = ("text", "reasoning", "metadata", "prompt", "stream_options")


def read_response_body(raw: bytes, *, needs_input: bool = True) -> dict[str, Any]:
    """Read the JSON object of a call; what no upstream is asked about is checked here.

    Raises:
        BadRequest: one sentence that names what is wrong.
    """
    body = read_object(raw)
    model = body.get("model")
    if model is not None and (
        not isinstance(model, str) or len(model) > MODEL_CHARACTERS or "\x00" in model
    ):
        raise wrong("model", MODEL_RULE)
    if needs_input and body.get("input") in (None, "", []):
        raise wrong("input", "must be a text or a list of at least one item")
    for name in _FLAGS:
        if body.get(name) not in (None, True, False):
            raise wrong(name, "must be true or false")
    for name in _TEXTS:
        if not isinstance(body.get(name), str | None):
            raise wrong(name, "must be a text")
    _check_numbers(body)
    for name in _OBJECTS:
        if not isinstance(body.get(name), dict | None):
            raise wrong(name, "must be an object")
    for name, inner in _INNER_TEXTS:
        if not isinstance((body.get(name) or {}).get(inner), str | None):
            raise wrong(f"{name}.{inner}", "must be a text")
    if body.get("truncation") not in (None, "auto", "disabled"):
        raise wrong("truncation", "must be auto or disabled")
    include = body.get("include")
    if include is not None and not (
        isinstance(include, list) and all(isinstance(each, str) for each in include)
    ):
        raise wrong("include", "must be a list of texts")
    check_metadata(body.get("metadata"))
    return body


def _check_numbers(body: dict[str, Any]) -> None:
    for name, (low, high) in _NUMBERS.items():
        value = body.get(name)
        if value is not None and (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise wrong(name, f"must be a number between {low} and {high}")
    for name in _COUNTS:
        value = body.get(name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or value < 1
        ):
            raise wrong(name, "must be a positive integer")


def check_metadata(metadata: Any) -> None:
    """Check that metadata are a few short texts under short names.

    Raises:
        BadRequest: one sentence that says which bound it breaks.
    """
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        raise wrong("metadata", "must be an object of texts")
    if len(metadata) > METADATA_PAIRS:
        raise wrong("metadata", f"must have at most {METADATA_PAIRS} pairs")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise wrong(f"metadata.{key[:64]}", "must be a text")
        if len(key) > METADATA_KEY_CHARACTERS or len(value) > METADATA_VALUE_CHARACTERS:
            raise wrong(
                "metadata",
                f"keys have at most {METADATA_KEY_CHARACTERS} characters, "
                f"values {METADATA_VALUE_CHARACTERS}",
            )
        if "\x00" in key or "\x00" in value:
            raise wrong("metadata", "must not contain NUL characters")


class ResponseCreate(BaseModel):
    """OpenAI's Responses call; `docs/responses.md` says what becomes of every field."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {"model": "gpt-4o-mini", "input": "请用Java写冒泡排序"},
                {
                    "model": "gpt-4o-mini",
                    "previous_response_id": "resp_108_0",
                    "input": [{"role": "user", "content": "And in Rust?"}],
                    "stream": True,
                },
            ]
        },
    )

    model: str | None = Field(default=None, description="A listed model, or `<provider>/<model>`")
    input: str | list[dict[str, Any]]
    instructions: str | None = Field(default=None, description="System text of this call alone")
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    store: bool | None = True
    stream: bool | None = False
    background: bool | None = False
    tools: list[dict[str, Any]] | None = None
    metadata: dict[str, str] | None = None


class ResponseOut(BaseModel):
    """OpenAI's `response`; `conversation_id` is the conversation that it was stored in."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: str = "response"
    created_at: int
    status: str
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None = None
    conversation_id: str | None = None


class Deleted(BaseModel):
    """`{"id", "object", "deleted": true}`."""

    id: str
    object: str
    deleted: bool = True


class ItemList(BaseModel):
    """A page of items; `last_id` is where the next one begins."""

    object: str = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ItemUpdate(Body):
    """The new text of a message."""

    content: FilledText


class ConversationObject(BaseModel):
    """OpenAI's `conversation`."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: str = "conversation"
    created_at: int
    metadata: dict[str, str]
