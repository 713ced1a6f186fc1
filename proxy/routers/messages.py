"""Messages and replies: turns, history, edits, stop, resume, regenerate."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import Header, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from proxy.access.reply_slots import begins_reply
from proxy.dialects.messages import MessageFormat
from proxy.documents.base import MAX_ID, Raw
from proxy.documents.chat_message import ChatMessage
from proxy.documents.conversation import Conversation
from proxy.documents.message import StoredMessage, wire, with_error_as_text
from proxy.documents.message_location import LocatedMessage, edit_message
from proxy.documents.message_parts import SHOWN_TYPES, content_of, parts_of
from proxy.documents.message_revision import list_revisions
from proxy.errors import NotFound, TooLarge, Unprocessable
from proxy.responses import EventStream, Json, dumps, json_stream
from proxy.routers.conversations import ConversationId
from proxy.schemas.common import (
    ASKS_A_MODEL,
    EMPTY_IS_ABSENT,
    OR_EVENTS,
    Done,
    Fields,
    Id,
    Limit,
    picker,
)
from proxy.schemas.messages import (
    MessageCreate,
    MessageDetail,
    MessageList,
    MessageOut,
    MessagesDelete,
    MessageUpdate,
    ReplyOptions,
    ReplyOut,
    StreamStop,
    StreamStopped,
)
from proxy.streaming.delivery import deliver, reply_frames
from proxy.streaming.engine import StreamSessionNotFound
from proxy.streaming.reply import Reply, fingerprint
from proxy.turns.turn import RETRY_HEADER, NewTurn
from proxy.web.dependencies import AppSettings, Caller, PathId, ReplyEngine
from proxy.web.routes import api_router
from proxy.web.state import state_of

router = api_router("/v1/chat", tag="Messages")

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="The same key with the same body happens once and answers the same",
    ),
]


@router.get(
    "/conversations/{conversation_id}/messages",
    response_model=MessageList,
    summary="List a conversation's messages",
)
async def list_messages(
    conversation_id: ConversationId,
    caller: Caller,
    settings: AppSettings,
    limit: Annotated[Limit, Query(description="The newest ones")] = None,
    before: Annotated[Id | None, EMPTY_IS_ABSENT, Query(description="A message id")] = None,
    after: Annotated[Id | None, EMPTY_IS_ABSENT, Query(description="A message id")] = None,
    fields: Annotated[Fields, Query()] = "",
) -> Response:
    """In order; all of them unless `limit`, `before` or `after` ask for a part.

    `limit` gives the newest, with `after` those that follow it.
    """
    pick = picker(fields, MessageOut)
    whole = with_error_as_text if settings.show_errors_as_text else wire

    def shown(message: StoredMessage) -> Raw:
        return pick(whole(message))

    if after is not None:
        if before is not None:
            raise Unprocessable("after: send either 'before' or 'after'", param="after")
        messages = await Conversation.history_after(
            caller.owner,
            conversation_id,
            after=after,
            limit=min(limit or MAX_ID, settings.page_messages),
        )
        return Json({"conversation_id": conversation_id, "messages": [shown(m) for m in messages]})
    if limit is not None or before is not None:
        messages = await Conversation.history_before(
            caller.owner,
            conversation_id,
            before=before,
            limit=min(limit or MAX_ID, settings.page_messages),
        )
        return Json({"conversation_id": conversation_id, "messages": [shown(m) for m in messages]})
    return await json_stream(
        b'{"conversation_id":' + dumps(conversation_id) + b',"messages":[',
        _encoded(Conversation.history(caller.owner, conversation_id), shown),
        b"]}",
    )


async def _encoded(
    parts: AsyncIterator[list[StoredMessage]], shown: Callable[[StoredMessage], Raw]
) -> AsyncIterator[bytes]:
    async for part in parts:
        yield dumps([shown(message) for message in part])[1:-1]


@router.post(
    "/conversations/{conversation_id}/messages",
    response_model=ReplyOut,
    summary="Send a message and get the reply",
    responses=ASKS_A_MODEL,
)
@begins_reply
async def create_message(
    request: Request,
    conversation_id: ConversationId,
    body: MessageCreate,
    caller: Caller,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Store the message, then ask the model; with `stream` the reply comes as events."""
    retries = request.headers.get(RETRY_HEADER)
    reply = await state_of(request).turns.begin(
        caller.owner,
        conversation_id,
        NewTurn(
            messages=(ChatMessage(body.role, body.content),),
            model=body.model or "",
            documents=body.documents,
            system_prompt_append=body.system_prompt_append,
            source=body.source,
            idempotency_key=idempotency_key,
            fingerprint=(
                fingerprint(body.model_dump()) if idempotency_key or retries is not None else ""
            ),
            is_retry=idempotency_key is None and retries not in (None, "0"),
        ),
    )
    return await _answer(request, caller.owner, reply, body)


