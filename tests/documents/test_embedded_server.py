"""What the embedded server does otherwise than MongoDB, each shown on the server itself.

With `TEST_MONGODB_URI` the same tests show that MongoDB does not. Where one fails on the embedded
server, its answer in `proxy/documents/embedded_server.py` may go.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, OperationFailure, WriteError

from proxy.database import DOCUMENTS, Database
from proxy.documents.base import Owned, Raw
from proxy.documents.embedded_server import (
    CERTAIN_IMAGE,
    NARROW_INDEXES,
    PATTERN_BYTES,
    all_of,
    find_by_values,
    forget_old_keys,
    is_embedded,
    redefine_view,
)
from proxy.routers import plan_documents
from proxy.search import prefilter
from tests.conftest import client_of, make_settings, running_app
from tests.support.stored_documents import collection_name

MANY = 60
"""Documents that nothing asks for."""

RACERS = 200


@pytest.fixture
async def database(wire_uri: str) -> AsyncIterator[Any]:
    client: Any = AsyncIOMotorClient(wire_uri)
    name = f"test_{uuid4().hex[:12]}"
    yield client[name]
    await client.drop_database(name)
    client.close()


@pytest.fixture
async def embedded(database: Any) -> bool:
    return await is_embedded(database)


@pytest.fixture
async def documents(database: Any) -> Any:
    """`{"_id": "7", "owner": "me", "n": 7, "tags": [{"name": "a"}, {"name": "b"}]}`, many."""
    collection = database["documents"]
    await collection.insert_many(
        [
            {"_id": f"{n}", "owner": "me", "n": n, "tags": [{"name": "a"}, {"name": "b"}]}
            for n in range(MANY)
        ]
    )
    return collection


async def examined(collection: Any, filter_: Raw) -> int:
    """How many documents a server looks at for a filter."""
    plan = await collection.database.command(
        "explain", {"find": collection.name, "filter": filter_}, verbosity="executionStats"
    )
    found: int = plan["executionStats"]["totalDocsExamined"]
    return found


async def test_an_index_is_used_only_where_it_covers_the_whole_filter(
    documents: Any, embedded: bool
) -> None:
    filter_ = {"_id": "7", "owner": "me"}
    assert (await examined(documents, filter_) == MANY) is embedded
    await documents.create_index([("_id", 1), ("owner", 1)])
    assert await examined(documents, filter_) == 1


async def test_several_values_beside_a_second_field_use_no_index_that_begins_with_them(
    documents: Any, embedded: bool
) -> None:
    await documents.create_index([("_id", 1), ("owner", 1)])
    both = {"_id": {"$in": ["7", "8"]}, "owner": "me"}
    assert (await examined(documents, both) == MANY) is embedded
    assert await examined(documents, {"_id": both["_id"]}) == 2
    found = await find_by_values(documents, "me", "_id", ["7", "8"], {"n": 1})
    assert sorted(raw["n"] for raw in found) == [7, 8]
    assert await find_by_values(documents, "somebody", "_id", ["7"], None) == []


async def test_only_the_document_after_an_update_is_certain(database: Any, embedded: bool) -> None:
    counters = database["counters"]
    await counters.insert_many([{"_id": "before", "value": 0}, {"_id": "after", "value": 0}])

    async def values(id_: str, image: bool) -> set[int]:
        found = await asyncio.gather(
            *(
                counters.find_one_and_update(
                    {"_id": id_}, {"$inc": {"value": 1}}, return_document=image
                )
                for _ in range(RACERS)
            )
        )
        return {raw["value"] for raw in found}

    assert len(await values("after", CERTAIN_IMAGE)) == RACERS
    before = await values("before", ReturnDocument.BEFORE)
    # What a race shows on the embedded server, most of the time, MongoDB never does.
    assert embedded or len(before) == RACERS


async def test_no_counter_is_missing_where_many_would_make_it(
    database: Any, embedded: bool
) -> None:
    async def upserted() -> Any:
        try:
            return await database["counters"].find_one_and_update(
                {"_id": "new"}, {"$inc": {"value": 1}}, upsert=True, return_document=CERTAIN_IMAGE
            )
        except DuplicateKeyError:
            return "refused"

    found = await asyncio.gather(*(upserted() for _ in range(50)))
    assert embedded or None not in found


async def test_all_finds_nothing_in_a_field_of_array_elements(
    documents: Any, embedded: bool
) -> None:
    found = await documents.count_documents({"tags.name": {"$all": ["a", "b"]}})
    assert (found == 0) is embedded
    assert await documents.count_documents(all_of("tags.name", ["a", "b"])) == MANY
    assert await documents.count_documents(all_of("tags.name", ["a", "c"])) == 0


async def test_an_update_cannot_ask_for_one_element_with_several_fields(
    documents: Any, embedded: bool
) -> None:
    filter_ = {"tags": {"$elemMatch": {"name": "a"}}}
    assert await documents.count_documents(filter_) == MANY
    refused = False
    try:
        await documents.update_one(filter_, {"$set": {"tags.$.seen": True}})
    except WriteError:
        refused = True
    assert refused is embedded


async def test_a_long_pattern_is_refused(documents: Any, embedded: bool) -> None:
    await documents.find_one({"_id": {"$regex": "a" * PATTERN_BYTES}})
    refused = False
    try:
        await documents.find_one({"_id": {"$regex": "a" * (PATTERN_BYTES + 1)}})
    except OperationFailure:
        refused = True
    assert refused is embedded
    assert prefilter.PATTERN_BYTES < PATTERN_BYTES
    assert len("😀".encode()) * plan_documents.QUERY_CHARACTERS <= PATTERN_BYTES


async def test_a_pattern_for_the_beginning_of_a_value_uses_no_index(
    documents: Any, embedded: bool
) -> None:
    assert (await examined(documents, {"_id": {"$regex": "^7"}}) == MANY) is embedded


async def test_a_view_that_is_changed_stays_as_it_was(database: Any, embedded: bool) -> None:
    async def options() -> Any:
        reply = await database.command("listCollections", filter={"name": "view"})
        return reply["cursor"]["firstBatch"][0]["options"]

    first: Raw = {"viewOn": "documents", "pipeline": [{"$project": {"n": 1}}]}
    second: Raw = {"viewOn": "documents", "pipeline": [{"$project": {"tags": 1}}]}
    await database.command({"create": "view", **first})
    assert (await database.command({"collMod": "view", **second}))["ok"] == 1
    assert (await options() == first) is embedded
    await redefine_view(database, "view", second)
    assert await options() == second


async def test_an_insert_into_a_view_vanishes(database: Any, embedded: bool) -> None:
    await database.command({"create": "view", "viewOn": "documents", "pipeline": []})
    refused = False
    try:
        await database["view"].insert_one({"_id": "x"})
    except OperationFailure:
        refused = True
    assert refused is not embedded
    assert await database["documents"].find_one({"_id": "x"}) is None


def test_every_collection_of_an_owner_has_an_index_for_one_document_of_it() -> None:
    owned = {collection_name(document) for document in DOCUMENTS if issubclass(document, Owned)}
    assert set(NARROW_INDEXES) == owned
    for name, indexes in NARROW_INDEXES.items():
        keys = [list(index.document["key"]) for index in indexes]
        assert any(key[:2] == ["_id", "owner"] for key in keys), name


async def test_a_unique_index_keeps_a_key_that_its_document_no_longer_has(
    database: Any, *, embedded: bool
) -> None:
    collection = database["named"]
    await collection.create_index([("owner", 1), ("name", 1)], name="name", unique=True)

    def named(id_: int, name: str) -> Raw:
        return {"_id": id_, "owner": "me", "name": name}

    await collection.insert_one(named(1, "old"))
    await collection.update_one({"_id": 1}, {"$set": {"name": "new"}})
    if not embedded:
        await collection.insert_one(named(2, "old"))
        return
    with pytest.raises(DuplicateKeyError) as refused:
        await collection.insert_one(named(2, "old"))
    assert await forget_old_keys(collection, named(2, "old"), refused.value)
    await collection.insert_one(named(2, "old"))
    with pytest.raises(DuplicateKeyError) as refused:
        await collection.insert_one(named(3, "new"))
    assert not await forget_old_keys(collection, named(3, "new"), refused.value)
    assert list(await collection.index_information()) == ["_id_", "name"]


async def test_a_unique_index_that_several_make_anew_at_once_is_never_missing(
    database: Any, *, embedded: bool
) -> None:
    if not embedded:
        return
    collection = database["named"]
    keys = [("owner", 1), ("name", 1)]
    await collection.create_index(keys, name="name", unique=True)

    def refused_by(index: str) -> DuplicateKeyError:
        return DuplicateKeyError(f"E11000 duplicate key error collection: x.y index: {index} dup")

    going_on = True
    found: list[int] = []

    async def look() -> None:
        while going_on:
            indexes = await collection.index_information()
            found.append(sum(bool(index.get("unique")) for index in indexes.values()))

    async def make_anew(index: str) -> None:
        for n in range(20):
            free = {"_id": n, "owner": "me", "name": "free"}
            assert await forget_old_keys(collection, free, refused_by(index))

    looking = asyncio.create_task(look())
    await asyncio.gather(*(make_anew("name") for _ in range(4)))
    going_on = False
    await looking
    assert min(found) > 0
    # What a worker that was killed at it left goes with the next refusal.
    await collection.create_index(keys, name="name_meanwhile_1f", unique=True)
    await make_anew("name_meanwhile_1f")
    assert sorted(await collection.index_information()) == ["_id_", "name"]


async def test_a_name_that_was_given_up_is_free_and_a_taken_one_is_not(wire: Database) -> None:
    async with running_app(wire, make_settings()) as app, client_of(app) as client:
        for path in ("/v1/projects", "/v1/plan/categories"):
            body = {"name": "项目"}
            renamed = (await client.post(path, json=body)).json()["id"]
            changed = await client.put(f"{path}/{renamed}", json={"name": "新"})
            assert changed.status_code == 200, changed.text
            for name, status in (("项目", 200), ("项目", 409), ("新", 409)):
                made = await client.post(path, json={**body, "name": name})
                assert made.status_code == status, made.text
            assert (await client.delete(f"{path}/{renamed}")).status_code == 200
            assert (await client.post(path, json={**body, "name": "新"})).status_code == 200


async def test_an_index_of_an_earlier_version_goes_and_those_in_use_stay(
    new_wire: Database,
) -> None:
    former = [("_id", 1), ("messages.attempt", 1)]
    await new_wire.database["conversations"].create_index(former, name="id_and_attempt")
    for _ in range(2):
        await new_wire.prepare()
    names = set(await new_wire.database["conversations"].index_information())
    if await is_embedded(new_wire.database):
        assert "id_and_attempt" not in names
        assert {index.document["name"] for index in NARROW_INDEXES["conversations"]} <= names
    assert "message_id" in names
