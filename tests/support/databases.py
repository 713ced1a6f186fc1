"""A database for a test: by motor, or by the asynchronous client that takes motor's place.

`TEST_MONGODB_DRIVER=pymongo` runs the tests that open their database here on PyMongo's own
client. What stands between is all that a change of the driver has to bring.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from proxy.database import DOCUMENTS, Database, connect
from proxy.documents.base import Raw
from proxy.documents.message_view import NAME
from tests.support.stored_documents import collection_name, documents_of_wrong_type, rows_of_all


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


class PymongoDatabase(Database):
    """A database by PyMongo's asynchronous client."""

    closing: asyncio.Task[None]

    def close(self) -> None:
        """Close all connections, in a task: this client's `close` is a coroutine."""
        self.closing = asyncio.get_running_loop().create_task(self.client.close())


class ReadOnceDatabase(Database):
    """A database that lets Beanie read the classes once: they are the same in every test."""

    classes_read = False

    async def bind_documents(self, *, indexes: bool) -> None:
        """Tell the documents' classes where their collections are."""
        kind, documents = type(self), cast(list[Any], DOCUMENTS)
        if not kind.classes_read:
            await super().bind_documents(indexes=indexes)
            kind.classes_read = True
        for document in documents:
            document.set_database(self.database)
            document.set_collection(self.database[document.get_collection_name()])


class PreparedDatabase(ReadOnceDatabase):
    """A database that has its indexes and its view: half of what an application's start takes."""

    async def prepare(self, *, indexes: bool = True) -> None:
        """Bind the documents and create what is stored of counters and the like."""
        del indexes
        await super().prepare(indexes=False)


class PreparedPymongoDatabase(PreparedDatabase, PymongoDatabase):
    """Such a one by PyMongo's asynchronous client."""


class ReadyDatabase(PreparedDatabase):
    """A database that holds what an application stores at its start: the first one finds it."""

    is_ready = True

    async def prepare(self, *, indexes: bool = True) -> None:
        """Bind the documents; from the second time on create what is missing."""
        if self.is_ready:
            self.is_ready = False
            await self.bind_documents(indexes=False)
            return
        await super().prepare(indexes=indexes)


class ReadyPymongoDatabase(ReadyDatabase, PymongoDatabase):
    """Such a one by PyMongo's asynchronous client."""


def open_database(
    uri: str, name: str, *, is_prepared: bool = False, is_ready: bool = False
) -> Database:
    """Open a client of the driver that `TEST_MONGODB_DRIVER` names; motor without it."""
    if os.environ.get("TEST_MONGODB_DRIVER") != "pymongo":
        database = connect(uri, name)
        if is_ready:
            return ReadyDatabase(database.database)
        return PreparedDatabase(database.database) if is_prepared else database
    client: AsyncMongoClient[Any] = AsyncMongoClient(uri, w="majority", journal=True)
    kind = PreparedPymongoDatabase if is_prepared else PymongoDatabase
    return (ReadyPymongoDatabase if is_ready else kind)(_Collections(client, name))


@dataclass(frozen=True, slots=True)
class Ready:
    """A database that is ready: its name, and what its collections have and hold then."""

    name: str
    indexes: dict[str, list[Raw]]
    contents: dict[str, list[Raw]]


async def made_ready(uri: str, name: str) -> Ready:
    """Make the indexes and the view of a new database."""
    database = open_database(uri, name)
    await database.prepare()
    raw, names = database.database, [collection_name(document) for document in DOCUMENTS]
    there = await raw.list_collection_names()
    indexes = {each: await _indexes(raw, each) if each in there else [] for each in names}
    contents = {each: await raw[each].find().to_list(None) for each in names}
    await close_database(database)
    return Ready(name, indexes, {each: held for each, held in contents.items() if held})


async def _indexes(database: Any, name: str) -> list[Raw]:
    answer = await database.command("listIndexes", name)
    return [index for index in answer["cursor"]["firstBatch"] if index["name"] != "_id_"]


async def restore(database: Database, ready: Ready) -> list[Raw]:
    """Take away what a test left; returns what of it has wrong types.

    A collection with a unique index that holds something else than at first is dropped and made
    anew: of a document that was changed and then deleted, the embedded server keeps the first value
    there. All others are emptied, which is done sooner.
    """
    raw = database.database
    there = set(await raw.list_collection_names())
    for name in there - ready.indexes.keys() - {NAME}:
        if not name.startswith("system."):
            await raw.drop_collection(name)
    held = await _held(database, ready)
    changed = [name for name in ready.indexes if held.get(name, []) != ready.contents.get(name, [])]
    wrong = await documents_of_wrong_type(database, changed)
    for name in changed:
        if any(index.get("unique") for index in ready.indexes[name]):
            await raw.drop_collection(name)
            there.discard(name)
        else:
            await raw[name].delete_many({})
    for name in ready.indexes.keys() - there:
        if ready.indexes[name]:
            await raw.command("createIndexes", name, indexes=ready.indexes[name])
    for name in {*changed, *(ready.contents.keys() - there)}:
        if first := ready.contents.get(name):
            await raw[name].insert_many(first)
    return wrong


async def _held(database: Database, ready: Ready) -> dict[str, list[Raw]]:
    """Return what the collections hold, one document more than at first, by one command."""

    def some_of(name: str) -> list[Raw]:
        limit = len(ready.contents.get(name, ())) + 1
        shown = {"_id": 0, "found": {"$literal": name}, "document": "$$ROOT"}
        return [{"$limit": limit}, {"$project": shown}]

    held: dict[str, list[Raw]] = {}
    async for row in rows_of_all(database, {name: some_of(name) for name in sorted(ready.indexes)}):
        held.setdefault(row["found"], []).append(row["document"])
    return held


async def close_database(database: Database) -> None:
    """Close a database that `open_database` gave."""
    database.close()
    if isinstance(database, PymongoDatabase):
        await database.closing
