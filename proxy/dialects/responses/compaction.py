"""A history summed up by its model, for a client that has no room left for it.

Source: https://platform.openai.com/docs/api-reference/responses/compact.
"""

import itertools
from uuid import uuid4

from starlette.requests import Request as HttpRequest

from proxy.dialects.responses.call import Call
from proxy.dialects.responses.input import SUMMARY, readable
from proxy.dialects.responses.items import items_of
from proxy.dialects.responses.shapes import usage_object
from proxy.documents.base import Raw, utc_now
from proxy.documents.message import MessageFields, packed
from proxy.errors import UpstreamProtocolError
from proxy.providers.base import CompletionRequest
from proxy.providers.registry import Route
from proxy.sealing import Sealer
from proxy.streaming.delivery import ending_of
from proxy.streaming.engine import Engine
from proxy.streaming.generation import Compose
from proxy.streaming.reply import Reply
from proxy.streaming.sink import NoSink

SUM_UP = (
    "Sum up this conversation for yourself: you will go on with the summary in its place. Keep "
    "what was decided and why, names, numbers, paths and code that are still needed, what was "
    "done, and what is left to do. Write the summary alone."
)

_NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}

_ids = itertools.count(-(2**61), -1)


async def compacted(
    request: HttpRequest,
    engine: Engine,
    owner: str,
    call: Call,
    shown: list[Raw],
    routes: list[Route],
    sealer: Sealer,
    compose: Compose,
) -> Raw:
    """Ask the model and return `{"id", "object": "response.compaction", "output", "usage", …}`.

    The output is what the user said, as it was, and the summary, sealed.

    Raises:
        ProxyError: nobody answered, or with nothing.
    """
    generation = engine.begin(
        sink=NoSink(owner),
        message_id=next(_ids),
        routes=routes,
        request=CompletionRequest(
            model=routes[0].model,
            messages=[*shown, {"role": "user", "content": SUM_UP}],
            # A native upstream is asked as it is for responses, which may be all that it speaks.
            responses={},
            user=str(call.body.get("user") or ""),
        ),
        compose=compose,
    )
    reply = Reply("", None, generation.message_id, generation)
    message, error = await ending_of(engine, owner, reply, request=request)
    if error is not None:
        raise error
    if not (summary := message.get("content") or ""):
        raise UpstreamProtocolError("The model did not sum the conversation up")
    number = uuid4().hex
    sealed = {"id": f"cmp_{number}", "type": "compaction"}
    sealed["encrypted_content"] = sealer.seal({SUMMARY: summary})
    return {
        "id": f"resp_u{number}",
        "object": "response.compaction",
        "created_at": int(utc_now().timestamp()),
        "output": [*_user_items(shown, number), sealed],
        "usage": usage_object(message.get("usage")) or usage_object(_NO_USAGE),
    }


def _user_items(shown: list[Raw], number: str) -> list[Raw]:
    items: list[Raw] = []
    for index, message in enumerate(shown):
        if message["role"] == "user":
            content = message["content"]
            fields: MessageFields = {
                "id": f"u{number}_{index}",
                "role": "user",
                "content": readable(content),
                "payload": None if isinstance(content, str) else packed(message),
            }
            items += items_of(fields)
    return items
