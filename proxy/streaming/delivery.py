"""A reply on its way to a client: as frames of a stream, or whole."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from proxy.documents.base import Raw
from proxy.documents.message import MessageFields
from proxy.errors import (
    ProxyError,
    ReplyInterrupted,
    ReplyTruncated,
    StorageUnavailable,
    UpstreamError,
)
from proxy.responses import EventStream, Json, model_headers
from proxy.streaming.draft import SIGN_OF_LIFE, Progress
from proxy.streaming.engine import Engine, stored_reply
from proxy.streaming.generation import Generation
from proxy.streaming.reply import Reply, headers_of


class StoredFailure(ProxyError):
    """The stored error of a reply that ended earlier."""

    def __init__(self, error: Raw) -> None:
        super().__init__(error.get("message"), code=error.get("code"))
        self.type = error.get("type", UpstreamError.type)  # type: ignore[misc]
        kinds: tuple[type[ProxyError], ...] = (StorageUnavailable, *UpstreamError.__subclasses__())
        statuses = {kind.type: kind.status for kind in kinds}
        self.status = statuses.get(self.type, UpstreamError.status)  # type: ignore[misc]


async def refuse_again(owner: str, reply: Reply) -> None:
    """Raise the error of a stored reply of which nothing arrived, as its first caller had it.

    Raises:
        ProxyError: that error.
    """
    message = await stored_reply(owner, reply.message_id)
    error = ending_error(message)
    if error is not None and not message["content"] and message["status"] == "failed":
        raise error


class ReplyFormat(Protocol):
    """How a reply looks on the wire: each frame method gives a whole number of frames."""

    def first(self) -> bytes:
        """Return the frames before any text."""
        ...

    def progress(self, progress: Progress) -> bytes:
        """Return what has come since the last frame."""
        ...

    def waiting(self) -> bytes:
        """Return a sign of life while nothing comes."""
        ...

    def ending(self, error: ProxyError | None, message: MessageFields, *, differs: bool) -> bytes:
        """Return how it ended, by its stored fields; `differs`: its text is not what was given."""
        ...

    def whole(self, error: ProxyError | None, message: MessageFields) -> Raw:
        """Return the body of an answer that is not a stream.

        Raises:
            ProxyError: `error`, where the format has no body for a reply that ended so.
        """
        ...

    def ids(self) -> Raw:
        """Return what names the stored reply in the body of an error."""
        ...


async def deliver(
    request: Request,
    engine: Engine,
    owner: str,
    reply: Reply,
    format_: ReplyFormat,
    *,
    stream: bool,
    open_seconds: float,
    accept_replace: bool = False,
    cancel_on_disconnect: bool = False,
) -> Response:
    """Answer a request with the reply that it began, as a stream or whole.

    A failure within `open_seconds` and before anything arrived is an HTTP error, also of a
    stream. With `cancel_on_disconnect` the reply ends when the client of the request leaves.

    Raises:
        ProxyError: how it failed; the body carries the ids, so that what was stored can be read.
    """
    watched = request if cancel_on_disconnect else None
    try:
        if not stream:
            message, error = await ending_of(engine, owner, reply, request=watched)
            headers = model_headers(message.get("provider", ""), message.get("model", ""))
            return Json(format_.whole(error, message), headers=headers)
        await wait_until_open(watched, owner, reply, open_seconds)
    except ProxyError as failure:
        failure.extra = {**failure.extra, **format_.ids()}
        raise
    return EventStream(
        reply_frames(
            engine,
            owner,
            reply,
            format_,
            accept_replace=accept_replace,
            cancel_on_disconnect=cancel_on_disconnect,
        ),
        headers_of(reply),
    )


async def reply_frames(
    engine: Engine,
    owner: str,
    reply: Reply,
    format_: ReplyFormat,
    *,
    after: int = 0,
    accept_replace: bool = False,
    cancel_on_disconnect: bool = False,
) -> AsyncGenerator[bytes, None]:
    """Yield the frames of a reply: ids, content, how it ended, `[DONE]`.

    Works for a reply of this worker, of another one, and for one that ended long ago.
    """
    generation = reply.generation
    differs = False
    try:
        yield format_.first()
        progresses = (
            generation.follow(after, accept_replace=accept_replace)
            if generation is not None
            else engine.follow_stored(owner, reply.message_id, after, accept_replace=accept_replace)
        )
        message: MessageFields = {}
        try:
            async with aclosing(progresses):
                async for progress in progresses:
                    if progress.differs:
                        differs = True
                    elif progress == SIGN_OF_LIFE:
                        yield format_.waiting()
                    else:
                        yield format_.progress(progress)
            if generation is not None:
                error, message = generation.error, generation.result
            else:
                message = await stored_reply(owner, reply.message_id)
                error = ending_error(message)
        except ProxyError as failure:
            error, message = failure, {}
        yield format_.ending(error, message, differs=differs)
    finally:
        if cancel_on_disconnect and generation is not None:
            _end_unread(generation)


def _end_unread(generation: Generation) -> None:
    """End a reply whose client did not want it unseen, unless others read along."""
    if not generation.followers:
        generation.end("stopped")


@asynccontextmanager
async def cancelled_with(request: Request | None, generation: Generation) -> AsyncIterator[None]:
    """While this is entered, the reply is ended when the client of the request leaves."""

    async def watch() -> None:
        if request is None:
            return
        while (await request.receive())["type"] != "http.disconnect":
            pass
        generation.followers -= 1
        _end_unread(generation)
        generation.followers += 1

    generation.followers += 1
    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        generation.followers -= 1
        watching.cancel()


def ending_error(message: MessageFields) -> ProxyError | None:
    """Return the error that a stored message ended with."""
    status = message.get("status")
    if status == "truncated":
        return ReplyTruncated()
    if status == "interrupted":
        return ReplyInterrupted((message.get("error") or {}).get("message"))
    if status == "failed":
        return StoredFailure(message.get("error") or {})
    return None


async def wait_until_open(
    request: Request | None, owner: str, reply: Reply, timeout_seconds: float
) -> None:
    """Wait until it is known whether a stream begins, and not longer than the time-out.

    With a `request`, the reply ends when the client of that leaves.

    Raises:
        ProxyError: it failed before anything arrived, now or when it was first asked for.
    """
    if reply.generation is None:
        await refuse_again(owner, reply)
        return
    async with cancelled_with(request, reply.generation):
        await reply.generation.opened(timeout_seconds)


async def ending_of(
    engine: Engine, owner: str, reply: Reply, *, request: Request | None = None
) -> tuple[MessageFields, ProxyError | None]:
    """Wait for the end of a reply; its stored fields, and how it failed.

    With a `request`, the reply ends when the client of that leaves.
    """
    if reply.generation is not None:
        async with cancelled_with(request, reply.generation):
            await reply.generation.ended.wait()
        return reply.generation.result, reply.generation.error
    async for _ in engine.follow_stored(owner, reply.message_id):
        pass
    message = await stored_reply(owner, reply.message_id)
    return message, ending_error(message)
