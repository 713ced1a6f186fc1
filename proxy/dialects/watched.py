"""An answer that is passed on while it arrives, and that ends with its client."""

import asyncio
import time
from functools import lru_cache
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from proxy.documents.message import Status
from proxy.providers.openai import RawResponse
from proxy.responses import model_headers

WATCH_AFTER_SECONDS = 0.05
"""From then on a call watches whether its client is still there; most small ones never need to."""

UPSTREAM_HEADERS = {"x-request-id": b"x-upstream-request-id"}
"""The upstream's headers that have another name here: the plain one is this server's own."""


class WatchedAnswer(Response):
    """An answer that a lost client ends at once; what it is, a class below says.

    `_answer` sends it and says how it ended, `_end` is called once after that, whatever happened.
    """

    def __init__(self) -> None:
        self.background = None
        self._began_at = time.monotonic()
        self._client_left = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask and pass on.

        Raises:
            ProxyError: nobody answered; nothing was sent.
        """
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        watch: asyncio.Task[Message] | None = None

        def begin_watch() -> None:
            nonlocal watch
            watch = loop.create_task(_disconnected(receive))
            watch.add_done_callback(leave)

        def leave(_: Any) -> None:
            self._client_left = True
            task.cancel()

        timer = loop.call_later(WATCH_AFTER_SECONDS, begin_watch)
        status: Status = "failed"
        try:
            status = await self._answer(send)
        except asyncio.CancelledError:
            status = "stopped" if self._client_left else "interrupted"
            if not self._client_left:
                raise
            task.uncancel()
        finally:
            timer.cancel()
            if watch is not None:
                watch.remove_done_callback(leave)
                watch.cancel()
            self._end(status)

    async def _answer(self, send: Send) -> Status:
        raise NotImplementedError

    def _end(self, status: Status) -> None:
        """Close what is open, and tell who counts calls."""
        raise NotImplementedError

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._began_at) * 1000)


def upstream_headers(response: RawResponse) -> list[tuple[bytes, bytes]]:
    """Return the headers of an upstream's answer that are passed on."""
    return [
        (UPSTREAM_HEADERS.get(name) or name.encode(), value.encode("latin-1"))
        for name, value in response.headers.items()
    ]


@lru_cache(maxsize=256)
def model_header(provider: str, model: str) -> tuple[tuple[bytes, bytes], ...]:
    """Return the header that says which model answered."""
    headers = model_headers(provider, model)
    return tuple((name.lower().encode(), value.encode()) for name, value in headers.items())


async def _disconnected(receive: Receive) -> Message:
    while (message := await receive())["type"] != "http.disconnect":
        pass
    return message
