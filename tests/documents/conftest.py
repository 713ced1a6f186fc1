from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from proxy.database import Database, connect


@pytest.fixture(scope="session")
def storage_database_name() -> str:
    return f"test_{uuid4().hex[:12]}"


@pytest.fixture
async def wire(wire_uri: str, storage_database_name: str) -> AsyncIterator[Database]:
    """One database for all tests here: its indexes are made once."""
    database = connect(wire_uri, storage_database_name)
    yield database
    database.close()
