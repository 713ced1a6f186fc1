"""Answers as they leave: JSON by orjson, times in UTC with `Z`, and event streams."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

import orjson
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

OPTIONS = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


def dumps(value: Any) -> bytes:
    """JSON bytes of anything made of documents' values."""
    return orjson.dumps(value, option=OPTIONS)


class Json(Response):
    """A JSON answer from plain dicts and lists; nothing is validated on the way out."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the body."""
        return dumps(content)


MODEL_HEADER = "X-Model"
"""Which model answered: `openai/gpt-4o-mini`."""


def model_headers(provider: str, model: str) -> dict[str, str]:
    """Return the header that says which model answered; what a header cannot hold is quoted."""
    return {MODEL_HEADER: quote(f"{provider}/{model}", safe="/:@+,;=()~!*' ")} if model else {}


STREAM_HEADERS = {
    # Proxies that gather or compress a stream would hold it back.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


async def json_stream(head: bytes, items: AsyncIterator[bytes], tail: bytes) -> StreamingResponse:
    """Answer with a JSON array that is never whole in memory.

    `head` ends with the opening bracket, `tail` begins with the closing one; each of `items`
    is some encoded elements with commas between them, or nothing. The first is read before the
    answer begins: what fails there is still an error of its own.
    """
    first = await anext(items, b"")

    async def body() -> AsyncIterator[bytes]:
        yield head + first
        separator = b"," if first else b""
        async for item in items:
            if item:
                yield separator + item
                separator = b","
        yield tail

    return StreamingResponse(body(), media_type="application/json")


class EventStream(StreamingResponse):
    """`text/event-stream`, each item a whole number of frames."""

    media_type = "text/event-stream"

    def __init__(
        self, frames: AsyncGenerator[bytes, None], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(frames, headers={**STREAM_HEADERS, **(headers or {})})
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames; whatever happens to the client, they are closed in the end."""
        async with aclosing(self._frames):
            # Only a generator that has begun does what its `finally` says.
            first = await anext(self._frames, b"")
            self.body_iterator = self._all(first)
            await self._until_left(receive, send)

    async def _until_left(self, receive: Receive, send: Send) -> None:
        """Send until the end, or until the client leaves.

        Starlette does it in a task group, which leaves a circle behind for each client that
        leaves: the reply and all that it was asked with stayed until a full look of the garbage
        collector.
        """
        sending = asyncio.ensure_future(self.stream_response(send))
        leaving = asyncio.ensure_future(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not sending.done():
                sending.cancel()
            await asyncio.wait((sending, leaving))
        if not sending.cancelled():
            sending.result()

    async def _all(self, first: bytes) -> AsyncIterator[bytes]:
        yield first
        async for frames in self._frames:
            yield frames
