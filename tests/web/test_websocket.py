"""WebSockets on the wire, over raw sockets and a small application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from proxy.app import RESOURCES
from proxy.web.connections import Connections
from proxy.web.protocol import protocol_of
from proxy.web.websocket import FRAGMENTS, PATHS, LimitedWebSocket
from tests.conftest import make_settings
from tests.fakes.live import serve

HANDSHAKE = (
    b"GET /v1/responses?a=1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
PIECE = "x" * 1024 * 1024


class Application:
    """Says back what it is told, or floods the client; notes how a connection ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"http"})
            return
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while (message := await receive())["type"] == "websocket.receive":
                for _ in range(64 if message["text"] == "flood" else 0):
                    await send({"type": "websocket.send", "text": PIECE})
                await send({"type": "websocket.send", "text": message["text"]})
        finally:
            self.ended.set()


@pytest.fixture
def application() -> Application:
    return Application()


@asynccontextmanager
async def connected(
    application: Application, *sent: bytes, **fields: Any
) -> AsyncIterator[asyncio.StreamReader]:
    protocol = protocol_of(make_settings(**fields))
    async with serve(application, http=protocol, ws="none") as url:
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in sent:
            writer.write(piece)
            await writer.drain()
            # The next piece is another read of the server's.
            await asyncio.sleep(0.01)
        try:
            yield reader
        finally:
            writer.close()


def text_frame(text: str) -> bytes:
    """A short masked text message, of a mask that changes nothing."""
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode()


async def test_a_message_that_came_with_the_handshake_is_heard(application: Application) -> None:
    async with connected(application, HANDSHAKE + text_frame("hi")) as reader:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert await reader.readexactly(4) == b"\x81\x02hi"


async def test_a_handshake_in_pieces_is_one(application: Application) -> None:
    async with connected(application, HANDSHAKE[:70], HANDSHAKE[70:], text_frame("hi")) as reader:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert await reader.readexactly(4) == b"\x81\x02hi"


async def test_a_handshake_behind_a_request_is_one(application: Application) -> None:
    first = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    async with connected(application, first, HANDSHAKE) as reader:
        assert (await reader.readuntil(b"http")).startswith(b"HTTP/1.1 200 ")
        await reader.readuntil(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("said", "instead", "status"),
    [
        (b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b"", b"400"),
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 12", b"400"),
        (b"Host: a\r\n", b"Host: a\r\nX-Long: " + b"y" * 9000 + b"\r\n", b"431"),
        (b"Host: a\r\n", b"Host: a\r\n" + b"X-Many: y\r\n" * 150, b"431"),
        (b"GET", b"POST", b"200"),
        (b"/v1/responses", b"/v1/models", b"200"),
        (b"WebSocket\r\n", b"h2c\r\n", b"200"),
    ],
)
async def test_what_is_no_handshake_is_answered_as_http(
    application: Application, said: bytes, instead: bytes, status: bytes
) -> None:
    async with connected(application, HANDSHAKE.replace(said, instead, 1)) as reader:
        assert await reader.readuntil(b" ") == b"HTTP/1.1 "
        assert await reader.readuntil(b" ") == status + b" "


async def test_a_frame_without_a_mask_ends_the_connection(application: Application) -> None:
    async with connected(application, HANDSHAKE, b"\x81\x02hi") as reader:
        await reader.readuntil(b"\r\n\r\n")
        frame = await reader.read()
        assert frame[:1] + frame[2:4] == b"\x88\x03\xea"
        await application.ended.wait()


async def test_a_client_that_takes_nothing_is_cut_off(application: Application) -> None:
    async with connected(application, HANDSHAKE, text_frame("flood"), client_silence_seconds=0.1):
        await application.ended.wait()


async def test_a_message_in_endless_pieces_ends_the_connection(application: Application) -> None:
    begun, empty = b"\x01\x80\0\0\0\0", b"\x00\x80\0\0\0\0"
    async with connected(application, HANDSHAKE, begun + empty * (FRAGMENTS + 1)) as reader:
        await reader.readuntil(b"\r\n\r\n")
        frame = await reader.read()
        assert frame[:1] + frame[2:4] == b"\x88\x03\xf1"
        await application.ended.wait()


async def test_a_message_in_pieces_is_one(application: Application) -> None:
    pieces = b"\x01\x81\0\0\0\0h" + b"\x00\x80\0\0\0\0" + b"\x80\x81\0\0\0\0i"
    async with connected(application, HANDSHAKE, pieces) as reader:
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(4) == b"\x81\x02hi"


class Taker(asyncio.Transport):
    """A transport whose client takes what it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.accepted = asyncio.Event()

    def write(self, data: Any) -> None:
        self.sent.append(bytes(data))
        self.accepted.set()

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


async def test_pings_of_a_client_that_takes_nothing_are_not_gathered(
    application: Application,
) -> None:
    config = uvicorn.Config(application)
    config.load()
    transport = Taker()
    connections = Connections(make_settings())
    socket = LimitedWebSocket(config, ServerState(), {}, connections=connections)
    socket.connection_made(transport)
    socket.data_received(HANDSHAKE)
    await transport.accepted.wait()
    socket.pause_writing()
    for number in range(1000):
        socket.data_received(b"\x89\x82\0\0\0\0" + number.to_bytes(2))
    assert len(transport.sent) == 1
    socket.resume_writing()
    assert transport.sent[1:] == [b"\x8a\x02" + (999).to_bytes(2)]
    socket.data_received(b"\x89\x80\0\0\0\0")
    assert transport.sent[2:] == [b"\x8a\x00"]
    socket.connection_lost(None)
    await application.ended.wait()


def test_handshakes_are_let_through_for_every_route_of_a_websocket_and_no_other() -> None:
    routes = [route for module in RESOURCES for route in module.router.routes]
    sockets = [route for route in routes if isinstance(route, WebSocketRoute)]
    assert {route.path.encode() for route in sockets} == PATHS
