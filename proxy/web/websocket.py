"""WebSockets as uvicorn speaks them, within the limits that hold for all connections."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS
from websockets.server import ServerProtocol

from proxy.web.connections import Connections, Taking

PATHS = frozenset({b"/v1/responses"})
"""Where a WebSocket may be opened."""

FRAGMENTS = 16_384
"""Pieces of one message, which may be empty; more close the connection with 1009."""

_LINE_BYTES = 4
"""What a header line has beside its name and value."""


class LimitedWebSocket(WebSocketsSansIOProtocol):
    """A connection that has become a WebSocket; its messages are not compressed.

    A message longer than `body_bytes` closes it with 1009. A client need not answer pings, which
    keep the connection open: some do only while they read. The kernel finds those that are gone.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: Any,
        app_state: dict[str, Any],
        *,
        connections: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._connections = connections
        settings = connections.settings
        self.conn = ServerProtocol(max_size=settings.body_bytes, logger=self.logger)
        self.ping_interval, self.ping_timeout = settings.heartbeat_seconds, None
        self._taking = Taking(self.loop.time())
        self._pongs = b""
        """What answers pings once the client takes something again."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Give its place to another one."""
        self._connections.remove(self)
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """Go on with what the client takes again."""
        self._taking.at = self.loop.time()
        super().resume_writing()
        if self._pongs and not self.transport.is_closing():
            self.transport.write(self._pongs)
        self._pongs = b""

    def handle_ping(self) -> None:
        """Answer; of those that come while the client takes nothing, the newest (RFC 6455)."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self._pongs = b"".join(self.conn.data_to_send()) or self._pongs

    def handle_cont(self, event: Frame) -> None:
        """Take a piece of a message."""
        super().handle_cont(event)
        if len(self.frames) > FRAGMENTS:
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, "the message comes in too many pieces")
            self.handle_parser_exception()

    async def send(self, message: Any) -> None:
        """Send what the application says; a handshake that it refused is over, too."""
        await super().send(message)
        if self.close_sent and self.initial_response is not None:
            # uvicorn would log an application that did not answer.
            self.handshake_complete = True

    def check(self, now: float) -> None:
        """Close it where its client takes nothing."""
        is_paused = not self.writable.is_set()
        if self._taking.nothing_for(self.transport, now, is_paused=is_paused) > (
            self._connections.settings.client_silence_seconds
        ):
            address = self.client[0] if self.client else "a client"
            self._connections.log_rarely(
                "stalled", f"{address}: takes nothing of a WebSocket; the connection is closed"
            )
            self.transport.abort()


def is_handshake(url: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a GET that offers another protocol is one for a WebSocket that there is."""
    return url.partition(b"?")[0] in PATHS and any(
        name == b"upgrade" and value.lower() == b"websocket" for name, value in headers
    )


def is_readable(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the library that reads a handshake can read so many and such long headers."""
    return len(headers) <= MAX_NUM_HEADERS and all(
        len(name) + len(value) + _LINE_BYTES <= MAX_LINE_LENGTH for name, value in headers
    )


def become_websocket(
    protocol: Any, connections: Connections, head: bytes, rest: bytes
) -> LimitedWebSocket:
    """Let a WebSocket take the place of a connection of uvicorn's that was asked for one."""
    transport: asyncio.Transport = protocol.transport
    new = LimitedWebSocket(
        protocol.config, protocol.server_state, protocol.app_state, connections=connections
    )
    protocol.connections.discard(protocol)
    connections.hand_over(protocol, new)
    transport.set_protocol(new)
    new.connection_made(transport)
    new.data_received(head)
    if rest:
        new.data_received(rest)
    return new