async def _answer(request: Request, owner: str, reply: Reply, options: ReplyOptions) -> Response:
    """Return a reply as the client asked for it."""
    # Each part of the server that FastAPI injects costs a turn 14 µs.
    state = state_of(request)
    return await deliver(
        request,
        state.engine,
        owner,
        reply,
        MessageFormat(reply),
        stream=options.stream,
        open_seconds=state.settings.stream_open_seconds,
        accept_replace=options.accept_replace,
        cancel_on_disconnect=options.on_disconnect == "cancel",
    )


@router.post("/stop-stream", response_model=StreamStopped, summary="Stop a stream")
async def stop_stream(body: StreamStop, caller: Caller, engine: ReplyEngine) -> Json:
    """Close the upstream connection; the text so far is kept."""
    session = str(body.session_id)
    if not session.isdecimal() or not 0 < int(session) <= MAX_ID:
        raise StreamSessionNotFound
    await engine.stop(caller.owner, int(session))
    return Json({"message": "Stream stopped", "session_id": session})


@router.post("/messages/delete", response_model=Done, summary="Delete messages")
async def delete_messages(body: MessagesDelete, caller: Caller, engine: ReplyEngine) -> Json:
    """One or many, of any conversations; says how many there were."""
    deleted = await engine.delete(caller.owner, body.message_ids)
    return Json({"message": f"{deleted} messages deleted"})


@router.get(
    "/messages/{message_id}",
    response_model=MessageDetail,
    summary="Get a message and its revisions",
)
async def get_message(message_id: PathId, caller: Caller) -> Json:
    """One message with all that is known of it, former contents included."""
    located = await LocatedMessage.find(caller.owner, message_id)
    revisions = await list_revisions(caller.owner, located.message)
    return Json(
        {
            **wire(located.message),
            "conversation_id": located.location.conversation_id,
            "revisions": [wire(revision) for revision in revisions],
        }
    )


@router.get(
    "/messages/{message_id}/parts/{number}",
    summary="Get a picture or another part of a message",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def get_part(
    message_id: PathId, number: Annotated[int, Path(ge=0, le=MAX_ID)], caller: Caller
) -> Response:
    """Return what a message holds besides text; the text links to it.

    Pictures, sounds and PDFs have their own content type, everything else is a download.
    """
    located = await LocatedMessage.find(caller.owner, message_id)
    parts = parts_of(located.message)
    if number >= len(parts):
        raise NotFound("This message has no such part", code="part_not_found")
    content, kind = content_of(parts[number])
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=3600"}
    if kind not in SHOWN_TYPES:
        kind = "application/octet-stream"
        headers["Content-Disposition"] = f'attachment; filename="part-{number}"'
    return Response(content, media_type=kind, headers=headers)


@router.put("/messages/{message_id}", response_model=Done, summary="Edit a message")
async def update_message(
    message_id: PathId, body: MessageUpdate, caller: Caller, settings: AppSettings
) -> Json:
    """Keep the former text as a revision."""
    if len(body.content.encode()) > settings.message_bytes:
        raise TooLarge(f"The message is larger than {settings.message_bytes} bytes; shorten it")
    await edit_message(caller.owner, message_id, body.content, body.created_at)
    return Json({"message": "Message updated"})


@router.post(
    "/messages/{message_id}/stop", response_model=StreamStopped, summary="Stop a running reply"
)
async def stop_message(message_id: PathId, caller: Caller, engine: ReplyEngine) -> Json:
    """From whichever worker; the text so far is kept."""
    await engine.stop(caller.owner, message_id)
    return Json({"message": "Stream stopped", "session_id": str(message_id)})


@router.get(
    "/messages/{message_id}/stream",
    summary="Join a reply",
    response_class=StreamingResponse,
    responses=OR_EVENTS,
)
async def join_stream(
    message_id: PathId,
    caller: Caller,
    engine: ReplyEngine,
    after: Annotated[int, Query(ge=0, le=MAX_ID, description="Characters already seen")] = 0,
    accept_replace: bool = False,
) -> Response:
    """Return the frames of the original stream from character `after` on (Unicode code points)."""
    located = await LocatedMessage.find(caller.owner, message_id)
    if located.message["role"] != "assistant":
        raise NotFound("Only a reply of the assistant can be streamed", code="not_a_reply")
    reply = Reply(
        located.location.conversation_id,
        located.message.get("reply_to"),
        message_id,
        engine.running.get(message_id),
    )
    return EventStream(
        reply_frames(
            engine,
            caller.owner,
            reply,
            MessageFormat(reply),
            after=after,
            accept_replace=accept_replace,
        )
    )


@router.post(
    "/messages/{message_id}/regenerate",
    response_model=ReplyOut,
    summary="Write a reply again",
    responses=ASKS_A_MODEL,
)
@begins_reply
async def regenerate_message(
    request: Request,
    message_id: PathId,
    caller: Caller,
    body: ReplyOptions | None = None,
) -> Response:
    """Optionally by another model; the former reply is kept as a revision."""
    options = body or ReplyOptions()
    reply = await state_of(request).turns.regenerate(caller.owner, message_id, options.model or "")
    return await _answer(request, caller.owner, reply, options)
