"""A response that nobody keeps (`store: false`): the whole history comes with the call."""

import itertools
from collections.abc import AsyncGenerator
from uuid import uuid4

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from proxy.dialects.responses.answer import named, view_of
from proxy.dialects.responses.call import Call
from proxy.dialects.responses.events import ResponseFormat
from proxy.dialects.responses.numbering import frame
from proxy.dialects.responses.shapes import response_object
from proxy.documents.base import Raw, utc_now
from proxy.providers.base import CompletionRequest
from proxy.providers.registry import Route
from proxy.responses import EventStream
from proxy.sealing import Sealer
from proxy.settings import Settings
from proxy.sse import DONE
from proxy.streaming.delivery import deliver
from proxy.streaming.engine import Engine
from proxy.streaming.generation import Compose
from proxy.streaming.reply import Reply
from proxy.streaming.sink import NoSink

_unstored_ids = itertools.count(-(2**62), -1)


async def answer(
    request: HttpRequest,
    engine: Engine,
    owner: str,
    call: Call,
    messages: list[Raw],
    routes: list[Route],
    settings: Settings,
    sealer: Sealer,
    compose: Compose,
) -> Response:
    """Ask the model and return its response; a client that leaves ends it.

    Raises:
        ProxyError: nobody answered, before anything arrived.
    """
    generation = engine.begin(
        sink=NoSink(owner),
        message_id=next(_unstored_ids),
        routes=routes,
        request=CompletionRequest(
            model=routes[0].model,
            messages=messages,
            parameters=call.parameters(),
            responses=call.native_parameters(),
            user=str(call.body.get("user") or ""),
        ),
        compose=compose,
    )
    number = f"u{uuid4().hex}"
    message: Raw = {
        "id": number,
        "role": "assistant",
        "content": "",
        "created_at": utc_now(),
        "model": routes[0].model,
        "tool_names": call.tools.names,
    }
    view = view_of(call.request, sealer, call.includes)
    format_ = ResponseFormat(message, call.request, id_=f"resp_{number}", view=view)
    reply = Reply("", None, generation.message_id, generation)
    response = await deliver(
        request,
        engine,
        owner,
        reply,
        format_,
        stream=bool(call.body.get("stream")),
        open_seconds=settings.stream_open_seconds,
        cancel_on_disconnect=True,
    )
    return named(response, call, reply)


def warmed_up(call: Call) -> EventStream:
    """Return a response without output: its call is the beginning of the next one's input."""
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    message: Raw = {"created_at": utc_now(), "model": call.model, "usage": nothing}
    id_ = f"resp_u{uuid4().hex}"

    async def frames() -> AsyncGenerator[bytes, None]:
        for number, status in enumerate(("in_progress", "in_progress", "completed")):
            shown = response_object(message, call.request, id_=id_, status=status, output=[])
            what = ("created", "in_progress", "completed")[number]
            yield frame(f"response.{what}", {"response": shown, "sequence_number": number})
        yield DONE

    return EventStream(frames())
