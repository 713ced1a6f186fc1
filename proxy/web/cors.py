"""Which web pages of other origins may read our answers.

Those of `PROXY_CORS_ORIGINS`, and every page of this machine, on whatever port a developer serves
it. Access control decides on its own whether such a request is let in at all: with keys, a page
of this machine must send one, and no other page's request is let in by a cookie.
"""

from collections.abc import Awaitable

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.access.origins import foreign_origin, is_loopback_origin
from proxy.settings import Settings
from proxy.web.handlers import error_response

EXPOSED_HEADERS = ("X-Request-Id", "X-Model", "X-Upstream-Request-Id", "Retry-After")
"""What a page's script may read besides the body."""


class CrossOrigin:
    """Answers preflight requests, and marks the answers that a page may read."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self.app = app
        self._rules = _Rules(app, settings)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request; one that no page sent passes untouched."""
        if scope["type"] == "http" and b"origin" in scope["state"]["headers"]:
            return self._rules(scope, receive, send)
        return self.app(scope, receive, send)


class _Rules(CORSMiddleware):
    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        origins = [origin.rstrip("/") for origin in settings.cors_origins]
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["*"],
            allow_headers=["*"],
            # With "*" anybody's page may ask, but not as the person who is logged in.
            allow_credentials="*" not in origins,
            allow_private_network=bool(origins),
            expose_headers=EXPOSED_HEADERS,
        )

    def is_allowed_origin(self, origin: str) -> bool:
        """Whether a page of this origin may read what we answer."""
        return super().is_allowed_origin(origin) or is_loopback_origin(origin.encode("utf-8"))

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the answer to a browser that asks before it sends."""
        if not self.is_allowed_origin(request_headers["origin"]):
            return error_response(foreign_origin())
        return super().preflight_response(request_headers)
