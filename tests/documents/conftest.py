import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from proxy.database import Database
from tests.support.databases import close_database, made_ready, open_database


@pytest.fixture(scope="session")
def storage_database_name(wire_uri: str) -> str:
    """A database that is ready."""
    return asyncio.run(made_ready(wire_uri, f"test_{uuid4().hex[:12]}")).name


@pytest.fixture
async def wire(wire_uri: str, storage_database_name: str) -> AsyncIterator[Database]:
    """One database for all tests here: its indexes are made once."""
    database = open_database(wire_uri, storage_database_name, is_prepared=True)
    yield database
    await close_database(database)
