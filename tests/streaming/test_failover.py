"""What a failover of the replica set does to a running reply: nothing that anybody sees."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.database import Database, connect
from tests.conftest import LiveServer
from tests.fakes.failing_over import FailingOver
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.replies import create, history, provider, say, streaming

pytestmark = pytest.mark.slow

SETTINGS = {"checkpoint_seconds": 0.05, "storage_retry_seconds": 60}


@pytest.fixture
async def members(wire_uri: str) -> AsyncIterator[FailingOver]:
    async with FailingOver(wire_uri) as found:
        yield found


@pytest.fixture
async def failing(members: FailingOver, wire: Database) -> AsyncIterator[Database]:
    """The test's database behind the members, with the driver's own way to lose a primary."""
    database = connect(members.uri, wire.database.name)
    yield database
    # In a thread: it says good-bye through the members, which are served by this loop.
    await asyncio.to_thread(database.close)


async def test_a_reply_that_runs_through_a_failover_is_stored_whole(
    members: FailingOver, failing: Database, live: LiveServer, openai: OpenAIUpstream
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.reply_when(go_on, "before ", "after"))
    async with live(providers=[provider(openai)], database=failing, **SETTINGS) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("before ")
            members.step_down()
            # Checkpoints are refused meanwhile, and then the end of the reply.
            await members.until_refused(1)
            go_on.set()
            await stream.until("before after")
            await members.until_refused(members.refused + 2)
            members.elect()
            frames = await stream.rest()
        assert frames[-1] == {"content": "", "finish_reason": "stop"}
        _, reply = await history(client, id_)
        assert (reply["status"], reply["content"]) == ("complete", "before after")


async def test_a_turn_during_a_failover_is_refused_and_its_retry_happens_once(
    members: FailingOver, failing: Database, live: LiveServer, openai: OpenAIUpstream
) -> None:
    openai.play(openai.reply("answer"))
    async with live(providers=[provider(openai)], database=failing, **SETTINGS) as client:
        id_ = await create(client)
        members.step_down()
        refused = await say(client, id_, "hello", key="k")
        assert refused.status_code == 503
        assert refused.json()["error"]["type"] == "storage_error"
        assert int(refused.headers["retry-after"]) >= 1
        members.elect()
        for _ in range(2):
            assert (await say(client, id_, "hello", key="k")).status_code == 200
        assert [m["content"] for m in await history(client, id_)] == ["hello", "answer"]
        assert len(openai.requests) == 1
