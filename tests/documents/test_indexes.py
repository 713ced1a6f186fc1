"""Every command of a conversation's life touches what it returns, however many there are."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.monitoring import CommandListener

from proxy.database import Database
from proxy.documents.base import DEFAULT_OWNER, Raw
from proxy.documents.conversation import Conversation
from proxy.documents.counter import Counter
from proxy.documents.embedded_server import is_embedded
from proxy.documents.message_deletion import delete_messages
from proxy.documents.message_location import LocatedMessage, MessageNotFound
from proxy.documents.message_page import MESSAGE_OF_OWNER
from tests.conftest import LiveServer
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.pages import message
from tests.support.replies import CONVERSATIONS, MESSAGES, create, history, provider, say

OTHERS = 300
"""Conversations that nothing here asks for."""

COLLECTIONS = {"conversations", "message_pages", "message_revisions", "counters"}


class Recorder(CommandListener):
    """The commands that a client sent: `{"collection", "name", "filter", "hint"}`."""

    def __init__(self) -> None:
        self.commands: list[Raw] = []

    def started(self, event: Any) -> None:
        command, name = event.command, event.command_name
        filters: list[Any] = []
        if name == "find":
            filters = [command.get("filter", {})]
        elif name == "findAndModify":
            filters = [command["query"]]
        elif name in ("update", "delete"):
            filters = [each["q"] for each in command[f"{name}s"]]
        for filter_ in filters:
            self.commands.append(
                {
                    "collection": command[name],
                    "name": name,
                    "filter": dict(filter_),
                    "hint": command.get("hint"),
                }
            )

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...


@pytest.fixture
async def recorded(
    wire_uri: str, storage_database_name: str
) -> AsyncIterator[tuple[Database, Recorder]]:
    recorder = Recorder()
    client: Any = AsyncIOMotorClient(
        wire_uri, w="majority", journal=True, event_listeners=[recorder]
    )
    database = Database(client[storage_database_name])
    await database.prepare()
    base = Conversation().model_dump(exclude={"id", "messages", "revision_id"})
    first = await Counter.reserve("messages", OTHERS)
    others = [
        {
            **base,
            "_id": f"{storage_database_name}-{first + n}",
            "messages": [{"id": first + n, "role": "user", "attempt": f"{first + n}:0"}],
        }
        for n in range(OTHERS)
    ]
    await Conversation.collection().insert_many(others)
    recorder.commands.clear()
    yield database, recorder
    await Conversation.collection().delete_many({"_id": {"$in": [c["_id"] for c in others]}})
    client.close()


def shape(value: Any) -> Any:
    """A filter without its values."""
    if isinstance(value, dict):
        return tuple(sorted((key, shape(inner)) for key, inner in value.items()))
    return "value"


async def explained(database: Database, command: Raw) -> Raw:
    find = {"find": command["collection"], "filter": command["filter"]}
    if command.get("hint"):
        find["hint"] = command["hint"]
    explained: Raw = await database.database.command("explain", find, verbosity="executionStats")
    return explained


async def test_every_command_of_a_conversations_life_uses_an_index(
    recorded: tuple[Database, Recorder], live: LiveServer
) -> None:
    database, recorder = recorded
    async with OpenAIUpstream() as openai:
        openai.play(openai.reply("a"))
        async with live(providers=[provider(openai)], database=database, tail_messages=6) as client:
            id_ = await create(client, system_prompt="one")
            turns = [(await say(client, id_, key=f"key {n}")).json() for n in range(3)]
            turns += [(await say(client, id_)).json() for _ in range(9)]
            old, new = turns[0], turns[-1]
            await say(client, id_, key="key 0")
            await history(client, id_)
            for query in ("limit=2", f"limit=2&before={old['assistant_message_id']}"):
                await client.get(f"{CONVERSATIONS}/{id_}/messages?{query}")
            await client.put(f"{CONVERSATIONS}/{id_}", json={"name": "n", "system_prompt": "two"})
            for turn in (old, new):
                reply, user = turn["assistant_message_id"], turn["user_message_id"]
                for path in (f"{MESSAGES}/{reply}", f"{MESSAGES}/{reply}/stream"):
                    assert (await client.get(path)).status_code == 200
                response = await client.put(f"{MESSAGES}/{user}", json={"content": "edited"})
                assert response.status_code == 200
                response = await client.post(f"{MESSAGES}/{reply}/regenerate")
                assert response.status_code == 200, response.text
                await client.post(f"{MESSAGES}/{reply}/stop")
                response = await client.post(
                    f"{MESSAGES}/delete", json={"message_ids": [user, reply, 10**15]}
                )
                assert response.json() == {"message": "2 messages deleted"}
            await client.get(f"{MESSAGES}/{10**15}")
            await client.get(f"{CONVERSATIONS}/{id_}")
            await client.put(f"{CONVERSATIONS}/{id_}", json={"system_prompt": ""})
            await client.app.state.engine._lease.sweep()  # type: ignore[attr-defined]
            await client.delete(f"{CONVERSATIONS}/{id_}")

    commands = {
        (c["collection"], c["name"], shape(c["filter"])): c
        for c in recorder.commands
        if c["collection"] in COLLECTIONS
    }
    assert len(commands) > 15
    slow = []
    for command in commands.values():
        plan = await explained(database, command)
        stats = plan["executionStats"]
        # Everything was deleted in the end: what is examined was examined for nothing.
        if "COLLSCAN" in str(plan["queryPlanner"]["winningPlan"]) or (
            stats["totalDocsExamined"] > 2 * stats["nReturned"] + 2
        ):
            slow.append((command, stats["totalDocsExamined"]))
    assert slow == []


async def test_a_message_is_found_by_its_id_alone(recorded: tuple[Database, Recorder]) -> None:
    database, _ = recorded
    some = await Conversation.collection().find_one({"messages.0.id": {"$gt": 0}})
    for collection in ("conversations", "message_pages"):
        filter_ = {"messages.id": some["messages"][0]["id"]}
        plan = await explained(database, {"collection": collection, "filter": filter_})
        stats = plan["executionStats"]
        assert "IXSCAN" in str(plan["queryPlanner"]["winningPlan"])
        assert stats["totalKeysExamined"] <= 2 * max(1, stats["nReturned"])
        assert stats["totalDocsExamined"] <= 2 * max(1, stats["nReturned"])


async def test_a_foreign_message_costs_what_an_unknown_one_does(
    recorded: tuple[Database, Recorder],
) -> None:
    """No document is read for it, however large: time tells nobody which ids there are.

    The planner has no choice: MongoDB's takes the unique index on the id alone, and reads the
    document to compare its owner.
    """
    database, recorder = recorded
    some = await Conversation.collection().find({"messages.0.id": {"$gt": 0}}).to_list(2)
    ids = [raw["messages"][0]["id"] for raw in some]
    first = await Counter.reserve("messages", 12)
    old = [message(first + n, "x") for n in range(12)]
    conversation = Conversation()
    await conversation.create()
    assert await Conversation.append(DEFAULT_OWNER, conversation.id, old)
    assert await Conversation.move_tail(conversation.id, max_messages=4, max_bytes=10**6)
    assert (await LocatedMessage.find(DEFAULT_OWNER, first)).location.in_page
    recorder.commands.clear()
    assert await delete_messages("stranger", [*ids, first]) == 0
    for id_ in (ids[0], first):
        with pytest.raises(MessageNotFound):
            await LocatedMessage.find("stranger", id_)
    assert len(recorder.commands) == 6
    for command in recorder.commands:
        assert command["hint"] == MESSAGE_OF_OWNER, command
        plan = await explained(database, command)
        assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
        assert plan["executionStats"]["totalDocsExamined"] == 0, command


@pytest.mark.parametrize("filter_", [{}, {"project_id": 7}, {"status": 1}])
async def test_a_list_of_conversations_is_a_range_of_an_index(
    recorded: tuple[Database, Recorder], filter_: Raw
) -> None:
    """On MongoDB it stops at the limit; the embedded server sorts the range before it cuts."""
    database, _ = recorded
    for _ in range(3):
        await Conversation(project_id=7, status=1).create()
    command = {
        "find": "conversations",
        "filter": {"owner": DEFAULT_OWNER, **filter_},
        "sort": {"updated_at": -1},
        "limit": 2,
    }
    plan = await database.database.command("explain", command, verbosity="executionStats")
    stats = plan["executionStats"]
    assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
    assert "IXSCAN" in str(plan["queryPlanner"]["winningPlan"])
    if not await is_embedded(database.database):
        assert stats["totalKeysExamined"] <= 2 * stats["nReturned"]
    elif filter_:
        assert stats["totalKeysExamined"] < OTHERS
