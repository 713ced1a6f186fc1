"""The reply to a call in the shape of Responses: whole, as events, or looked up later."""

import logging
from collections.abc import AsyncGenerator, Collection
from typing import Any

from pymongo.errors import DuplicateKeyError, PyMongoError
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from proxy.dialects.responses.call import Call
from proxy.dialects.responses.events import ResponseFormat
from proxy.dialects.responses.ids import ResponseId, no_response
from proxy.dialects.responses.items import LOGPROBS, ItemView, has_said
from proxy.dialects.responses.numbering import FROM_THE_START
from proxy.dialects.responses.shapes import Request, request_of, response_object
from proxy.documents.base import Raw
from proxy.documents.message import StoredMessage, attempt_name
from proxy.documents.message_location import LocatedMessage, MessageNotFound
from proxy.documents.message_revision import MessageRevision
from proxy.documents.response import StoredResponse
from proxy.responses import EventStream, Json, dumps
from proxy.sealing import Sealer
from proxy.settings import Settings
from proxy.streaming.delivery import deliver, ending_error, reply_frames
from proxy.streaming.engine import Engine
from proxy.streaming.reply import Reply, stored_ids

log = logging.getLogger(__name__)

IGNORED = "X-Proxy-Ignored"
"""The header that names what an upstream did not get."""


class Found:
    """One writing of a reply, as it is stored, with what its request asked for."""

    def __init__(self, conversation_id: str, message: StoredMessage, kept: Raw | None) -> None:
        self.conversation_id = conversation_id
        self.message = message
        self.request = request_of(kept)

    @classmethod
    async def find(cls, owner: str, id_: ResponseId) -> "Found":
        """Find a response by its id, a former writing of a reply among the revisions.

        Raises:
            NotFound: there is none for this owner.
        """
        try:
            located = await LocatedMessage.find(owner, id_.message_id)
        except MessageNotFound:
            raise no_response(str(id_)) from None
        message = located.message
        attempt = attempt_name(id_.message_id, id_.revision)
        if message["role"] != "assistant" or id_.revision > message.get("revision", 0):
            raise no_response(str(id_))
        if id_.revision != message.get("revision", 0):
            former = await MessageRevision.of(owner).find_one({"_id": attempt})
            if former is None:
                raise no_response(str(id_))
            message = former["message"]
        kept = await StoredResponse.by_attempt(owner, attempt)
        return cls(located.location.conversation_id, message, kept)

    @property
    def is_running(self) -> bool:
        """Whether it is still being written."""
        return self.message.get("status") == "streaming"

    def response(self, sealer: Sealer, include: Collection[str] = ()) -> Raw:
        """Return it as a `response`, with what is to be included."""
        return response_object(
            self.message,
            self.request,
            conversation_id=self.conversation_id,
            view=view_of(self.request, sealer, include),
        )

    def frames(
        self, sealer: Sealer, after: int = FROM_THE_START, include: Collection[str] = ()
    ) -> ResponseFormat:
        """Return what makes its events."""
        return ResponseFormat(
            self.message,
            self.request,
            conversation_id=self.conversation_id,
            view=view_of(self.request, sealer, include),
            after=after,
        )


def view_of(request: Request, sealer: Sealer, include: Collection[str]) -> ItemView:
    """Return how the items of a response are shown to whoever asks for it now."""
    sealed = request.wants_sealed or "reasoning.encrypted_content" in include
    return ItemView(request.wants_summary, sealer.seal if sealed else None, LOGPROBS in include)


async def keep_request(owner: str, reply: Reply, call: Call, fingerprint: str) -> None:
    """Keep what a turn was asked with; without it the response shows what is usual instead."""
    attempt = reply.message["attempt"]
    input_ids = (reply.first_message_id, reply.message_id - 1)
    try:
        await StoredResponse.add(
            owner,
            attempt,
            reply.conversation_id,
            dumps(call.kept).decode(),
            input_ids,
            fingerprint,
        )
    except DuplicateKeyError:
        return
    except PyMongoError as error:
        log.warning("the request of reply %d is not kept: %s", reply.message_id, type(error))


def is_repeated(request: HttpRequest, call: Call, idempotency_key: str | None) -> bool:
    """Whether an earlier copy of a call may have begun its reply already.

    OpenAI's SDKs ask again by themselves, and only a header tells. A key finds its reply in the
    conversation, but for a fork, which is a new one.
    """
    if idempotency_key is not None:
        return call.previous is not None
    count = request.headers.get("x-stainless-retry-count", "")
    return count.isdecimal() and int(count) > 0


async def earlier_reply(engine: Engine, owner: str, fingerprint: str) -> Reply | None:
    """Find the reply that the same call began a short while ago; None where it came to nothing."""
    kept = await StoredResponse.newest_of_request(owner, fingerprint)
    if kept is None:
        return None
    try:
        located = await LocatedMessage.find(owner, kept["message_id"])
    except MessageNotFound:
        return None
    message = located.message
    is_nothing = message.get("status") == "failed" and not has_said(message)
    if message.get("attempt") != kept["_id"] or is_nothing:
        return None
    return Reply(
        located.location.conversation_id,
        message.get("reply_to"),
        message["id"],
        engine.running.get(message["id"]),
        message=message,
        first_message_id=kept["input_ids"][0],
        joined=True,
    )


async def answer(
    request: HttpRequest,
    engine: Engine,
    owner: str,
    reply: Reply,
    call: Call,
    settings: Settings,
    sealer: Sealer,
) -> Response:
    """Return the response to a turn as its client asked for it.

    Raises:
        ProxyError: it failed before anything arrived; the body carries the ids.
    """
    format_ = ResponseFormat(
        reply.message,
        call.request,
        conversation_id=reply.conversation_id,
        view=view_of(call.request, sealer, call.includes),
        ids=stored_ids(reply),
    )
    is_stream, is_background = bool(call.body.get("stream")), bool(call.body.get("background"))
    if is_background and reply.generation is not None:
        if not is_stream:
            return named(Json(format_.queued()), call, reply)
        return named(EventStream(reply_frames(engine, owner, reply, format_)), call, reply)
    response = await deliver(
        request,
        engine,
        owner,
        reply,
        format_,
        stream=is_stream,
        open_seconds=settings.stream_open_seconds,
    )
    return named(response, call, reply)


def named(response: Response, call: Call, reply: Reply) -> Response:
    """Name to the client what an upstream did not get."""
    is_native = reply.generation is not None and reply.generation.is_native
    if ignored := call.ignored_by(is_native=is_native):
        response.headers[IGNORED] = ", ".join(ignored)[:1000]
    return response


def follow(
    engine: Engine,
    owner: str,
    found: Found,
    sealer: Sealer,
    after: int,
    include: Collection[str] = (),
) -> Response:
    """Return the events of a stored response behind a sequence number, to its end."""
    frames = found.frames(sealer, after, include)
    if not found.is_running:
        return EventStream(_replayed(frames, found.message))
    message_id = found.message["id"]
    running = engine.running.get(message_id)
    if running is not None and running.attempt != found.message.get("attempt"):
        running = None
    reply = Reply(found.conversation_id, None, message_id, running)
    return EventStream(reply_frames(engine, owner, reply, frames))


async def _replayed(frames: ResponseFormat, message: StoredMessage) -> AsyncGenerator[bytes, None]:
    whole = frames.first() + frames.replay(message)
    yield whole + frames.ending(ending_error(message), message, differs=False)


def page_of(items: list[Raw], has_more: bool) -> dict[str, Any]:
    """Return a page of a list, as OpenAI's SDKs read it."""
    return {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }
