"""Any ASGI app on a live uvicorn in the test's own event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn


class PromptServer(uvicorn.Server):
    """Ends when it is told to.

    uvicorn's own looks ten times a second whether it should, and then waits as long again for
    connections: two tenths of a second in each test that has a server.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._ended = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._ended.wait()

    def end(self) -> None:
        self.should_exit = True
        self._ended.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A client that has left is heard of in the loop's next rounds.
        for _ in range(3):
            await asyncio.sleep(0)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        await self.lifespan.shutdown()


class _Server(PromptServer):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The test runner keeps its own signals.
        yield


@contextlib.asynccontextmanager
async def serve(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serve the app on a free loopback port; gives `http://127.0.0.1:<port>`."""
    # Of another protocol number, asyncio would not turn Nagle's algorithm off: 40 ms an answer.
    with socket.socket(proto=socket.IPPROTO_TCP) as sock:
        sock.bind(("127.0.0.1", 0))
        defaults: dict[str, Any] = {"lifespan": "off", "timeout_keep_alive": 75}
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            timeout_graceful_shutdown=1,
            **defaults | options,
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[sock]))
        ready = asyncio.create_task(server.ready.wait())
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            ready.cancel()
            task.result()
            raise RuntimeError("the server did not start")
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.end()
            await task
