"""One answer on its way to the client of a stateless call: a stream, or whole."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Send

from proxy.errors import ProxyError
from proxy.responses import STREAM_HEADERS
from proxy.settings import Settings
from proxy.sse import DONE, HEARTBEAT, encode

RAW_STREAM_HEADERS = [
    (name.lower().encode(), value.encode()) for name, value in STREAM_HEADERS.items()
]

Headers = list[tuple[bytes, bytes]]


class Sending:
    """Sends one answer; a stream opens by itself and says that it lives while nothing comes.

    `is_open` says whether its headers are on the way: from then on a failure is a frame.
    """

    def __init__(self, send: Send, settings: Settings, *, is_stream: bool) -> None:
        self.is_open = False
        self._send = send
        self._loop = asyncio.get_running_loop()
        self.waiting: Callable[[], bytes] = lambda: HEARTBEAT
        """Gives what a stream that is open sends as a sign of life."""
        self._every_seconds = settings.heartbeat_seconds
        self._sent_at = 0.0
        self._beating: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if is_stream:
            self._timer = self._loop.call_later(settings.stream_open_seconds, self._look)

    async def open(self, status: int, content_type: str, headers: Headers) -> None:
        """Send the headers of a stream, unless that had to be done before."""
        if self.is_open:
            return
        self.is_open = True
        await self._start(status, [(b"content-type", content_type.encode("latin-1")), *headers])

    def write(self, block: bytes) -> Awaitable[None]:
        """Send whole frames."""
        if self._beating is not None:
            return self._write_after(self._beating, block)
        self._sent_at = self._loop.time()
        return self._send({"type": "http.response.body", "body": block, "more_body": True})

    async def _write_after(self, beating: Awaitable[None], block: bytes) -> None:
        await beating
        self._sent_at = self._loop.time()
        await self._send({"type": "http.response.body", "body": block, "more_body": True})

    async def end(self, block: bytes) -> None:
        """Send the last frames."""
        self.close()
        if self._beating is not None:
            await self._beating
        await self._send({"type": "http.response.body", "body": block, "more_body": False})

    async def whole(self, body: bytes, status: int, content_type: str, headers: Headers) -> None:
        """Send an answer that is not a stream."""
        about = [
            (b"content-type", content_type.encode("latin-1")),
            *headers,
            (b"content-length", str(len(body)).encode()),
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": about})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def close(self) -> None:
        """Send no more signs of life."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._beating is not None and not self.is_open:
            # It was to open the stream, and has not begun.
            self._beating.cancel()
            self._beating = None

    async def _start(self, status: int, headers: Headers) -> None:
        headers = [*headers, *RAW_STREAM_HEADERS]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def _look(self) -> None:
        """Send a sign of life where nothing was sent for long."""
        quiet_seconds = self._loop.time() - self._sent_at
        if quiet_seconds >= self._every_seconds:
            self._beating = self._loop.create_task(self._beat())
            quiet_seconds = 0
        self._timer = self._loop.call_later(self._every_seconds - quiet_seconds, self._look)

    async def _beat(self) -> None:
        if not self.is_open:
            self.is_open = True
            await self._start(200, [(b"content-type", b"text/event-stream; charset=utf-8")])
        self._sent_at = self._loop.time()
        await self._send({"type": "http.response.body", "body": self.waiting(), "more_body": True})


def error_frames(error: ProxyError) -> bytes:
    """Return the end of a stream that failed."""
    return encode({"error": error.error()}) + DONE
