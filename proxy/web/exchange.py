"""One request and its answer on a connection, as uvicorn has it, whose head is checked at once."""

import re
from collections.abc import Awaitable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_NAMES = re.compile(rb"[a-z0-9_\n-]+")

_CONTROLS = bytes([*range(9), *range(10, 32), 127])

_UNUSUAL = frozenset({b"connection", b"transfer-encoding"})

_WITHOUT_BODY = (204, 304)


class Exchange(RequestResponseCycle):
    """uvicorn's cycle; it looks at each of some sixteen headers with two patterns of its own.

    That was a twentieth of a chat completion. What is not as usual goes uvicorn's way.
    """

    def send(self, message: Any) -> Awaitable[None]:  # type: ignore[override]
        """Send the head of the answer, or a part of its body."""
        # Every chunk of every stream passes here: no coroutine of its own.
        if self.response_started or message["type"] != "http.response.start":
            return super().send(message)
        return self._send_head(message)

    async def _send_head(self, message: Any) -> None:
        headers = [*self.default_headers, *message.get("headers", ())]
        lines = [b"%b: %b" % pair for pair in headers]
        head = b"\r\n".join(lines)
        named = dict(headers)
        if (
            self.disconnected
            or self.flow.write_paused
            or self.access_log
            or not _UNUSUAL.isdisjoint(named)
            or not _NAMES.fullmatch(b"\n".join(named))
            # Line ends stand between the lines, and nothing else that could end one.
            or len(head) - len(head.translate(None, _CONTROLS)) != 2 * len(lines) - 2
        ):
            await super().send(message)
            return
        self.response_started = True
        self.waiting_for_100_continue = False
        status = message["status"]
        rest = b"\r\n\r\n"
        if (length := named.get(b"content-length")) is not None:
            self.expected_content_length = int(length)
            self.chunked_encoding = False
        elif self.scope["method"] != "HEAD" and status not in _WITHOUT_BODY:
            self.chunked_encoding = True
            rest = b"\r\ntransfer-encoding: chunked\r\n\r\n"
        if not self.keep_alive:
            rest = b"\r\nconnection: close" + rest
        self.transport.write(b"".join((STATUS_LINE[status], head, rest)))
