"""A reply on its way to a client: as frames of a stream, or whole."""

from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse

from proxy.documents.base import Raw
from proxy.documents.place import Placed
from proxy.engine import Engine
from proxy.errors import ProxyError, UpstreamError
from proxy.generation import Progress, ReplyInterrupted, ReplyTruncated
from proxy.sse import DONE, HEARTBEAT, encode
from proxy.turns import Reply

STREAM_HEADERS = {
    # Proxies that gather or compress a stream would hold it back.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


class EventStream(StreamingResponse):
    """`text/event-stream`, each item a whole number of frames."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncIterator[bytes]) -> None:
        super().__init__(frames, headers=STREAM_HEADERS)


class StoredFailure(ProxyError):
    """The stored error of a reply that ended earlier."""

    status = 502

    def __init__(self, error: Raw) -> None:
        super().__init__(error.get("message"))
        self.type = error.get("type", UpstreamError.type)  # type: ignore[misc]


def ids_of(reply: Reply) -> Raw:
    """The first frame of a stream."""
    return {
        "user_message_id": reply.user_message_id,
        "assistant_message_id": reply.message_id,
        "conversation_id": reply.conversation_id,
        "session_id": str(reply.message_id),
    }


def progress_frame(progress: Progress) -> bytes:
    """One frame: `{"content": "…"}`, with `reasoning` and `replace` where there are any."""
    frame: dict[str, Any] = {"content": progress.text}
    if progress.reasoning:
        frame["reasoning"] = progress.reasoning
    if progress.replace:
        frame["replace"] = True
    return encode(frame)


async def reply_frames(
    engine: Engine,
    owner: str,
    reply: Reply,
    *,
    after: int = 0,
    accept_replace: bool = False,
    cancel_on_disconnect: bool = False,
) -> AsyncIterator[bytes]:
    """The frames of a reply: ids, content, how it ended, `[DONE]`.

    Works for a reply of this worker, of another one, and for one that ended long ago.
    """
    yield encode(ids_of(reply))
    generation = reply.generation
    differs = False
    finished = False
    try:
        progresses = (
            generation.follow(after, accept_replace=accept_replace)
            if generation is not None
            else engine.follow_stored(owner, reply.message_id, after, accept_replace=accept_replace)
        )
        try:
            async for progress in progresses:
                if progress.text or progress.reasoning or progress.replace:
                    yield progress_frame(progress)
                elif progress.differs:
                    differs = True
                else:
                    yield HEARTBEAT
            finished = True
            if generation is not None:
                error, finish_reason = generation.error, generation.finish_reason
            else:
                error, finish_reason = await stored_ending(owner, reply.message_id)
        except ProxyError as failure:
            error, finish_reason = failure, None
        yield ending_frame(error, finish_reason, differs=differs) + DONE
    finally:
        # Nobody else reads along, and this client said that it does not want it unseen.
        if (
            cancel_on_disconnect
            and not finished
            and generation is not None
            and generation.followers <= 1
        ):
            generation.end("stopped")


def ending_frame(
    error: ProxyError | None, finish_reason: str | None, *, differs: bool = False
) -> bytes:
    """The last frame before `[DONE]`: a finish reason, or an error that is never content."""
    if error is not None:
        body = error.error()
        return encode({"error": {key: body[key] for key in ("message", "type", "code")}})
    frame: dict[str, Any] = {"content": "", "finish_reason": finish_reason or "stop"}
    if differs:
        frame["stored_text_differs"] = True
    return encode(frame)


async def stored_ending(owner: str, message_id: int) -> tuple[ProxyError | None, str | None]:
    """How a stored reply ended: its error, its finish reason.

    Raises:
        MessageNotFound: it is gone.
    """
    message = (await Placed.find(owner, message_id)).message
    return ending_error(message), message.get("finish_reason")


def ending_error(message: Raw) -> ProxyError | None:
    """The error that a stored message ended with."""
    status = message.get("status")
    if status == "truncated":
        return ReplyTruncated()
    if status == "interrupted":
        return ReplyInterrupted((message.get("error") or {}).get("message"))
    if status == "failed":
        return StoredFailure(message.get("error") or {})
    return None


async def whole_reply(engine: Engine, owner: str, reply: Reply) -> Raw:
    """Wait for the end of a reply and return it as one body.

    A truncated reply is an answer that says so in its `status`; a failed one is an error
    whose body carries the ids, so that the stored part can be read.

    Raises:
        ProxyError: how it failed.
    """
    if reply.generation is not None:
        await reply.generation.ended.wait()
        generation = reply.generation
        text, status = generation.text, generation.status
        error, finish_reason = generation.error, generation.finish_reason
    else:
        async for _ in engine.follow_stored(owner, reply.message_id):
            pass
        message = (await Placed.find(owner, reply.message_id)).message
        text, status = message["content"], message.get("status", "complete")
        error, finish_reason = ending_error(message), message.get("finish_reason")
    ids = {
        "conversation_id": reply.conversation_id,
        "user_message_id": reply.user_message_id,
        "assistant_message_id": reply.message_id,
    }
    if error is not None and status != "truncated":
        error.extra = {**error.extra, **ids}
        raise error
    return {**ids, "reply": text, "status": status, "finish_reason": finish_reason}
