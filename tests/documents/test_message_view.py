"""The view `messages`, and the schemas: what explains the database in a Mongo shell."""

import logging
from typing import Any
from uuid import uuid4

import pytest

from proxy.database import DOCUMENTS, Database
from proxy.documents.base import DEFAULT_OWNER, Raw
from proxy.documents.conversation import Conversation
from proxy.documents.counter import Counter
from proxy.documents.embedded_server import is_embedded
from proxy.documents.json_schema import TITLE, describe_collections, json_schema
from proxy.documents.message import INTERNAL, ONLY_ASKED_FOR, Message
from proxy.documents.message_view import NAME, create_message_view, definition
from tests.support.databases import close_database, open_database
from tests.support.pages import message
from tests.support.stored_documents import collection_name, documents_of_wrong_type


async def listed(database: Database, name: str) -> Raw | None:
    reply = await database.database.command("listCollections", filter={"name": name})
    found: list[Raw] = reply["cursor"]["firstBatch"]
    return found[0] if found else None


@pytest.fixture
async def empty(wire_uri: str) -> Any:
    """A database that was never prepared."""
    name = f"test_{uuid4().hex[:12]}"
    database = open_database(wire_uri, name)
    yield database
    await database.client.drop_database(name)
    await close_database(database)


async def filled(count: int) -> str:
    """A conversation of so many messages, some of them in a page."""
    conversation = Conversation(name="排序")
    await conversation.create()
    first = await Counter.reserve("messages", count)
    messages = [message(first + n, f"冒泡 {n}") for n in range(count)]
    assert await Conversation.append(DEFAULT_OWNER, conversation.id, messages)
    assert await Conversation.move_tail(conversation.id, max_messages=4, max_bytes=10**6)
    return str(conversation.id)


async def test_one_line_gives_all_messages_of_a_conversation(empty: Database) -> None:
    await empty.prepare()
    id_, _ = await filled(9), await filled(9)
    found = await empty.database[NAME].find({"conversation_id": id_}).sort("_id", 1).to_list(None)
    assert [message["content"] for message in found] == [f"冒泡 {n}" for n in range(9)]
    assert {message["owner"] for message in found} == {DEFAULT_OWNER}


def test_every_field_of_a_message_is_in_the_view_but_what_is_internal() -> None:
    shown = definition()["pipeline"][-1]["$project"]
    assert {"_id", *shown} - {"conversation_id", "owner", "_id"} == (
        set(Message.model_fields) - {"id"} - INTERNAL - ONLY_ASKED_FOR
    )
    assert all("$$" not in str(value) for value in shown.values())


async def test_a_changed_definition_is_made_again(empty: Database) -> None:
    embedded = await is_embedded(empty.database)
    await empty.prepare()
    await empty.database.command("drop", NAME)
    await empty.database.command(
        {"create": NAME, "viewOn": "conversations", "pipeline": [{"$project": {"name": 1}}]}
    )
    for _ in range(2):
        await create_message_view(empty.database, embedded=embedded)
        found = await listed(empty, NAME)
        assert found is not None
        assert found["options"] == definition()


async def test_a_collection_of_that_name_is_left_alone(
    empty: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await empty.database[NAME].insert_one({"_id": "somebody's"})
    with caplog.at_level(logging.WARNING):
        await empty.prepare()
    assert "a collection has that name" in caplog.text
    assert await empty.database[NAME].find_one({}) == {"_id": "somebody's"}


def test_no_document_is_kept_in_the_view() -> None:
    assert NAME not in set(map(collection_name, DOCUMENTS))


async def test_schemas_are_set_once_and_an_operators_own_is_left_alone(empty: Database) -> None:
    await empty.prepare()
    mine = {"$jsonSchema": {"required": ["login"]}}
    await empty.database.command("collMod", "users", validator=mine)
    for _ in range(2):
        await describe_collections(empty.database, DOCUMENTS)
        for document in DOCUMENTS:
            name = collection_name(document)
            found = await listed(empty, name)
            if found is not None:
                wanted = mine if name == "users" else {"$jsonSchema": json_schema(document)}
                assert found["options"]["validator"] == wanted
                if name != "users":
                    assert found["options"]["validationAction"] == "warn"
                    assert found["options"]["validationLevel"] == "moderate"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_schema_says_only_what_mongodb_knows(document: Any) -> None:
    """MongoDB refuses a schema with `$ref`, `format`, `default` or `const` in it."""
    known = {
        *("title", "description", "bsonType", "properties", "required", "items", "enum"),
        *("anyOf", "additionalProperties"),
    }

    def keywords(schema: Raw) -> set[str]:
        found = set(schema)
        for inner in (
            *schema.get("properties", {}).values(),
            *schema.get("anyOf", ()),
            *(schema[key] for key in ("items", "additionalProperties") if key in schema),
        ):
            found |= keywords(inner)
        return found

    schema = json_schema(document)
    assert keywords(schema) <= known
    assert schema["title"] == TITLE
    assert set(schema["required"]) <= set(schema["properties"])


async def test_a_wrong_type_is_found(empty: Database) -> None:
    """What the check of every test's database rests on."""
    await empty.prepare()
    await filled(9)
    assert await documents_of_wrong_type(empty) == []
    await Conversation.collection().update_one({}, {"$set": {"messages.0.id": "seven"}})
    assert len(await documents_of_wrong_type(empty)) == 1
