"""`POST /v1/chat/completions`: OpenAI's call, stateless or with a conversation's memory."""

from typing import Any

from fastapi import APIRouter, Request, Response

from proxy.completions import Answer, Call
from proxy.dependencies import Caller, engine_of, registry_of, settings_of, turns_of
from proxy.errors import BadRequest, UnsupportedMediaType
from proxy.handlers import sends_json
from proxy.remembered import answer, conversation_of, new_turn
from proxy.schemas.completions import (
    MODEL_RULE,
    ChatCompletion,
    ChatCompletionCreate,
    read_body,
    wrong,
)

router = APIRouter(prefix="/chat/completions", tags=["Chat completions"])

IDEMPOTENCY_KEY_CHARACTERS = 255

# Written by hand: a body model and header parameters would be validated on the hot path.
DESCRIPTION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": ChatCompletionCreate.model_json_schema()}},
    },
    "parameters": [
        {
            "name": name,
            "in": "header",
            "required": False,
            "description": text,
            "schema": {"type": "string"},
        }
        for name, text in (
            ("X-Conversation-Id", "The conversation, for clients that cannot add to the body"),
            ("Idempotency-Key", "With a conversation: the same key and body happen once"),
        )
    ],
}


@router.post(
    "",
    summary="Chat completion, as OpenAI's API has it",
    response_model=ChatCompletion,
    responses={
        200: {
            "description": "A `chat.completion`, or with `stream` its chunks as server-sent events",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
    openapi_extra=DESCRIPTION,
)
async def create_completion(request: Request, caller: Caller) -> Response:
    """Every parameter is passed to the model's provider, and its answer comes back whole.

    With `conversation` (or the header `X-Conversation-Id`, or `metadata.conversation`) the
    messages are the new ones: history is added, the turn is stored, its ids are returned.
    """
    if not sends_json(request):
        raise UnsupportedMediaType
    engine, settings = engine_of(request), settings_of(request)
    engine.check_open()
    raw = await request.body()
    body = read_body(raw)
    conversation_id = conversation_of(body, request.headers)
    if conversation_id:
        key = _idempotency_key(request)
        reply = await turns_of(request).begin(caller.owner, conversation_id, new_turn(body, key))
        return await answer(engine, caller.owner, reply, body, settings)
    if not body.get("model"):
        raise wrong("model", MODEL_RULE)
    routes = await registry_of(request).resolve(body["model"])
    return Answer(Call(caller.owner, body, raw, routes), engine, settings)


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= IDEMPOTENCY_KEY_CHARACTERS:
        raise BadRequest(f"Idempotency-Key: at most {IDEMPOTENCY_KEY_CHARACTERS} characters")
    return key
