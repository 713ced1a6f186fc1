"""The edge of the application, in plain ASGI: request ids, body limits, the last catch."""

import logging
import re
from collections.abc import Sequence
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.errors import ProxyError, TooLarge
from proxy.responses import Json

log = logging.getLogger(__name__)

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Edge:
    """Wraps the whole application.

    Every response carries `X-Request-Id` (the caller's own when it is a plain token). A
    body over `body_bytes` is a 413 (paths in `large_paths` may send `large_bytes`). What
    nobody caught becomes a 500 with one sentence; the trace goes to the log only.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        body_bytes: int,
        large_bytes: int = 0,
        large_paths: Sequence[str] = (),
    ) -> None:
        self.app = app
        self.body_bytes = body_bytes
        self.large_bytes = large_bytes
        self.large_paths = frozenset(large_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        sent_id = headers.get("x-request-id", "")
        request_id = sent_id if REQUEST_ID.fullmatch(sent_id) else f"req_{uuid4().hex}"
        scope.setdefault("state", {})["request_id"] = request_id
        limit = self.large_bytes if scope["path"] in self.large_paths else self.body_bytes
        started = False
        received = 0

        async def send_stamped(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise too_large(limit)
            return message

        try:
            length = headers.get("content-length", "")
            if length.isdigit() and int(length) > limit:
                raise too_large(limit)
            await self.app(scope, receive_bounded, send_stamped)
        except ProxyError as error:
            if started:
                raise
            await Json(error.body(), error.status)(scope, receive, send_stamped)
        except Exception:
            log.exception("unhandled error; request id %s", request_id)
            if started:
                raise
            unknown = ProxyError(f"{ProxyError.message}: {request_id}")
            await Json(unknown.body(), unknown.status)(scope, receive, send_stamped)


def too_large(limit: int) -> TooLarge:
    """The 413 for a body over its limit."""
    return TooLarge(f"The request body is larger than {limit} bytes; send less at once")
