"""The outer layers, in plain ASGI: request ids, safe headers, who may pass, limits."""

import logging
import re
import time
from collections.abc import Awaitable, Mapping, Sequence
from random import getrandbits
from typing import Any

from fastapi import HTTPException
from pymongo.errors import PyMongoError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.caller import CallerInfo, current_caller
from proxy.credentials import FORMAT, PREFIX
from proxy.errors import ProxyError, StorageUnavailable, TooLarge
from proxy.metrics import REQUEST_SECONDS
from proxy.settings import Settings
from proxy.web.handlers import error_response
from proxy.web.logs import request_id
from proxy.web.state import server_state
from proxy.web.tracing import traceparent

log = logging.getLogger(__name__)
access = logging.getLogger("proxy.access")

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")

TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C's header of a traced request; the group is the trace's id."""

HOT_PATHS = frozenset({"/v1/chat/completions", "/v1/responses"})
"""What is answered before routing."""

SAFE_HEADERS: list[tuple[bytes, bytes]] = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
"""On every response: browsers neither guess types, nor frame it, nor embed it elsewhere."""

_SAFE_NAMES = frozenset(dict(SAFE_HEADERS))

SHORT_BODIES = re.compile(
    r"^/v1/(keys|usage|models)\b|/(stop-stream|tags|tags:batch|document-references)$"
)
"""Paths whose bodies have no long text."""

PATIENCE_BYTES = 1024 * 1024

NO_STORE = (b"cache-control", b"no-store")

NEVER_KEPT = (b"vary", b"*")
"""On the API's answers to a GET: a service worker that keeps every one cannot keep these (the `put`
of its cache refuses them), so that a page sees what is, and after a log-in what its person may."""


class RequestContext:
    """The outermost layer: every response carries `X-Request-Id` and the safe headers.

    The id is the caller's own when it is a plain token; every log line of the request shows it.
    Further in, `scope["state"]` holds the request's `headers` as a dict, the `path` that routing
    sees, its `request_id`, and the `status` of the answer, 0 until it has begun.
    """

    def __init__(self, app: ASGIApp, *, access_log: bool = False) -> None:
        self.app = app
        self.access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the handshake of a WebSocket and what follows it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        headers = state["headers"] = dict(scope["headers"])
        id_ = headers.get(b"x-request-id")
        if id_ is None or not REQUEST_ID.fullmatch(id_):
            id_ = b"req_%032x" % getrandbits(128)
        state["request_id"] = id_.decode()
        state["status"] = 0
        request_id.set(state["request_id"])
        if (sent_trace := headers.get(b"traceparent")) is not None:
            traceparent.set(sent_trace.decode("latin-1"))
        began = time.perf_counter()
        path = state["path"] = _path(scope)
        can_be_kept = scope.get("method") == "GET" and path.startswith("/v1/")

        def send_stamped(message: Message) -> Awaitable[None]:
            # Every chunk of every stream passes here: no coroutine of its own.
            if message["type"] == "http.response.start":
                state["status"] = message["status"]
                message["headers"] = stamped(message.get("headers", ()), id_)
                if can_be_kept:
                    message["headers"].append(NEVER_KEPT)
            return send(message)

        is_request = scope["type"] == "http"
        sender = send_stamped if is_request else _handshake_sender(send, state, id_)
        try:
            await self.app(scope, receive, sender)
        finally:
            seconds = time.perf_counter() - began
            route = _route(scope)
            method = scope.get("method", "GET")
            REQUEST_SECONDS.observe((method, route, str(state["status"])), seconds)
            if self.access_log:
                _log_access(scope, route, seconds * 1000)


def _handshake_sender(send: Send, state: dict[str, Any], id_: bytes) -> Send:
    """Return the sender of a WebSocket, which notes how its handshake is answered."""

    def send_noted(message: Message) -> Awaitable[None]:
        if message["type"] == "websocket.accept":
            state["status"] = 101
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", id_)]
        elif message["type"] == "websocket.http.response.start":
            state["status"] = message["status"]
            message["headers"] = stamped(message["headers"], id_)
        return send(message)

    return send_noted


def _route(scope: Scope) -> str:
    """Return the template that the path matched: there are as many of those as routes."""
    path, route = scope["state"]["path"], scope.get("route")
    if route is None:
        return path if path in HOT_PATHS else "(none)"
    template: str = route.path
    return template


def _log_access(scope: Scope, route: str, milliseconds: float) -> None:
    state = scope["state"]
    caller = state.get("caller")
    traceparent = TRACEPARENT.fullmatch(state["headers"].get(b"traceparent", b""))
    access.info(
        "%s %s %d %.1f ms key=%s",
        scope.get("method", "GET"),
        FORMAT.sub(PREFIX + "...", scope["path"]).encode("unicode_escape").decode(),
        state["status"],
        milliseconds,
        (caller.key_id if caller else "") or "-",
        extra={
            "method": scope.get("method", "GET"),
            "route": route,
            "status": state["status"],
            "ms": round(milliseconds, 1),
            "owner": caller.owner if caller else None,
            "key_id": (caller.key_id or None) if caller else None,
            "trace_id": traceparent[1].decode() if traceparent else None,
        },
    )


class AccessControl:
    """Nobody passes who may not; nothing passes that is too large; no failure is shown raw.

    It stands before routing, so no route can forget it, and before the body is read. A body
    over its path's limit is a 413. A POST to one of the `reply_paths` takes a slot. What nobody
    caught becomes a 500 with one sentence; the trace goes to the log only.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        reply_paths: re.Pattern[str],
        body_bytes_of_paths: Mapping[str, int] | None = None,
    ) -> None:
        self.app = app
        self.settings = settings
        self.reply_paths = reply_paths
        self.body_bytes_of_paths = body_bytes_of_paths or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; each message of a WebSocket comes as one of its own."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        state = scope["state"]
        try:
            path = state["path"]
            await self._admit(scope, path, state["headers"])
            if scope["type"] == "websocket":
                server_state(scope).authenticator.origins.check_page(state["headers"])
                await self.app(scope, receive, send)
                return
            limit = self.body_bytes_of_paths.get(path) or self._body_bytes(path)
            receive = _bounded(receive, limit, state["headers"])
            if scope["method"] != "POST" or not self.reply_paths.fullmatch(path):
                await self.app(scope, receive, send)
                return
            slots = server_state(scope).slots
            slot = await slots.begin_reply(state.get("caller") or CallerInfo())
            try:
                await self.app(scope, receive, send)
            finally:
                slots.release(slot)
        except ProxyError as error:
            if state["status"]:
                raise
            await error_response(error)(scope, receive, send)
        except HTTPException as error:
            if state["status"]:
                raise
            response = error_response(TooLarge(error.detail))
            response.headers.update(error.headers or {})
            await response(scope, receive, send)
        except Exception as error:
            log.exception("unhandled error")
            if state["status"]:
                raise
            known: ProxyError = (
                StorageUnavailable(retry_after_seconds=5)
                if isinstance(error, PyMongoError)
                else ProxyError(f"{ProxyError.message}: {state['request_id']}")
            )
            await error_response(known)(scope, receive, send)

    def _body_bytes(self, path: str) -> int:
        if path.startswith("/v1/auth/"):
            return self.settings.login_body_bytes
        if not path.startswith("/v1/") or SHORT_BODIES.search(path):
            return self.settings.short_body_bytes
        return self.settings.body_bytes

    async def _admit(self, scope: Scope, path: str, headers: dict[bytes, bytes]) -> None:
        state = server_state(scope)
        authenticator, limits = state.authenticator, state.limits
        client = scope.get("client")
        caller = await authenticator.identify(
            scope.get("method", "GET"), path, headers, client[0] if client else None
        )
        current_caller.set(caller)
        if caller is not None:
            scope["state"]["caller"] = caller
            await limits.count_request(caller)


