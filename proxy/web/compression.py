"""Answers compressed by gzip, for clients that take it."""

from collections.abc import Awaitable

from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

COMPRESSED_FROM_BYTES = 4096

COMPRESSION_LEVEL = 4


class Compression:
    """Compresses what is worth it; what a client takes as it is passes untouched.

    Event streams pass as they are; a source as text keeps its length, for progress bars.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._gzip = GZipMiddleware(
            app,
            minimum_size=COMPRESSED_FROM_BYTES,
            compresslevel=COMPRESSION_LEVEL,
            exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, "text/plain"),
        )

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] == "http":
            accepted = scope["state"]["headers"].get(b"accept-encoding", b"")
            if b"gzip" in accepted:
                return self._gzip(scope, receive, send)
        return self.app(scope, receive, send)
