"""A database for a test: by motor, or by the asynchronous client that takes motor's place.

`TEST_MONGODB_DRIVER=pymongo` runs the tests that open their database here on PyMongo's own
client. What stands between is all that a change of the driver has to bring.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from proxy.database import Database, connect


class _Rows:
    """What an aggregation gives, asked for by the first look at it, as motor does it."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for row in await self._cursor:
            yield row

    async def to_list(self, length: int | None = None) -> list[Any]:
        """Return all rows, or the first `length`."""
        rows: list[Any] = await (await self._cursor).to_list(length)
        return rows


class _Collection(AsyncCollection[Any]):
    """PyMongo's, but for `aggregate`, which is a coroutine there."""

    def aggregate(self, *args: Any, **options: Any) -> Any:
        """Return the rows of an aggregation."""
        return _Rows(super().aggregate(*args, **options))


class _Collections(AsyncDatabase[Any]):
    """PyMongo's database, with collections that aggregate as motor's do."""

    def __getitem__(self, name: str) -> _Collection:
        return _Collection(self, name)

    def with_options(self, *args: Any, **options: Any) -> "_Collections":
        """Return the same with other concerns."""
        changed = super().with_options(*args, **options)
        return _Collections(
            self.client,
            self.name,
            changed.codec_options,
            changed.read_preference,
            changed.write_concern,
            changed.read_concern,
        )


class PymongoDatabase(Database):
    """A database by PyMongo's asynchronous client."""

    closing: asyncio.Task[None]

    def close(self) -> None:
        """Close all connections, in a task: this client's `close` is a coroutine."""
        self.closing = asyncio.get_running_loop().create_task(self.client.close())


def open_database(uri: str, name: str) -> Database:
    """Open a client of the driver that `TEST_MONGODB_DRIVER` names; motor without it."""
    if os.environ.get("TEST_MONGODB_DRIVER") != "pymongo":
        return connect(uri, name)
    client: AsyncMongoClient[Any] = AsyncMongoClient(uri, w="majority", journal=True)
    return PymongoDatabase(_Collections(client, name))


async def close_database(database: Database) -> None:
    """Close a database that `open_database` gave."""
    database.close()
    if isinstance(database, PymongoDatabase):
        await database.closing
