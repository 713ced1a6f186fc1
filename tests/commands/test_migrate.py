"""Which data a server starts on, and changes that rewrite it while it runs."""

from typing import Any

import pytest

from proxy.database import Database
from proxy.documents.base import Raw
from proxy.documents.schema_version import (
    BATCH,
    VERSION,
    Migration,
    migrate,
    pending_migrations,
)
from proxy.settings import SettingsError

COUNT = 3 * BATCH + 7


@pytest.fixture
def wire(new_wire: Database) -> Database:
    """Nothing is there yet."""
    return new_wire


def split(raw: Raw) -> Raw:
    return {"$set": {"words": raw["text"].split()}, "$unset": {"text": 1}, "$inc": {"writes": 1}}


SPLIT = Migration("2 split texts", "things", {"text": {"$exists": True}}, split)


async def fill(database: Database) -> None:
    things = [{"_id": number, "text": f"a {number}"} for number in range(COUNT)]
    await database.database.things.insert_many([*things, {"_id": "new", "words": []}])


async def test_a_database_of_a_newer_program_is_refused_in_a_sentence(wire: Database) -> None:
    await wire.prepare()
    await wire.prepare()
    assert (await wire.database.meta.find_one({"_id": "schema"}))["version"] == VERSION
    newer = {"version": VERSION + 2, "min_reader": VERSION + 1}
    await wire.database.meta.update_one({"_id": "schema"}, {"$set": newer})
    with pytest.raises(SettingsError, match=rf"data of version {VERSION + 2}.*newer version"):
        await wire.prepare()


async def test_a_newer_database_that_this_program_can_read_stays_as_it_is(wire: Database) -> None:
    newer = {"_id": "schema", "version": VERSION + 1, "min_reader": VERSION}
    await wire.database.meta.insert_one(dict(newer))
    await wire.prepare()
    assert await wire.database.meta.find_one({"_id": "schema"}) == newer


async def test_every_document_is_rewritten_once(wire: Database) -> None:
    await fill(wire)
    assert await pending_migrations(wire.database, [SPLIT]) == {SPLIT.name: COUNT}
    assert await migrate(wire.database, [SPLIT]) == COUNT
    assert await wire.database.things.count_documents({"writes": 1}) == COUNT
    assert await pending_migrations(wire.database, [SPLIT]) == {}
    assert await migrate(wire.database, [SPLIT]) == 0


async def test_a_migration_that_was_cut_goes_on_where_it_was(wire: Database) -> None:
    await fill(wire)
    seen: list[Any] = []

    def dies(raw: Raw) -> Raw:
        if len(seen) == BATCH + 20:
            raise RuntimeError("killed")
        seen.append(raw["_id"])
        return split(raw)

    cut = Migration(SPLIT.name, SPLIT.collection, SPLIT.pending, dies)
    with pytest.raises(RuntimeError):
        await migrate(wire.database, [cut])
    assert await pending_migrations(wire.database, [SPLIT]) == {SPLIT.name: COUNT - len(seen)}
    assert await migrate(wire.database, [SPLIT]) == COUNT - len(seen)
    assert await wire.database.things.count_documents({"writes": 1}) == COUNT


async def test_what_changed_meanwhile_is_left_alone(wire: Database) -> None:
    """Another server is faster with one document, and somebody deletes another."""
    await fill(wire)
    things = wire.database.things

    class Racing:
        """The database, where others write between each read and update."""

        def __getitem__(self, name: str) -> Any:
            return Things() if name == "things" else wire.database[name]

    class Things:
        def find(self, filter_: Raw) -> Any:
            return things.find(filter_)

        async def update_one(self, filter_: Raw, update: Raw) -> Any:
            if filter_["_id"] == 5:
                await things.update_one({"_id": 5}, split({"text": "faster"}))
            if filter_["_id"] == 6:
                await things.delete_one({"_id": 6})
            return await things.update_one(filter_, update)

    assert await migrate(Racing(), [SPLIT]) == COUNT - 2
    assert (await things.find_one({"_id": 5}))["words"] == ["faster"]
    assert await things.find_one({"_id": 6}) is None
