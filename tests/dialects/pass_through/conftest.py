"""OpenAI's own client, in front of a gateway in front of a scripted upstream."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest
from openai import AsyncOpenAI

from proxy.database import Database
from tests.dialects.chat_completions.conftest import KEY, gateway_of
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.sdk import sdk_at


class Passing(NamedTuple):
    """A client of OpenAI's, a plain one, and the calls that were counted."""

    sdk: AsyncOpenAI
    http: httpx.AsyncClient
    calls: Sequence[Any]


PassingTo = Callable[..., AbstractAsyncContextManager[Passing]]


@pytest.fixture
def passing_to(mock: Database) -> PassingTo:
    """`async with passing_to(openai_base_url=…, **settings) as passing`."""

    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[Passing]:
        async with gateway_of(mock, **settings) as http:
            base_url = f"{http.base_url}/v1".replace("//v1", "/v1")
            async with sdk_at(base_url, "any") as sdk:
                yield Passing(sdk, http, http.calls)  # type: ignore[attr-defined]

    return start


@pytest.fixture
async def passing(passing_to: PassingTo, upstream: OpenAIUpstream) -> AsyncIterator[Passing]:
    async with passing_to(openai_base_url=upstream.base_url, openai_api_key=KEY) as found:
        yield found
