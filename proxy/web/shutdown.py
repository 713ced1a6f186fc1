"""A signal to stop first lets running replies end, then stops the server."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from proxy.streaming.engine import Engine


@contextmanager
def draining_on_signals(engine: Engine) -> Iterator[None]:
    """While this is entered, uvicorn's stop signals shut the engine down before they take effect.

    uvicorn on its own would wait for open streams without limit and only then tell the
    application. This way new turns are answered 503 at once, running replies have their
    grace, and their streams end with a frame that says so. A second signal stops at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    servers: dict[int, uvicorn.Server] = {}
    drains: set[asyncio.Task[None]] = set()

    async def drain(number: int) -> None:
        try:
            await engine.shutdown()
        finally:
            servers[number].handle_exit(number, None)

    def begin(number: int) -> None:
        drains.add(asyncio.ensure_future(drain(number)))

    def on_signal(number: int, frame: FrameType | None) -> None:
        if engine.is_stopping:
            servers[number].handle_exit(number, frame)
        else:
            loop.call_soon_threadsafe(begin, number)

    for caught in (signal.SIGINT, signal.SIGTERM):
        server = getattr(signal.getsignal(caught), "__self__", None)
        if isinstance(server, uvicorn.Server):
            servers[caught] = server
            signal.signal(caught, on_signal)
    try:
        yield
    finally:
        for number, server in servers.items():
            signal.signal(number, server.handle_exit)
