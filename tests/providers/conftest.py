from collections.abc import AsyncIterator

import pytest

from proxy.providers.base import Provider
from tests.fakes.faults import FaultyUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.poe_upstream import PoeUpstream
from tests.support.providers import provider_for


@pytest.fixture(params=[OpenAIUpstream, PoeUpstream], ids=["openai", "poe"])
async def upstream(request: pytest.FixtureRequest) -> AsyncIterator[FaultyUpstream]:
    async with request.param() as server:
        yield server


@pytest.fixture
async def provider(upstream: FaultyUpstream) -> AsyncIterator[Provider]:
    provider = provider_for(upstream, read_timeout_seconds=30)
    yield provider
    await provider.close()
