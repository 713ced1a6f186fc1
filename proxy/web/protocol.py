"""HTTP/1.1 as uvicorn reads it, with limits that hold before anybody is known.

    a head (first byte of a message to the end of its headers)   431, its address 414, its time 408
    a body that stops arriving                                   408
    an answer that nobody takes                                  the connection is closed
    HTTP that is broken or has two meanings                      400

Every refusal is `{"detail": "…", "error": {…}}` and ends the connection.
"""

import asyncio
from functools import partial
from random import getrandbits
from typing import Any, Final

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from proxy.errors import (
    AddressTooLong,
    BadRequest,
    HeadTooLarge,
    ProxyError,
    RequestTimedOut,
)
from proxy.settings import Settings
from proxy.web.connections import Connections, Taking
from proxy.web.handlers import error_response
from proxy.web.middleware import stamped
from proxy.web.websocket import become_websocket, is_handshake, is_readable

BETWEEN: Final = 0
"""Nothing of the next message has come yet."""
HEAD: Final = 1
BODY: Final = 2
REFUSED: Final = 3
"""What still comes is thrown away."""

LINGER_SECONDS = 2.0
"""How long a refused client may go on sending: closed at once, it would never see the answer."""

LINE_BYTES = 4
"""What a header line has beside its name and value."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection of uvicorn's, bounded in bytes and seconds."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._connections = connections
        self._limits = connections.settings
        self._stage = HEAD
        self._now = 0.0
        """When the last bytes came."""
        self._since = 0.0
        """When the head began, the last byte of the body came, or the client was refused."""
        self._framing_bytes = 0
        """Bytes since the last message or byte of a body: a head, chunk sizes, trailers."""
        self._head_is_in_pieces = False
        self._taking = Taking(0.0)

    # What the transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection; refuse it over the limits."""
        super().connection_made(transport)
        self._since = self._taking.at = self.loop.time()
        error = self._connections.add(self, self.client[0] if self.client else "")
        if error is not None:
            self._stage = REFUSED
            self._answer(error)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give its place to another one."""
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        if self._stage == REFUSED:
            return
        self._now = self.loop.time()
        self._framing_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, ProxyError) else _broken(error))
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        else:
            if self._stage == HEAD:
                self._head_is_in_pieces = True
                if self._has_too_many_fields():
                    self._refuse(self._too_large())
                    return
            if self._framing_bytes > self._limits.head_bytes and self._stage != BETWEEN:
                self._refuse(self._too_large())

    def resume_writing(self) -> None:
        """Go on with an answer that the client takes again."""
        self._taking.at = self.loop.time()
        super().resume_writing()

    def check(self, now: float) -> None:
        """Close what has waited too long; called every second or so."""
        is_paused = self.flow.write_paused
        if self._taking.nothing_for(self.transport, now, is_paused=is_paused) > (
            self._limits.client_silence_seconds
        ):
            self._log("stalled", "takes nothing of its answer; the connection is closed")
            self.transport.abort()
            return
        waited = now - self._since
        if self._stage == REFUSED:
            if waited > LINGER_SECONDS:
                self.transport.abort()
        elif self.flow.read_paused:
            self._since = now
        elif self._stage == HEAD and waited > self._limits.head_seconds:
            self._refuse_silence(
                f"The headers did not arrive within {self._limits.head_seconds:g} seconds"
            )
        elif self._stage == BODY and waited > self._limits.client_silence_seconds:
            self._refuse_silence(
                f"No byte of the body came for {self._limits.client_silence_seconds:g} seconds"
            )

    # What the parser calls: uvicorn's methods by name, as `super()` makes an object each time

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._unset_keepalive_if_required()
        if self._stage == BETWEEN:
            self._stage = HEAD
            self._since = self._now
        HttpToolsProtocol.on_message_begin(self)

    def on_url(self, url: bytes) -> None:
        """Add a piece of the address.

        Raises:
            AddressTooLong: it has become longer than `address_bytes`.
        """
        self.url += url
        most = self._limits.address_bytes
        if len(self.url) > most:
            raise AddressTooLong(
                f"The address is longer than {most} bytes; send long texts in the body of a POST"
            )

    def on_headers_complete(self) -> None:
        """Begin the request, unless its head is too large or has two meanings.

        Raises:
            BadRequest: one of these.
        """
        limits = self._limits
        if self._head_is_in_pieces or self._framing_bytes > limits.head_bytes:
            self._check_size()
        if len(self.headers) > limits.header_fields:
            raise self._too_large()
        self._check_meaning()
        if len(self.pipeline) >= limits.pipelined_requests:
            raise BadRequest(
                f"More than {limits.pipelined_requests} requests wait for an answer on this "
                "connection; wait for answers before you send more"
            )
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise BadRequest("This server connects to no other one; send an ordinary request")
            return
        HttpToolsProtocol.on_headers_complete(self)
        self._stage = BODY
        self._since = self._now
        self._framing_bytes = 0
        self._head_is_in_pieces = False
        # Trailers come through `on_header`, too: the application never sees them.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Hand on a piece of the body."""
        self._since = self._now
        self._framing_bytes = 0
        HttpToolsProtocol.on_body(self, body)

    def on_message_complete(self) -> None:
        """End the request's body; what follows is the next message."""
        if self._stage == BODY:
            self._stage = BETWEEN
            self._framing_bytes = 0
            HttpToolsProtocol.on_message_complete(self)

    # What is refused

    def _has_too_many_fields(self) -> bool:
        return self.headers is not None and len(self.headers) > self._limits.header_fields

    def _too_large(self) -> HeadTooLarge:
        return HeadTooLarge(
            f"The request's headers are larger than {self._limits.head_bytes} bytes or more than "
            f"{self._limits.header_fields}; send fewer or shorter ones"
        )

    def _check_size(self) -> None:
        # In the bytes is what came of the body together with the end of the head.
        lines = sum(len(name) + len(value) + LINE_BYTES for name, value in self.headers)
        if len(self.url) + lines > self._limits.head_bytes:
            raise self._too_large()

    def _check_meaning(self) -> None:
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise BadRequest(f"This server speaks HTTP/1.1, not HTTP/{version}")
        hosts = codings = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                codings += 1
                if value.lower() != b"chunked":
                    codings += 1
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            raise BadRequest("A request has exactly one 'Host' header")
        if codings > 1 or (codings and version == "1.0"):
            raise BadRequest(
                "Of transfer encodings this server takes 'chunked' alone, in HTTP/1.1; "
                "or send 'Content-Length'"
            )

    def _upgrade(self, rest: bytes) -> None:
        """Become a WebSocket, or serve the ordinary request that offers another protocol, too.

        The parser skips the body of one, and would read it as the next request.
        """
        is_free = self.cycle is None or self.cycle.response_complete
        is_get = self.parser.get_method() == b"GET"
        if is_get and is_free and is_handshake(self.url, self.headers):
            if not is_readable(self.headers):
                self._refuse(self._too_large())
                return
            self._unset_keepalive_if_required()
            head = self._head_again(())
            self.parser = None  # type: ignore[assignment]
            become_websocket(self, self._connections, head, rest)
            return
        head = self._head_again((b"upgrade",))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._framing_bytes = 0
        self.data_received(head + rest)

    def _head_again(self, without: tuple[bytes, ...]) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method(), b" ", self.url, b" HTTP/", version, b"\r\n"]
        for name, value in self.headers:
            if name not in without:
                lines += [name, b": ", value, b"\r\n"]
        return b"".join([*lines, b"\r\n"])

    def _refuse_silence(self, sentence: str) -> None:
        if self._stage == HEAD and not self._framing_bytes:
            # A browser connects ahead of time; there is no request to answer.
            self.transport.close()
        else:
            self._refuse(RequestTimedOut(sentence))

    def _refuse(self, error: ProxyError) -> None:
        """Answer with the error where nothing else is being answered, and read no more."""
        self._log(str(error.status), error.detail)
        stage, self._stage = self._stage, REFUSED
        self._since = self.loop.time()
        self._unset_keepalive_if_required()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if stage != BODY:
                # Complete requests came before the broken one: they have their answers.
                cycle.keep_alive = False
                self._since = float("inf")
                return
            if cycle.response_started or self.pipeline:
                self.transport.close()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        self._answer(error)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _answer(self, error: ProxyError) -> None:
        response = error_response(error)
        headers = [
            *self.server_state.default_headers,
            *stamped(response.raw_headers, b"req_%032x" % getrandbits(128)),
            (b"connection", b"close"),
        ]
        lines = [STATUS_LINE[error.status]]
        for name, value in headers:
            lines += [name, b": ", value, b"\r\n"]
        self.transport.write(b"".join([*lines, b"\r\n", bytes(response.body)]))

    def _log(self, kind: str, sentence: str) -> None:
        address = self.client[0] if self.client else "a client"
        self._connections.log_rarely(kind, f"{address}: {sentence}")


def protocol_of(settings: Settings) -> Any:
    """Return what `uvicorn.Config(http=…)` takes; its connections are counted together."""
    return partial(LimitedProtocol, connections=Connections(settings))


def _broken(error: httptools.HttpParserError) -> BadRequest:
    if isinstance(error, httptools.HttpParserInvalidURLError) or "in url" in str(error):
        return BadRequest(
            "The address holds characters that must be percent-encoded, such as 中 or a space; "
            "with curl: -G --data-urlencode 'q=冒泡'",
            code="invalid_http",
        )
    reason = "" if isinstance(error, httptools.HttpParserCallbackError) else f": {error}"
    return BadRequest(f"This is not valid HTTP/1.1{reason}", code="invalid_http")