def _path(scope: Scope) -> str:
    """Return the path that routing sees."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path


def stamped(given: Sequence[tuple[bytes, bytes]], id_: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with those that every answer has."""
    names = dict(given)
    headers = [*given, (b"x-request-id", id_)]
    if _SAFE_NAMES.isdisjoint(names):
        headers += SAFE_HEADERS
    else:
        headers += [pair for pair in SAFE_HEADERS if pair[0] not in names]
    if b"cache-control" not in names:
        headers.append(NO_STORE)
    return headers


def _bounded(receive: Receive, limit: int, headers: Mapping[bytes, bytes]) -> Receive:
    """Return the body, which becomes an error where it is larger than its limit.

    Raises:
        HTTPException: it says itself that it is.
    """
    length = headers.get(b"content-length", b"")
    if length.isdigit() and b"transfer-encoding" not in headers:
        if int(length) > limit:
            raise too_large(limit)
        # The server takes no more than was announced.
        return receive
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            # Whoever sends a little too much hears of it once they have sent it all: an
            # answer that closes the connection earlier would be lost on most clients.
            while limit < received <= limit + PATIENCE_BYTES and message.get("more_body"):
                message = await receive()
                received += len(message.get("body", b""))
            if received > limit:
                raise too_large(limit, close=bool(message.get("more_body")))
        return message

    return bounded


def too_large(limit: int, *, close: bool = False) -> HTTPException:
    """Return the 413 for a body over its limit; `close` where the rest of it is not waited for.

    FastAPI turns what is raised while it reads a body into a 400, except an `HTTPException`.
    """
    return HTTPException(
        413,
        f"The request body is larger than {limit} bytes; send less at once",
        headers={"Connection": "close"} if close else None,
    )
