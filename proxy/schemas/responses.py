"""Bodies of `/v1/responses`: read by hand, modelled for the documentation only."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from proxy.schemas.common import Body, ConversationId, MessageText, ModelName
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


ConversationKey = Annotated[str, Field(examples=["conv_7f9f2b1c-6a53-4c8e-9a55-0d8f0c1f5a4e"])]
ResponseId = Annotated[str, Field(examples=["resp_108_0"])]
ItemId = Annotated[str, Field(examples=["msg_108"])]
Metadata = Annotated[dict[str, str], Field(examples=[{"topic": "sorting"}])]

OUTPUT: list[JsonValue] = [
    {
        "id": "msg_108",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hello!", "annotations": []}],
    }
]
"""The example of what a model wrote."""


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

    model: ModelName | None = Field(
        default=None, description="A listed model, or `<provider>/<model>`"
    )
    input: str | list[dict[str, Any]] = Field(examples=["请用Java写冒泡排序"])
    instructions: str | None = Field(
        default=None, description="System text of this call alone", examples=["Answer in Chinese."]
    )
    previous_response_id: ResponseId | None = None
    conversation: ConversationKey | dict[str, Any] | None = None
    store: bool | None = True
    stream: bool | None = False
    background: bool | None = False
    tools: list[dict[str, Any]] | None = Field(default=None, examples=[[]])
    metadata: Metadata | None = None


class ResponseOut(BaseModel):
    """OpenAI's `response`; `conversation_id` is the conversation that it was stored in."""

    # As a whole: composed of the fields' examples, Swagger UI adds a made-up field wherever
    # others are allowed.
    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "id": "resp_108_0",
                    "object": "response",
                    "created_at": 1769860800,
                    "status": "completed",
                    "model": "gpt-4o-mini",
                    "output": OUTPUT,
                    "usage": {"input_tokens": 24, "output_tokens": 7, "total_tokens": 31},
                    "conversation_id": "7f9f2b1c-6a53-4c8e-9a55-0d8f0c1f5a4e",
                }
            ]
        },
    )

    id: ResponseId
    object: str = "response"
    created_at: int
    status: str
    model: ModelName
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None = None
    conversation_id: ConversationId | None = None


class Deleted(BaseModel):
    """`{"id", "object", "deleted": true}`."""

    id: ResponseId
    object: str = Field(examples=["response"])
    deleted: bool = True


class ItemList(BaseModel):
    """A page of items; `last_id` is where the next one begins."""

    object: str = "list"
    data: list[dict[str, Any]] = Field(examples=[OUTPUT])
    first_id: ItemId | None
    last_id: ItemId | None
    has_more: bool = Field(examples=[False])


class ItemUpdate(Body):
    """The new text of a message."""

    content: MessageText


class ConversationObject(BaseModel):
    """OpenAI's `conversation`."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "id": "conv_7f9f2b1c-6a53-4c8e-9a55-0d8f0c1f5a4e",
                    "object": "conversation",
                    "created_at": 1769860800,
                    "metadata": {"topic": "sorting"},
                }
            ]
        },
    )

    id: ConversationKey
    object: str = "conversation"
    created_at: int
    metadata: Metadata
