"""A live application with a scripted upstream, and a client of its Responses."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest

from tests.conftest import LiveServer
from tests.fakes.openai_upstream import OpenAIUpstream


class Served(NamedTuple):
    client: httpx.AsyncClient
    upstream: OpenAIUpstream

    async def respond(self, **body: Any) -> Any:
        """`POST /v1/responses`, which must be a success."""
        answer = await self.client.post("/v1/responses", json={"model": "test-model", **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    @property
    def sent(self) -> list[Any]:
        """The messages of the last call to the upstream."""
        return list(self.upstream.requests[-1].json["messages"])


@pytest.fixture
async def served(live: LiveServer) -> AsyncIterator[Served]:
    async with (
        OpenAIUpstream() as upstream,
        live(openai_base_url=upstream.base_url, openai_api_key="k") as client,
    ):
        yield Served(client, upstream)
