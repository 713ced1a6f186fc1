"""Bodies of `/v1/chat/completions`: read by hand, modelled for the documentation only."""

import json
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from proxy.errors import BadRequest
from proxy.schemas.common import (
    NOT_UTF8,
    ConversationId,
    MessageId,
    ModelName,
    ReplyId,
    TokenUsage,
)

MODEL_RULE = "must be the name of a model; GET /v1/models lists what there is"

MODEL_CHARACTERS = 500
"""The longest name of a model, here as in every other body."""


BOM = b"\xef\xbb\xbf"
"""What some editors and Windows programs put in front of UTF-8; it says nothing."""


def read_object(raw: bytes) -> dict[str, Any]:
    """Read a body that must be one JSON object.

    Raises:
        BadRequest: it is not.
    """
    try:
        body = orjson.loads(raw.removeprefix(BOM))
    except orjson.JSONDecodeError:
        raise BadRequest(why_unreadable(raw), code="invalid_json") from None
    if not isinstance(body, dict):
        raise BadRequest("The request body must be a JSON object", code="invalid_json")
    return body


def read_body(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a chat completion call; only what is ours to know is checked.

    Raises:
        BadRequest: one sentence that names what is wrong.
    """
    body = read_object(raw)
    check_model(body.get("model"))
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong("messages", "must be a list of at least one message")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise wrong(f"messages[{index}]", "must be an object with a role and a content")
    _check_stream(body)
    return body


def read_passed(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a call that is passed on as it is.

    Raises:
        BadRequest: one sentence that names what is wrong.
    """
    body = read_object(raw)
    check_model(body.get("model"))
    _check_stream(body)
    return body


def check_model(model: Any) -> None:
    """Refuse what is no name of a model.

    Raises:
        BadRequest: it is none.
    """
    if model is not None and (
        not isinstance(model, str) or len(model) > MODEL_CHARACTERS or "\x00" in model
    ):
        raise wrong("model", MODEL_RULE)


def _check_stream(body: dict[str, Any]) -> None:
    if body.get("stream") not in (None, True, False):
        raise wrong("stream", "must be true or false")


def wrong(parameter: str, rule: str) -> BadRequest:
    """Return the 400 that names a parameter, as OpenAI's API does."""
    return BadRequest(f"{parameter}: {rule}", param=parameter, code="invalid_value")


def why_unreadable(raw: bytes) -> str:
    """Return what is wrong with a body that is no JSON, in one sentence."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    if b"\\u" in raw:
        try:
            json.loads(raw)
        except (ValueError, RecursionError):
            pass
        else:
            return (
                "The request body holds half of a surrogate pair, which is not a character; "
                "a text was probably cut inside an emoji"
            )
    return "The request body is not valid JSON"


class ChatCompletionCreate(BaseModel):
    """OpenAI's chat completion call; every parameter that is not listed is passed through."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "model": "gpt-4o-mini",
                    "messages": [{"role": "user", "content": "Hello!"}],
                    "stream": False,
                },
                {
                    "model": "gpt-4o-mini",
                    "conversation": "7f9f2b1c-6a53-4c8e-9a55-0d8f0c1f5a4e",
                    "messages": [{"role": "user", "content": "And what did I say before?"}],
                },
            ]
        },
    )

    model: str | None = Field(
        default=None,
        description="A listed model, or `<provider>/<model>`; absent, null, empty and `default` "
        "mean the default model",
        examples=["gpt-4o-mini"],
    )
    messages: list[dict[str, Any]] = Field(
        min_length=1,
        description="All messages; with a conversation only the new ones, its history is added",
        examples=[[{"role": "user", "content": "Hello!"}]],
    )
    stream: bool | None = None
    conversation: ConversationId | None = Field(
        default=None, description="The id of a conversation whose memory is used and kept"
    )
    on_disconnect: str | None = Field(
        default=None,
        description="With a conversation: `continue` (default) writes the reply to its end when "
        "the client is lost, `cancel` ends it",
        examples=["continue"],
    )


class ChatCompletion(BaseModel):
    """OpenAI's `chat.completion`; with a conversation the three ids are there besides."""

    # As a whole: composed of the fields' examples, Swagger UI adds a made-up field wherever
    # others are allowed.
    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "id": "chatcmpl-108",
                    "object": "chat.completion",
                    "created": 1769860800,
                    "model": "gpt-4o-mini",
                    "choices": [
                        {
                            "index": 0,
                            "message": {"role": "assistant", "content": "Hello!"},
                            "finish_reason": "stop",
                        }
                    ],
                    "usage": {"prompt_tokens": 24, "completion_tokens": 7, "total_tokens": 31},
                    "conversation_id": "7f9f2b1c-6a53-4c8e-9a55-0d8f0c1f5a4e",
                    "user_message_id": 107,
                    "assistant_message_id": 108,
                }
            ]
        },
    )

    id: str
    object: str = "chat.completion"
    created: int
    model: ModelName
    choices: list[dict[str, Any]]
    usage: TokenUsage | None = None
    conversation_id: ConversationId | None = None
    user_message_id: MessageId | None = None
    assistant_message_id: ReplyId | None = None
