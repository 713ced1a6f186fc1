"""Shutdown: no new turns, a grace for running ones, then an honest end."""

import asyncio

from proxy.database import Database, connect
from proxy.documents.worker import Worker
from tests.conftest import LiveServer, make_settings, running_app
from tests.fakes.faults import FaultyUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.replies import (
    MESSAGES,
    create,
    engine_of,
    joining,
    provider,
    say,
    stored,
    streaming,
)


async def test_running_replies_are_interrupted_after_their_grace_and_say_so(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.stall_after("so ", "far"))
    async with live(providers=[provider(upstream)], shutdown_grace_seconds=0) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("so far")
            await engine_of(client).shutdown()
            last = (await stream.rest())[-1]
            assert last["error"]["type"] == "interrupted"
            await upstream.wait_for_abort()
        message = await stored(client, stream.message_id)
        assert (message["status"], message["content"]) == ("interrupted", "so far")
        assert message["error"]["type"] == "interrupted"
        assert engine_of(client).worker_id not in await Worker.beats_of_all()


async def test_a_reply_that_ends_within_the_grace_is_whole(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "a", "b"))
    async with live(providers=[provider(upstream)], shutdown_grace_seconds=30) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("a")
            stopping = asyncio.create_task(engine_of(client).shutdown())
            while not engine_of(client).is_stopping:  # noqa: ASYNC110
                await asyncio.sleep(0)
            refused = await say(client, id_, "two")
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
            go_on.set()
            assert (await stream.rest())[-1] == {"content": "", "finish_reason": "stop"}
            await stopping
        assert (await stored(client, stream.message_id))["status"] == "complete"


async def test_nothing_new_begins_during_a_shutdown(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("x"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        message_id = (await say(client, id_)).json()["assistant_message_id"]
        await engine_of(client).shutdown()
        for response in (
            await say(client, id_),
            await say(client, id_, stream=True),
            await client.post(f"{MESSAGES}/{message_id}/regenerate"),
        ):
            assert response.status_code == 503
            assert "shutting down" in response.json()["detail"]
    assert len(openai.requests) == 1


async def test_a_turn_that_is_not_streamed_is_told_of_the_interruption(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    reached = asyncio.Event()
    openai.play(openai.stall_after("so far", reached=reached))
    async with live(providers=[provider(openai)], shutdown_grace_seconds=0) as client:
        id_ = await create(client)
        turn = asyncio.create_task(say(client, id_))
        await reached.wait()
        await engine_of(client).shutdown()
        response = await turn
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
        message = await stored(client, response.json()["assistant_message_id"])
        assert (message["status"], message["content"]) == ("interrupted", "so far")


async def test_who_follows_a_reply_of_another_worker_is_told_too(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.stall_after("a"))
    async with (
        live(providers=[provider(openai)], checkpoint_seconds=0.1) as one,
        live(providers=[provider(openai)], shutdown_grace_seconds=0) as other,
        streaming(one, await create(one)) as stream,
    ):
        await stream.until("a")
        async with joining(other, stream.message_id) as joined:
            await joined.until("a")
            await engine_of(other).shutdown()
            last = (await joined.rest())[-1]
            assert last["error"]["type"] == "service_unavailable"
        # The reply itself goes on where it is written.
        assert (await stored(one, stream.message_id))["status"] == "streaming"
        await one.post(f"{MESSAGES}/{stream.message_id}/stop")
        await stream.rest()


async def test_a_server_whose_database_has_gone_ends_without_an_error(
    wire: Database, wire_uri: str
) -> None:
    database = connect(wire_uri, wire.database.name)
    async with running_app(database, make_settings()):
        # From now on every command fails at once.
        database.close()
