"""`/v1/responses`: OpenAI's present API, on the conversations that everything else uses."""

import contextlib
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response, WebSocket

from proxy.access.reply_slots import begins_reply
from proxy.caller import CallerInfo
from proxy.dialects.responses import stateless
from proxy.dialects.responses.answer import (
    Found,
    answer,
    earlier_reply,
    follow,
    is_repeated,
    keep_request,
    page_of,
)
from proxy.dialects.responses.call import Call, in_own_names, read_call
from proxy.dialects.responses.compaction import compacted
from proxy.dialects.responses.ids import (
    PREVIOUS,
    no_conversation,
    no_item,
    no_response,
    read_item_id,
    read_response_id,
)
from proxy.dialects.responses.items import items_of
from proxy.dialects.responses.numbering import FROM_THE_START
from proxy.dialects.responses.passed import PassedAnswer, StatelessCall
from proxy.dialects.responses.relay import can_pass
from proxy.dialects.responses.threads import thread_of, turn_in_thread
from proxy.dialects.responses.turn import chat_messages, new_turn, resolved, with_history
from proxy.dialects.responses.websocket import WARMS_UP, ResponseSocket
from proxy.documents.base import MAX_ID
from proxy.documents.conversation import Conversation, ConversationNotFound
from proxy.documents.message_location import MessageNotFound
from proxy.errors import BadRequest, ProxyError
from proxy.providers.base import Accepts
from proxy.responses import Json
from proxy.routers.messages import IdempotencyKey
from proxy.schemas.common import ASKS_A_MODEL
from proxy.schemas.completions import BOM, MODEL_RULE, wrong
from proxy.schemas.responses import (
    Deleted,
    ItemList,
    ResponseCreate,
    ResponseOut,
    read_response_body,
)
from proxy.streaming.engine import StreamSessionNotFound
from proxy.streaming.reply import fingerprint
from proxy.tokenizer.tokens import token_counts
from proxy.web.dependencies import Caller, ReasoningSealer, ReplyEngine
from proxy.web.hot_path import check_is_json
from proxy.web.hot_path import idempotency_key as idempotency_key_of
from proxy.web.routes import api_router
from proxy.web.state import ServerState, server_state, state_of

router = api_router("/v1/responses", tag="Responses")

PATH = router.prefix

EVENTS = (
    'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_108_0",'
    '"object":"response","status":"in_progress"},"sequence_number":0}\n\n'
    'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
    '"item_id":"msg_108","output_index":0,"content_index":0,"delta":"Hi","logprobs":[],'
    '"sequence_number":5}\n\n'
    "data: [DONE]\n\n"
)
"""A response as it is streamed, cut short."""

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": ResponseCreate.model_json_schema()}},
    }
}

PageLimit = Annotated[int, Query(ge=1, le=100)]
Order = Annotated[Literal["asc", "desc"], Query()]
Include = Annotated[list[str] | None, Query(alias="include[]")]


@router.post(
    "",
    summary="Create a response, as OpenAI's API has it",
    response_model=ResponseOut,
    responses={
        **ASKS_A_MODEL,
        200: {
            "description": "A `response`, or with `stream` its events as server-sent events",
            "content": {"text/event-stream": {"example": EVENTS}},
        },
    },
    openapi_extra=BODY,
)
@begins_reply
async def create_response(
    request: Request, caller: Caller, idempotency_key: IdempotencyKey = None
) -> Response:
    """With `store` (the default) it is a turn of a conversation, a new one where none is named."""
    return await respond(request, await request.body(), caller)


@router.websocket("")
async def open_response_socket(socket: WebSocket) -> None:
    """Answer `response.create` messages until the client leaves."""
    await ResponseSocket(socket, server_state(socket.scope).settings).serve()


async def respond(request: Request, raw: bytes, caller: CallerInfo) -> Response:
    """Answer a call whose body was read: `HotPath` serves it, ahead of FastAPI."""
    raw = raw.removeprefix(BOM)
    body = _read(request, raw)
    call = read_call(body, state_of(request).sealer.unseal)
    try:
        return await _respond(request, body, raw, caller, call)
    except MessageNotFound:
        raise no_response(str(call.previous), param=PREVIOUS) from None
    except ConversationNotFound:
        raise no_conversation(call.conversation_id, param="conversation") from None
    except ProxyError as error:
        raise in_own_names(error) from error.__cause__


