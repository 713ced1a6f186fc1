"""Workers that die, workers that live, and a database that goes away and comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from proxy.database import Database, connect
from proxy.documents.base import Raw
from proxy.documents.conversation import Conversation
from proxy.documents.worker import Worker, new_worker_id
from proxy.streaming.leases import Lease, recover_all_workers, recover_worker
from tests.conftest import LiveServer, make_settings
from tests.fakes.faults import FaultyUpstream
from tests.fakes.killable_server import killable_server
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.scripted import script, tell, wait
from tests.support.outage import Line, breakable
from tests.support.replies import (
    CONVERSATIONS,
    create,
    engine_of,
    history,
    joining,
    provider,
    say,
    stored,
    streaming,
)

pytestmark = pytest.mark.usefixtures("wire_uri")


async def leave_streaming(id_: str, worker: str) -> int:
    """Make every reply of a conversation look as if a worker died over it; how many."""
    raw = await Conversation.collection().find_one({"_id": id_})
    replies = [m["id"] for m in raw["messages"] if m["role"] == "assistant"]
    for reply in replies:
        await Conversation.collection().update_one(
            {"_id": id_, "messages.id": reply},
            {"$set": {"messages.$.status": "streaming", "messages.$.worker": worker}},
        )
    return len(replies)


async def statuses(id_: str) -> list[str]:
    raw: Raw = await Conversation.collection().find_one({"_id": id_})
    return [m["status"] for m in raw["messages"] if m["role"] == "assistant"]


async def test_all_replies_of_a_dead_worker_are_marked_and_keep_their_text(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("text"))
    async with live(providers=[provider(openai)], lease_seconds=2) as client:
        ids = [await create(client) for _ in range(2)]
        for id_ in ids:
            for _ in range(3):
                await say(client, id_)
        worker = new_worker_id()
        await Worker.register(worker)
        for id_ in ids:
            assert await leave_streaming(id_, worker) == 3

        lease = Lease(new_worker_id(), {}, make_settings(lease_seconds=2))
        await lease.sweep()
        assert await statuses(ids[0]) == ["streaming"] * 3
        while worker in await Worker.beats_of_all():
            await asyncio.sleep(0.2)
            await lease.sweep()
        for id_ in ids:
            for message in (await history(client, id_))[1::2]:
                assert (message["status"], message["content"]) == ("interrupted", "text")
                assert message["error"]["type"] == "interrupted"
        # The living one, whose app is the client's, is still there.
        assert engine_of(client).worker_id in await Worker.beats_of_all()


async def test_a_worker_that_gives_signs_of_life_is_never_marked(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.stall_after("text"))
    async with (
        live(providers=[provider(openai)], lease_seconds=2) as client,
        streaming(client, await create(client)) as stream,
    ):
        await stream.until("text")
        lease = Lease(new_worker_id(), {}, make_settings(lease_seconds=2))
        loop = asyncio.get_running_loop()
        end = loop.time() + 3
        while loop.time() < end:
            await lease.sweep()
            await asyncio.sleep(0.2)
        assert (await stored(client, stream.message_id))["status"] == "streaming"
        await client.post(f"/v1/chat/messages/{stream.message_id}/stop")
        await stream.rest()


async def test_after_a_crash_of_everything_the_leftovers_are_marked_at_once(
    openai: OpenAIUpstream,
) -> None:
    openai.play(openai.reply("text"))
    async with killable_server() as server:
        database = connect(server.uri, "proxy")
        await database.prepare()
        conversation = Conversation(
            messages=[
                {
                    "id": 1,
                    "role": "assistant",
                    "content": "so far",
                    "status": "streaming",
                    "attempt": "1:0",
                    "worker": "dead",
                }
            ]
        )
        await conversation.create()
        await Worker.register("dead")
        server.kill()
        await server.start()
        await recover_all_workers()
        assert await statuses(conversation.id) == ["interrupted"]
        assert await Worker.beats_of_all() == {}
        database.close()


async def test_a_worker_that_was_taken_for_dead_by_mistake_still_stores_its_reply(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "a", "b"))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("a")
            await recover_worker(engine_of(client).worker_id)
            assert (await stored(client, stream.message_id))["status"] == "interrupted"
            go_on.set()
            await stream.rest()
        message = await stored(client, stream.message_id)
        assert (message["status"], message["content"]) == ("complete", "ab")


async def test_a_reply_under_a_living_workers_name_that_it_does_not_write_is_marked(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    """A push that was stored but not acknowledged leaves such a reply behind."""
    openai.play(openai.reply("text"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        await say(client, id_)
        engine = engine_of(client)
        await leave_streaming(id_, engine.worker_id)
        await engine._lease.sweep()
        # It may be on its way into memory: one look is not enough.
        assert await statuses(id_) == ["streaming"]
        await engine._lease.sweep()
        assert await statuses(id_) == ["interrupted"]


# The database goes away


@pytest.fixture
async def broken(wire_uri: str) -> AsyncIterator[tuple[Line, Database]]:
    async with breakable(wire_uri, selection_milliseconds=2_000) as (line, database):
        yield line, database


@pytest.mark.parametrize("stream", [False, True])
async def test_a_database_that_is_down_mid_stream_does_not_cost_the_text(
    upstream: FaultyUpstream,
    live: LiveServer,
    broken: tuple[Line, Database],
    stream: bool,
) -> None:
    line, own = broken
    reached, go_on, sent, end = (asyncio.Event() for _ in range(4))
    upstream.play(
        upstream.texts("so ")
        + script(tell(reached), wait(go_on), upstream.text("far"), tell(sent), wait(end))
        + upstream.end()
    )
    settings = {"storage_retry_seconds": 60, "lease_seconds": 120, "checkpoint_seconds": 0.1}
    async with live(providers=[provider(upstream)], database=own, **settings) as client:
        id_ = await create(client)
        async with AsyncExitStack() as stack:
            if stream:
                frames = await stack.enter_async_context(streaming(client, id_))
                await frames.until("so ")
                turn: asyncio.Task[Any] = asyncio.create_task(frames.rest())
            else:
                turn = asyncio.create_task(say(client, id_))
                await reached.wait()
            line.cut_off()
            go_on.set()
            await sent.wait()
            if stream:
                # What arrives is passed on, whether it can be checkpointed or not.
                while frames.text != "so far":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            end.set()
            # Nothing is acknowledged that is not on disk: neither the answer nor `[DONE]`.
            done, _ = await asyncio.wait([turn], timeout=1)
            assert not done
            line.mend()
            answer = await turn
        reply = (await history(client, id_))[-1]
        assert (reply["status"], reply["content"]) == ("complete", "so far")
        if stream:
            assert answer[-1] == {"content": "", "finish_reason": "stop"}
            assert frames.text == "so far"
        else:
            assert answer.status_code == 200
            assert answer.json()["reply"] == "so far"
        # Ids go on upward.
        assert (await say(client, id_)).json()["user_message_id"] > reply["id"]
    assert len(upstream.requests) == 2


async def test_a_database_that_stays_away_is_a_clear_error_and_nothing_stays_streaming(
    upstream: FaultyUpstream, live: LiveServer, broken: tuple[Line, Database]
) -> None:
    line, own = broken
    cut = asyncio.Event()
    upstream.play(upstream.texts("so ") + wait(cut) + script(upstream.text("far")) + upstream.end())
    settings = {"storage_retry_seconds": 0, "lease_seconds": 2, "checkpoint_seconds": 0.1}
    async with live(providers=[provider(upstream)], database=own, **settings) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("so ")
            while (await stored(client, stream.message_id))["content"] != "so ":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            line.cut_off()
            reading = asyncio.create_task(client.get(f"{CONVERSATIONS}/{id_}/messages"))
            cut.set()
            last = (await stream.rest())[-1]
            assert last["error"]["type"] == "storage_error"
        response = await reading
        assert response.status_code == 503
        assert isinstance(response.json()["detail"], str)
        line.mend()
        while (await history(client, id_))[-1]["status"] == "streaming":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        reply = (await history(client, id_))[-1]
        assert (reply["status"], reply["content"]) == ("interrupted", "so ")
        async with joining(client, reply["id"]) as joined:
            assert (await joined.rest())[-1]["error"]["type"] == "interrupted"
        upstream.play(upstream.reply("again"))
        assert (await say(client, id_)).json()["reply"] == "again"
