"""Every command that is asked by motor is counted once, under the name that the driver gives it."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ASCENDING, IndexModel, WriteConcern
from pymongo.errors import DuplicateKeyError, OperationFailure
from pymongo.monitoring import CommandListener

from proxy.metrics import COMMAND_DURATION
from proxy.timed_motor import TimedDatabase

Counts = Counter[tuple[str, ...]]


class Told(CommandListener):
    """What the driver tells of its commands: `(command, outcome)` → number."""

    def __init__(self) -> None:
        self.counts: Counts = Counter()

    def started(self, event: Any) -> None: ...

    def succeeded(self, event: Any) -> None:
        self.counts[event.command_name, "ok"] += 1

    def failed(self, event: Any) -> None:
        self.counts[event.command_name, "error"] += 1


def counted() -> Counts:
    return Counter({labels: int(sum(cell[:-1])) for labels, cell in COMMAND_DURATION.cells.items()})


@pytest.fixture
async def timed(wire_uri: str) -> AsyncIterator[tuple[TimedDatabase, Told]]:
    told = Told()
    client: Any = AsyncIOMotorClient(wire_uri, event_listeners=[told])
    name = f"test_{uuid4().hex[:12]}"
    yield TimedDatabase(client, name), told
    await client.drop_database(name)
    client.close()


async def test_each_command_is_counted_once_as_the_driver_names_it(
    timed: tuple[TimedDatabase, Told],
) -> None:
    database, told = timed
    rows = database["rows"]
    before = counted()
    await rows.create_indexes([IndexModel([("n", ASCENDING)])])
    await rows.insert_one({"_id": 0, "n": 0})
    await rows.insert_many([{"_id": number, "n": number} for number in range(1, 8)])
    await rows.update_one({"_id": 1}, {"$set": {"n": 9}})
    unsafe = database.get_collection("rows", write_concern=WriteConcern(1))
    await unsafe.update_many({}, {"$inc": {"n": 1}})
    await rows.replace_one({"_id": 2}, {"n": 2})
    await rows.delete_one({"_id": 3})
    await rows.delete_many({"_id": 4})
    assert (await rows.find_one({"_id": 5}))["n"] == 6
    assert (await rows.find_one_and_update({"_id": 5}, {"$inc": {"n": 1}}))["n"] == 6
    assert await rows.count_documents({}) == await rows.estimated_document_count() == 6
    await database.command("ping")
    await database.command({"buildInfo": 1})
    with pytest.raises(DuplicateKeyError):
        await rows.insert_one({"_id": 0})
    with pytest.raises(OperationFailure):
        await database.command({"noSuchCommand": 1})
    assert counted() - before == told.counts
    assert told.counts["insert", "ok"] == 3
    assert told.counts["noSuchCommand", "error"] == 1


async def test_each_batch_of_a_cursor_is_counted(timed: tuple[TimedDatabase, Told]) -> None:
    database, told = timed
    rows = database["rows"]
    await rows.insert_many([{"_id": number} for number in range(250)])
    before, told.counts = counted(), Counter()
    assert len([row async for row in rows.find().sort("_id", 1).batch_size(100)]) == 250
    assert len(await rows.find({}, {"_id": 1}).to_list(None)) == 250
    assert len([row async for row in rows.aggregate([{"$match": {}}], batchSize=100)]) == 250
    assert await rows.find({"_id": -1}).to_list(10) == []
    with pytest.raises(OperationFailure):
        await rows.find({"$wrong": 1}).to_list(None)
    with pytest.raises(OperationFailure):
        await rows.aggregate([{"$wrong": 1}]).to_list(None)
    assert counted() - before == told.counts
    assert told.counts["find", "ok"] == 3
    assert told.counts["getMore", "ok"] >= 4
    assert told.counts["find", "error"] == told.counts["aggregate", "error"] == 1


async def test_what_beanie_asks_with_each_class_is_asked_once(
    timed: tuple[TimedDatabase, Told],
) -> None:
    database, told = timed
    first, *others = [await database.command({"buildInfo": 1}) for _ in range(3)]
    assert others == [first, first]
    assert first["version"]
    assert told.counts["buildInfo", "ok"] == 1