async def _respond(
    request: Request, body: dict[str, Any], raw: bytes, caller: CallerInfo, call: Call
) -> Response:
    state = state_of(request)
    state.engine.check_open()
    if request.scope["state"].get(WARMS_UP):
        await state.registry.resolve(call.model)
        return stateless.warmed_up(call)
    call = await _accepted(state, call)
    if not call.is_stored:
        if not call.model:
            raise wrong("model", MODEL_RULE)
        thread = thread_of(request.headers) if caller.remembers_unstored else ""
        if not thread or call.previous is not None:
            return await _unstored(request, raw, caller.owner, call)
    messages = await resolved(caller.owner, call)
    if not call.is_stored:
        conversation_id, turn = await turn_in_thread(caller.owner, thread, call, messages)
        reply, asked = await state.turns.begin(caller.owner, conversation_id, turn), ""
    else:
        key = idempotency_key_of(request.scope["state"]["headers"])
        asked = fingerprint(body, key)
        earlier = None
        if is_repeated(request, call, key):
            earlier = await earlier_reply(state.engine, caller.owner, asked)
        reply = earlier or await state.turns.begin(
            caller.owner,
            call.conversation_id,
            new_turn(call, messages, idempotency_key=key, fingerprint=asked),
        )
    if not reply.joined:
        await keep_request(caller.owner, reply, call, asked)
    return await answer(
        request, state.engine, caller.owner, reply, call, state.settings, state.sealer
    )


async def _accepted(state: ServerState, call: Call) -> Call:
    """Return a call without what the providers of its model do not know."""
    if not (call.model and (call.has_verbosity or call.wants_logprobs)):
        return call
    routes = await state.registry.resolve(call.model)
    accepts = [getattr(route.provider, "accepts", Accepts()) for route in routes]
    if call.has_verbosity and not any(each.verbosity for each in accepts):
        call = call.without_verbosity()
    if call.wants_logprobs and not all(each.logprobs for each in accepts):
        call = call.without_logprobs()
    return call


async def _unstored(request: Request, raw: bytes, owner: str, call: Call) -> Response:
    """Return the answer to a call that nobody keeps, from a native upstream as it comes."""
    state = state_of(request)
    routes = await state.registry.resolve(call.model)
    sealer, compose = state.sealer, state.turns.compose
    is_native = any(route.is_native for route in routes)
    if is_native and call.previous is None and can_pass(call.body, sealer.unseal):
        asked_for = StatelessCall(owner, call, raw, routes, sealer, compose)
        return PassedAnswer(asked_for, state.engine, state.settings)
    shown = await with_history(owner, call, await resolved(owner, call))
    return await stateless.answer(
        request, state.engine, owner, call, shown, routes, state.settings, sealer, compose
    )


@router.post(
    "/input_tokens",
    summary="Count the tokens of an input",
    response_model=dict[str, Any],
    openapi_extra=BODY,
)
async def count_response_tokens(request: Request, caller: Caller, sealer: ReasoningSealer) -> Json:
    """Return what the input and the instructions come to.

    A history that is not sent is not counted.
    """
    body = _read(request, await request.body(), needs_input=False)
    call = read_call(body, sealer.unseal)
    messages = chat_messages(call, await resolved(caller.owner, call))
    texts = [str(message.get("content") or "") for message in messages]
    texts += [str(tool) for tool in call.tools.functions]
    tokens = sum(await token_counts(texts)) + 4 * len(messages)
    return Json({"object": "response.input_tokens", "input_tokens": tokens})


