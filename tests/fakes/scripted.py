"""A loopback HTTP/1.1 server whose every byte, pause and breakage is scripted by the test.

    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.reply("Hello"), upstream.cut_after("Hel"))
        ... point a provider at upstream.base_url ...
        assert upstream.requests[0].json["model"] == "gpt-test"

Each `POST` takes the next script; the last one is played again for every further one. Nothing
here sleeps: a script waits for an `asyncio.Event` or for the client to leave.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}


@dataclass
class Recorded:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ClientLeft(Exception):
    """The client closed the connection before the script was through."""


@dataclass
class Wire:
    """The connection a script plays on."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    chunked: bool = False

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


Step = Callable[[Wire], Awaitable[bool | None]]
"""One step of a script; `True` says that the connection is gone and the script is over."""


@dataclass
class Script:
    """Steps in their order. `+` joins scripts; bytes in a script are sent as they are."""

    steps: tuple[Step | bytes, ...] = ()

    def __add__(self, other: "Script | Step | bytes") -> "Script":
        more = other.steps if isinstance(other, Script) else (other,)
        return Script(self.steps + more)


def script(*steps: Step | bytes) -> Script:
    return Script(steps)


def head(status: int = 200, content_type: str | None = "text/event-stream", **headers: str) -> Step:
    """The status line and headers of a body that is sent in chunks; `retry_after="1"` etc."""

    async def step(wire: Wire) -> None:
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
        if content_type:
            lines.append(f"content-type: {content_type}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines.append("transfer-encoding: chunked")
        wire.chunked = True
        await wire.write("\r\n".join(lines).encode() + b"\r\n\r\n")

    return step


def whole(
    status: int, body: bytes | Any, content_type: str = "application/json", **headers: str
) -> Script:
    """A complete answer with one body; anything but bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return script(head(status, content_type, **headers), data)


def wait(event: asyncio.Event) -> Step:
    """Go on once the test sets the event."""

    async def step(wire: Wire) -> None:
        await event.wait()

    return step


def tell(event: asyncio.Event) -> Step:
    """Set an event when the script gets here."""

    async def step(wire: Wire) -> None:
        event.set()

    return step


def stall() -> Step:
    """Say nothing until the client leaves."""

    async def step(wire: Wire) -> None:
        await asyncio.Event().wait()

    return step


def cut() -> Step:
    """Close the connection in the middle of the body."""

    async def step(wire: Wire) -> bool:
        wire.writer.close()
        return True

    return step


def reset() -> Step:
    """Reset the connection (RST), as a crashed upstream does."""

    async def step(wire: Wire) -> bool:
        sock = wire.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.writer.transport.abort()
        return True

    return step


@dataclass
class ScriptedUpstream:
    """The server; a protocol's class adds its base URL and its frames."""

    requests: list[Recorded] = field(default_factory=list)
    models: list[str] = field(default_factory=lambda: ["test-model"])
    models_script: Script | None = None
    """Played instead of the list of `models`."""
    connections: int = 0
    aborted: int = 0
    """How many scripts the client did not hear to their end."""

    def __post_init__(self) -> None:
        self._scripts: list[Script] = []
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.origin = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.origin = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def play(self, *scripts: Script) -> Self:
        """Answer the next requests with these scripts, the last one from then on."""
        self._scripts = list(scripts)
        return self

    async def wait_for_requests(self, count: int) -> None:
        """Return once so many chat requests have come in."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)

    async def wait_for_abort(self, count: int = 1) -> None:
        """Return once the client has closed so many connections early."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.aborted >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            # Only `__aexit__` cancels; a task that ends as cancelled is logged by asyncio.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read_request(reader)
        if request is None:
            return False
        if request.method == "GET" and request.path.endswith("/models"):
            playing = self.models_script or whole(200, self._models_body())
        elif request.method == "GET":
            playing = self.answer_to_get(request)
        else:
            playing = self.answer_to(request)
            async with self._changed:
                self.requests.append(request)
                self._changed.notify_all()
        wire = Wire(reader, writer)
        try:
            return await self._play(playing, wire)
        except (ClientLeft, ConnectionError):
            async with self._changed:
                self.aborted += 1
                self._changed.notify_all()
            return False

    async def _play(self, playing: Script, wire: Wire) -> bool:
        gone = asyncio.create_task(wire.reader.read(1))
        try:
            for step in playing.steps:
                running = asyncio.ensure_future(_run(step, wire))
                await asyncio.wait({gone, running}, return_when=asyncio.FIRST_COMPLETED)
                if not running.done():
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                    raise ClientLeft
                if running.result():
                    return False
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        if wire.chunked:
            await wire.write(b"0\r\n\r\n")
        return True

    def answer_to(self, request: Recorded) -> Script:
        """What is played for a chat request: the next script."""
        del request
        return self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]

    def answer_to_get(self, request: Recorded) -> Script:
        """What is played for anything but a chat request and the list of models."""
        return whole(404, {"error": {"message": f"no {request.path}"}})

    def _models_body(self) -> dict[str, Any]:
        data = [{"id": name, "object": "model", "owned_by": "fake"} for name in self.models]
        return {"object": "list", "data": data}


async def _run(step: Step | bytes, wire: Wire) -> bool | None:
    if not isinstance(step, bytes):
        return await step(wire)
    if step:
        await wire.write(b"%x\r\n%s\r\n" % (len(step), step) if wire.chunked else step)
    return None


async def _read_request(reader: asyncio.StreamReader) -> Recorded | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = raw.decode("latin-1").strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Recorded(method, path, headers, body)


def unused_url() -> str:
    """A loopback address where nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"
