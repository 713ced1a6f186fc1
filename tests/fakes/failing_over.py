"""A replica set that fails over, as its clients see it: a wire proxy before a real server.

async with FailingOver(uri) as members:
    connect(members.uri)
    members.step_down()      # every connection is closed; writes: NotWritablePrimary
    members.elect()          # a primary again
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import bson

OP_MSG = 2013
WRITES = frozenset({"insert", "update", "delete", "findAndModify", "findandmodify"})
NOT_PRIMARY = {"ok": 0.0, "errmsg": "not primary", "code": 10107, "codeName": "NotWritablePrimary"}


class FailingOver:
    """Passes messages on, except what a member that is no primary refuses."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 27017)
        self._query = parts.query
        self._has_primary = True
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused = 0
        """Writes that were answered with `NotWritablePrimary`."""
        self._has_refused = asyncio.Event()
        self.uri = ""

    async def until_refused(self, count: int) -> None:
        """Wait until so many writes were refused in all."""
        while self.refused < count:
            self._has_refused.clear()
            await self._has_refused.wait()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        # A driver that was refused waits for the next sign of life: else ten seconds.
        self.uri = f"mongodb://127.0.0.1:{port}/?{self._query}&heartbeatFrequencyMS=500"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        await asyncio.sleep(0)  # what was accepted already is served, and so closed, too
        self.drop_connections()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def step_down(self) -> None:
        """There is no primary from now on; as in an election, every connection is closed."""
        self._has_primary = False
        self.drop_connections()

    def elect(self) -> None:
        """There is one again, and whoever waits for a change learns of it."""
        self._has_primary = True
        self.drop_connections()

    def drop_connections(self) -> None:
        """Close what is open, in the middle of whatever it is at."""
        for writer in list(self._writers):
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(self._open(writer))
            server_reader, server_writer = await asyncio.open_connection(*self._target)
            await opened.enter_async_context(self._open(server_writer))
            # One command at a time on a connection: a refusal cannot overtake an answer.
            passing = [
                asyncio.create_task(self._requests(reader, writer, server_writer)),
                asyncio.create_task(self._answers(server_reader, writer)),
            ]
            try:
                await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in passing:
                    task.cancel()
                await asyncio.gather(*passing, return_exceptions=True)

    @asynccontextmanager
    async def _open(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        """Know a connection while it is open, and close it whatever happens."""
        self._writers.add(writer)
        try:
            yield
        finally:
            self._writers.discard(writer)
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        while True:
            message = await _message(reader)
            if not self._has_primary and _command(message) in WRITES:
                self.refused += 1
                self._has_refused.set()
                writer.write(_refusal(message))
                await writer.drain()
                continue
            server.write(message)
            await server.drain()

    async def _answers(self, server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await server.read(65536):
            writer.write(data)
            await writer.drain()


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack("<i", head)[0] - 4)


def _command(message: bytes) -> str:
    """The name of the command in an `OP_MSG`: the first key of its body."""
    _, _, _, operation, _ = struct.unpack("<iiiiI", message[:20])
    if operation != OP_MSG or message[20] != 0:
        return ""
    size = struct.unpack("<i", message[21:25])[0]
    body: dict[str, Any] = bson.decode(message[21 : 21 + size])
    return next(iter(body))


def _refusal(message: bytes) -> bytes:
    request_id = struct.unpack("<i", message[4:8])[0]
    body = struct.pack("<I", 0) + b"\0" + bson.encode(NOT_PRIMARY)
    return struct.pack("<iiii", 16 + len(body), 1, request_id, OP_MSG) + body