@router.post(
    "/compact",
    summary="Sum up a history",
    response_model=dict[str, Any],
    responses={status: said for status, said in ASKS_A_MODEL.items() if status != 200},
    openapi_extra=BODY,
)
@begins_reply
async def compact_response(request: Request, caller: Caller) -> Json:
    """Return what the user said and a sealed summary, which stand for all that was said.

    The output is the beginning of the next call's input; nothing is stored.
    """
    state = state_of(request)
    body = {**_read(request, await request.body()), "store": False}
    call = read_call(body, state.sealer.unseal)
    if not call.model:
        raise wrong("model", MODEL_RULE)
    routes = await state.registry.resolve(call.model)
    shown = await with_history(caller.owner, call, await resolved(caller.owner, call))
    found = await compacted(
        request,
        state.engine,
        caller.owner,
        call,
        shown,
        routes,
        state.sealer,
        state.turns.compose,
    )
    return Json(found)


@router.get(
    "/{response_id}",
    summary="Get a response, or join its stream",
    response_model=ResponseOut,
    responses={200: {"content": {"text/event-stream": {"example": EVENTS}}}},
)
async def get_response(
    response_id: str,
    caller: Caller,
    engine: ReplyEngine,
    sealer: ReasoningSealer,
    stream: bool = False,
    starting_after: Annotated[int | None, Query(ge=FROM_THE_START, le=MAX_ID)] = None,
    include: Include = None,
) -> Response:
    """At any age; with `stream`, only the events behind `starting_after`."""
    found = await Found.find(caller.owner, read_response_id(response_id))
    if stream:
        after = FROM_THE_START if starting_after is None else starting_after
        return follow(engine, caller.owner, found, sealer, after, include or ())
    return Json(found.response(sealer, include or ()))


@router.delete("/{response_id}", summary="Delete a response", response_model=Deleted)
async def delete_response(response_id: str, caller: Caller, engine: ReplyEngine) -> Json:
    """Return the reply and what its call brought are deleted; the conversation stays."""
    found = await Found.find(caller.owner, read_response_id(response_id))
    ids = [found.message["id"]]
    if found.request.ids is not None:
        first, last = found.request.ids
        ids += range(first, last + 1)
    await engine.delete(caller.owner, ids)
    return Json({"id": response_id, "object": "response", "deleted": True})


@router.post("/{response_id}/cancel", summary="Cancel a response", response_model=ResponseOut)
async def cancel_response(
    response_id: str, caller: Caller, engine: ReplyEngine, sealer: ReasoningSealer
) -> Json:
    """One that is being written, wherever; the text so far is kept. Twice is a success."""
    id_ = read_response_id(response_id)
    found = await Found.find(caller.owner, id_)
    if found.is_running:
        # It may end in between.
        with contextlib.suppress(StreamSessionNotFound):
            await engine.stop(caller.owner, id_.message_id)
        found = await Found.find(caller.owner, id_)
    elif found.message.get("status") != "stopped":
        raise BadRequest("Cannot cancel a response that has ended", code="response_ended")
    return Json(found.response(sealer))


@router.get("/{response_id}/input_items", summary="List input items", response_model=ItemList)
async def list_input_items(
    response_id: str,
    caller: Caller,
    after: str | None = None,
    limit: PageLimit = 20,
    order: Order = "desc",
) -> Json:
    """Return what the call itself brought, not the history before it; newest first by default."""
    found = await Found.find(caller.owner, read_response_id(response_id))
    first, last = found.request.ids or (0, 0)
    if not first and found.message.get("reply_to"):
        first = last = found.message["reply_to"]
    messages = await Conversation.history_before(
        caller.owner,
        found.conversation_id,
        before=found.message["id"],
        limit=last - first + 2,
    )
    items = [item for m in messages if first <= m["id"] <= last for item in items_of(m)]
    if order == "desc":
        items.reverse()
    if after is not None:
        ids = [item["id"] for item in items]
        if read_item_id(after) is None or after not in ids:
            raise no_item(after, param="after")
        items = items[ids.index(after) + 1 :]
    return Json(page_of(items[:limit], len(items) > limit))


def _read(request: Request, raw: bytes, *, needs_input: bool = True) -> dict[str, Any]:
    check_is_json(request.scope["state"]["headers"])
    return read_response_body(raw, needs_input=needs_input)
