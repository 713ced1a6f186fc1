"""A live gateway in front of scripted upstreams, on the database in memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest

from proxy.database import Database
from tests.conftest import make_settings, running_app
from tests.fakes.live import serve
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.clients import client_at
from tests.support.heard_calls import HeardCalls

Gateway = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

KEY = "sk-upstream-0123456789"


@asynccontextmanager
async def gateway_of(database: Database, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with running_app(database, make_settings(**settings)) as app:
        calls = HeardCalls(app.state.engine.completions)
        async with (
            serve(app) as url,
            client_at(url, timeout=20) as client,
        ):
            client.app = app  # type: ignore[attr-defined]
            client.calls = calls  # type: ignore[attr-defined]
            yield client


@pytest.fixture
def gateway(mock: Database) -> Gateway:
    """`async with gateway(openai_base_url=…, **settings) as client`; `client.calls` are counted."""

    def start(**settings: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        return gateway_of(mock, **settings)

    return start


@pytest.fixture
async def client(gateway: Gateway, upstream: OpenAIUpstream) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway in front of `upstream`."""
    async with gateway(openai_base_url=upstream.base_url, openai_api_key=KEY) as client:
        yield client
