"""Calls that are answered ahead of FastAPI, whose matching and injection cost more than they do."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.caller import CallerInfo
from proxy.errors import BadRequest, UnsupportedMediaType
from proxy.web.dependencies import caller as caller_of
from proxy.web.handlers import is_json

IDEMPOTENCY_KEY_CHARACTERS = 255

Answer = Callable[[Request, bytes, CallerInfo], Awaitable[Response]]
"""Answers a call whose body was read."""


class HotPath:
    """Serves each `POST` of `answers`, a path each, and hands on what is something else.

    Plain ASGI, behind the access layer: a caller is known by now, and a failure is answered there.
    """

    def __init__(self, app: ASGIApp, *, answers: Mapping[str, Answer]) -> None:
        self.app = app
        self.answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        is_post = scope.get("method") == "POST" and not scope["root_path"]
        answer = self.answers.get(scope["path"]) if is_post else None
        if answer is None:
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        caller = await caller_of(request)
        body = await _read(receive)
        if body is not None:
            response = await answer(request, body, caller)
            await response(scope, receive, send)


async def _read(receive: Receive) -> bytes | None:
    """Return the whole body of a request; None when its client left before."""
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def check_is_json(headers: Mapping[bytes, bytes]) -> None:
    """Check that a body says to be JSON.

    Raises:
        UnsupportedMediaType: it says to be something else.
    """
    content_type = headers.get(b"content-type", b"")
    if content_type != b"application/json" and not is_json(content_type.decode("latin-1")):
        raise UnsupportedMediaType


def idempotency_key(headers: Mapping[bytes, bytes]) -> str | None:
    """Return a call's key, under which the same body happens once.

    Raises:
        BadRequest: it is empty or too long.
    """
    key = headers.get(b"idempotency-key")
    if key is not None and not 0 < len(key) <= IDEMPOTENCY_KEY_CHARACTERS:
        raise BadRequest(f"Idempotency-Key: at most {IDEMPOTENCY_KEY_CHARACTERS} characters")
    return key.decode("latin-1") if key else None
