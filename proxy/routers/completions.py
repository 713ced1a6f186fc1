"""`POST /v1/chat/completions`: OpenAI's call, stateless or with a conversation's memory."""

from typing import Any

from fastapi import Request, Response

from proxy.access.reply_slots import begins_reply
from proxy.caller import CallerInfo
from proxy.dialects.chat_completions.stateless import Answer, Call
from proxy.dialects.chat_completions.with_memory import conversation_of, format_of, new_turn
from proxy.schemas.common import ASKS_A_MODEL
from proxy.schemas.completions import (
    BOM,
    ChatCompletion,
    ChatCompletionCreate,
    read_body,
)
from proxy.settings import Settings
from proxy.streaming.delivery import deliver
from proxy.streaming.engine import Engine
from proxy.web.dependencies import Caller
from proxy.web.hot_path import check_is_json, idempotency_key
from proxy.web.routes import api_router
from proxy.web.state import state_of

router = api_router("/v1/chat/completions", tag="Chat completions")

PATH = router.prefix

_CHUNK = (
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1769860800,'
    '"model":"gpt-4o-mini","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n'
)
CHUNKS = (
    _CHUNK % ('{"role":"assistant","content":"Hel"}', "null")
    + _CHUNK % ('{"content":"lo!"}', "null")
    + _CHUNK % ("{}", '"stop"')
    + "data: [DONE]\n\n"
)
"""A chat completion as it is streamed."""

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
        **ASKS_A_MODEL,
        200: {
            "description": "A `chat.completion`, or with `stream` its chunks as server-sent events",
            "content": {"text/event-stream": {"example": CHUNKS}},
        },
    },
    openapi_extra=DESCRIPTION,
)
@begins_reply
async def create_completion(request: Request, caller: Caller) -> Response:
    """Every parameter is passed to the model's provider, and its answer comes back whole.

    With `conversation` (or the header `X-Conversation-Id`, or `metadata.conversation`) the
    messages are the new ones: history is added, the turn is stored, its ids are returned.
    """
    return await complete(request, await request.body(), caller)


async def complete(request: Request, raw: bytes, caller: CallerInfo) -> Response:
    """Answer a call whose body was read: `HotPath` serves it, ahead of FastAPI."""
    headers = request.scope["state"]["headers"]
    check_is_json(headers)
    state = state_of(request)
    engine: Engine = state.engine
    settings: Settings = state.settings
    engine.check_open()
    raw = raw.removeprefix(BOM)
    body = read_body(raw)
    conversation_id = conversation_of(body, headers)
    if conversation_id:
        turn = new_turn(body, idempotency_key(headers), headers)
        reply = await state.turns.begin(caller.owner, conversation_id, turn)
        return await deliver(
            request,
            engine,
            caller.owner,
            reply,
            format_of(reply, body),
            stream=bool(body.get("stream")),
            open_seconds=settings.stream_open_seconds,
            cancel_on_disconnect=body.get("on_disconnect") == "cancel",
        )
    routes = await state.registry.resolve(body.get("model") or "")
    return Answer(Call(caller.owner, body, raw, routes), engine, settings)
