"""Fixtures of the tests that run whole replies: a shared database, an upstream a protocol."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from proxy.database import Database
from tests.fakes.faults import FaultyUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.poe_upstream import PoeUpstream
from tests.support.databases import close_database, made_ready, open_database


@pytest.fixture(scope="session")
def engine_database_name(wire_uri: str) -> str:
    """A database that is ready."""
    return asyncio.run(made_ready(wire_uri, f"test_{uuid4().hex[:12]}")).name


@pytest.fixture
async def wire(wire_uri: str, engine_database_name: str) -> AsyncIterator[Database]:
    """One database for all tests here: its indexes are made once, no test looks at all of it."""
    database = open_database(wire_uri, engine_database_name, is_ready=True)
    yield database
    await close_database(database)


@pytest.fixture(params=[OpenAIUpstream, PoeUpstream], ids=["openai", "poe"])
async def upstream(request: pytest.FixtureRequest) -> AsyncIterator[FaultyUpstream]:
    """An upstream of each protocol in turn."""
    async with request.param() as server:
        yield server


@pytest.fixture
async def openai() -> AsyncIterator[OpenAIUpstream]:
    """One upstream, where the protocol does not matter."""
    async with OpenAIUpstream() as server:
        yield server


@pytest.fixture
async def poe() -> AsyncIterator[PoeUpstream]:
    """One upstream that can replace its text."""
    async with PoeUpstream() as server:
        yield server
