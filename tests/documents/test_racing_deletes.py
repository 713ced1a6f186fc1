"""Callers that delete the same messages at once: each message is counted by one of them."""

import asyncio
import random
from contextlib import closing
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import MongoClient
from pymongo.monitoring import CommandListener

from proxy.database import Database
from proxy.documents.base import DEFAULT_OWNER
from proxy.documents.conversation import Conversation
from proxy.documents.counter import Counter
from proxy.documents.message_deletion import delete_messages
from proxy.documents.message_location import LocatedMessage, edit_message, remove_conversation
from proxy.documents.message_page import MessagePage
from proxy.documents.message_revision import MessageRevision, list_revisions
from tests.support.pages import MAX_BYTES, MAX_MESSAGES, Steps, listed, message, move

CALLERS = 12


@pytest.fixture(autouse=True)
async def _prepared(wire: Database) -> None:
    await wire.prepare()


async def filled(count: int) -> tuple[str, list[int]]:
    """A conversation whose older messages lie in pages."""
    conversation = Conversation()
    await conversation.create()
    ids = []
    for _ in range(count):
        id_ = await Counter.reserve("messages")
        ids.append(id_)
        assert await Conversation.append(DEFAULT_OWNER, conversation.id, [message(id_, "x")])
        await move(conversation.id)
    return conversation.id, ids


@pytest.mark.parametrize("seed", range(4))
async def test_each_message_is_counted_once_in_tails_and_pages(seed: int) -> None:
    rng = random.Random(seed)
    (first, ids), (second, more) = await filled(20), await filled(3)
    everything = ids + more
    assert await MessagePage.collection().count_documents({"conversation_id": first}) > 2
    doomed = rng.sample(everything, len(everything) - 3)
    kept = sorted(set(everything) - set(doomed))
    wanted = [rng.sample(doomed, rng.randint(1, len(doomed))) for _ in range(CALLERS)]
    wanted[0] = doomed

    async def disturb(id_: int) -> None:
        await edit_message(DEFAULT_OWNER, id_, "y")
        await move(first)

    counts, _ = await asyncio.gather(
        asyncio.gather(*(delete_messages(DEFAULT_OWNER, [*some, 10**15]) for some in wanted)),
        asyncio.gather(*(disturb(id_) for id_ in kept)),
    )
    assert sum(counts) == len(doomed)
    left = [m["id"] for id_ in (first, second) for m in await listed(id_)]
    assert sorted(left) == kept
    pages = MessagePage.collection().find({"conversation_id": first})
    in_pages = sum([len(page["messages"]) async for page in pages])
    raw = await Conversation.with_tail(DEFAULT_OWNER, first)
    assert raw["paged_messages"] == in_pages


class Meddler(CommandListener):
    """Writes to a conversation whenever a deletion from it is about to be sent."""

    def __init__(self, other: MongoClient[Any], database: str) -> None:
        self._conversations = other[database]["conversations"]
        self.sent = 0

    def started(self, event: Any) -> None:
        if event.command.get("update") != "conversations" or self.sent > 20:
            return
        (update,) = event.command["updates"]
        if "$pull" in update["u"]:
            self.sent += 1
            self._conversations.update_one({"_id": update["q"]["_id"]}, {"$inc": {"changes": 1}})

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...


@pytest.mark.parametrize("count", [1, 3])
async def test_a_deletion_comes_through_however_often_others_write(
    wire: Database, wire_uri: str, count: int
) -> None:
    """Of 32 tabs that wrote to one conversation without a pause, a deletion took twenty seconds."""
    id_, ids = await filled(4)
    with MongoClient[Any](wire_uri) as other:
        meddler = Meddler(other, wire.database.name)
        motor: Any = AsyncIOMotorClient(wire_uri, event_listeners=[meddler])
        with closing(Database(motor[wire.database.name])) as meddled:
            await meddled.bind_documents(indexes=False)
            assert await delete_messages(DEFAULT_OWNER, ids[:count]) == count
            assert [m["id"] for m in await listed(id_)] == ids[count:]
        # All at once, and then one by one.
        assert meddler.sent == 1 + count
    await wire.bind_documents(indexes=False)


async def test_deleting_ones_own_leaves_the_revisions_of_other_owners() -> None:
    conversation = Conversation(owner="stranger")
    await conversation.create()
    own = await Counter.reserve("messages")
    assert await Conversation.append("stranger", conversation.id, [message(own, "x")])
    _, (mine,) = await filled(1)
    await edit_message(DEFAULT_OWNER, mine, "edited")
    assert await delete_messages("stranger", [mine, own]) == 1
    located = await LocatedMessage.find(DEFAULT_OWNER, mine)
    assert [raw["content"] for raw in await list_revisions(DEFAULT_OWNER, located.message)] == ["x"]


@pytest.mark.parametrize("at", [0, -1])
async def test_an_edit_that_comes_too_late_keeps_nothing_of_a_deleted_message(at: int) -> None:
    _, ids = await filled(20)
    located = await LocatedMessage.find(DEFAULT_OWNER, ids[at])
    assert located.location.in_page == (at == 0)
    assert await delete_messages(DEFAULT_OWNER, [ids[at]]) == 1
    assert await located.replace({"content": "too late"}) is None
    assert await MessageRevision.collection().count_documents({"message_id": ids[at]}) == 0


async def test_an_edit_that_lost_against_another_keeps_the_former_contents() -> None:
    _, ids = await filled(3)
    located = await LocatedMessage.find(DEFAULT_OWNER, ids[0])
    await edit_message(DEFAULT_OWNER, ids[0], "first")
    assert await located.replace({"content": "second"}) is None
    located = await LocatedMessage.find(DEFAULT_OWNER, ids[0])
    assert [raw["content"] for raw in await list_revisions(DEFAULT_OWNER, located.message)] == ["x"]


async def test_a_move_that_a_deleted_conversation_overtakes_leaves_no_page() -> None:
    conversation_id, _ = await filled(6)
    first = await Counter.reserve("messages", 12)
    new = [message(first + n, "secret") for n in range(12)]
    assert await Conversation.append(DEFAULT_OWNER, conversation_id, new)

    async def nothing(_: int) -> None: ...

    class RemovedBeforeTheCopy(Steps):
        async def find_one_and_update(self, *args: Any, **kwargs: Any) -> Any:
            found = await super().find_one_and_update(*args, **kwargs)
            await remove_conversation(DEFAULT_OWNER, conversation_id, worker="w")
            return found

    assert not await MessagePage.take_from(
        RemovedBeforeTheCopy(nothing),
        conversation_id,
        max_messages=MAX_MESSAGES,
        max_bytes=MAX_BYTES,
    )
    query = {"conversation_id": conversation_id}
    assert await MessagePage.collection().count_documents(query) == 0
