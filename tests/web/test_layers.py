"""Layers that a person who embeds the application adds to it."""

from collections.abc import Awaitable, Callable

import pytest
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.app import create_app
from proxy.database import Database
from tests.conftest import client_of, make_settings

COMPLETION = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}


class Stamp:
    """A plain ASGI layer that marks every answer."""

    def __init__(self, app: ASGIApp, *, value: bytes) -> None:
        self.app = app
        self.value = value

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-stamp", self.value)]
            await send(message)

        await self.app(scope, receive, stamped)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_added_layer_stands_around_every_answer(mock: Database, stream: bool) -> None:
    app = create_app(make_settings(), database=mock, create_indexes=False)
    app.add_middleware(Stamp, value=b"inner")

    @app.middleware("http")
    async def outer(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        response.headers["X-Outer"] = request.url.path
        return response

    async with app.router.lifespan_context(app), client_of(app) as client:
        for method, path, body in (
            ("POST", "/v1/chat/completions", {**COMPLETION, "stream": stream}),
            ("GET", "/v1/models", None),
            ("GET", "/nowhere", None),
        ):
            response = await client.request(method, path, json=body)
            assert response.headers["x-stamp"] == "inner"
            assert response.headers["x-outer"] == path
            assert response.headers["x-request-id"]


def test_every_route_stands_in_the_application_itself() -> None:
    """A router that is included makes its routes once more at the first request: 0.2 s."""
    kinds = {type(route) for route in create_app(make_settings()).routes}
    assert kinds <= {APIRoute, APIWebSocketRoute, Mount}
