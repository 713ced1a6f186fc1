from collections.abc import AsyncIterator

import pytest

from proxy.providers.base import Provider
from tests.fakes.faults import FaultyUpstream
from tests.support.providers import provider_for
from tests.support.upstreams import upstream

__all__ = ["provider", "upstream"]


@pytest.fixture
async def provider(upstream: FaultyUpstream) -> AsyncIterator[Provider]:
    provider = provider_for(upstream, read_timeout_seconds=30)
    yield provider
    await provider.close()
