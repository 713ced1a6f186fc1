"""Stop: the upstream connection is closed, the text so far stays, from whichever worker."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from proxy.documents.conversation import Conversation
from proxy.documents.worker import Worker
from tests.conftest import LiveServer
from tests.fakes.faults import FaultyUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.replies import MESSAGES, create, history, provider, say, stored, streaming


async def stop_session(client: httpx.AsyncClient, message_id: int) -> httpx.Response:
    return await client.post("/v1/chat/stop-stream", json={"session_id": str(message_id)})


async def stop_message(client: httpx.AsyncClient, message_id: int) -> httpx.Response:
    return await client.post(f"{MESSAGES}/{message_id}/stop")


@pytest.mark.parametrize("stop", [stop_session, stop_message])
async def test_a_stop_closes_the_upstream_and_keeps_the_text_so_far(
    upstream: FaultyUpstream, live: LiveServer, stop: Any
) -> None:
    upstream.play(upstream.stall_after("so ", "far"))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("so far")
            response = await stop(client, stream.message_id)
            assert response.json() == {
                "message": "Stream stopped",
                "session_id": str(stream.message_id),
            }
            # What is answered is stored already.
            message = await stored(client, stream.message_id)
            assert (message["status"], message["content"]) == ("stopped", "so far")
            assert message["finish_reason"] == "stop"
            assert (await stream.rest())[-1] == {"content": "", "finish_reason": "stop"}
            await upstream.wait_for_abort()
        again = await stop(client, stream.message_id)
        assert again.status_code == 404
        assert again.json()["detail"] == "Stream session not found"


async def test_a_stop_before_the_upstream_accepted(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.stall_before_the_head())
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        turn = asyncio.create_task(say(client, id_))
        await upstream.wait_for_requests(1)
        message_id = (await history(client, id_))[-1]["id"]
        assert (await stop_message(client, message_id)).status_code == 200
        await upstream.wait_for_abort()
        body = (await turn).json()
        assert (body["reply"], body["status"]) == ("", "stopped")


async def test_a_stop_while_a_retry_is_waited_for(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.status(429, retry_after="600"), upstream.reply("never"))
    async with live(providers=[provider(upstream)], retry_budget_seconds=1000) as client:
        id_ = await create(client)
        turn = asyncio.create_task(say(client, id_))
        await upstream.wait_for_requests(1)
        message_id = (await history(client, id_))[-1]["id"]
        await stop_message(client, message_id)
        assert (await turn).json()["status"] == "stopped"
    assert len(upstream.requests) == 1


async def test_two_stops_at_once_both_learn_that_it_is_stopped(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.stall_after("a"))
    async with live(providers=[provider(openai)]) as client:
        async with streaming(client, await create(client)) as stream:
            await stream.until("a")
            both = await asyncio.gather(
                stop_session(client, stream.message_id), stop_message(client, stream.message_id)
            )
            assert {200} <= {response.status_code for response in both} <= {200, 404}
            await stream.rest()
        assert (await stored(client, stream.message_id))["content"] == "a"


async def test_a_stop_right_at_the_end_leaves_a_whole_reply_whole(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.reply("a", "b"))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        for _ in range(10):
            async with streaming(client, id_) as stream:
                await stream.until("ab")
                response = await stop_message(client, stream.message_id)
                assert response.status_code in (200, 404)
                await stream.rest()
            message = await stored(client, stream.message_id)
            assert message["content"] == "ab"
            assert message["status"] in ("complete", "stopped")


async def test_a_stop_from_another_worker(upstream: FaultyUpstream, live: LiveServer) -> None:
    upstream.play(upstream.stall_after("so ", "far"))
    async with (
        live(providers=[provider(upstream)]) as one,
        live(providers=[provider(upstream)]) as other,
    ):
        async with streaming(one, await create(one)) as stream:
            await stream.until("so far")
            assert (await stop_session(other, stream.message_id)).status_code == 200
            message = await stored(other, stream.message_id)
            assert (message["status"], message["content"]) == ("stopped", "so far")
            await upstream.wait_for_abort()
            assert (await stream.rest())[-1] == {"content": "", "finish_reason": "stop"}
        assert (await stop_session(other, stream.message_id)).status_code == 404


async def test_a_stop_from_another_worker_does_not_stop_the_next_writing(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.stall_after("old"), openai.reply_when(go_on, "new ", "text"))
    async with (
        live(providers=[provider(openai)]) as one,
        live(providers=[provider(openai)]) as other,
    ):
        async with streaming(one, await create(one)) as stream:
            await stream.until("old")
            await stop_message(other, stream.message_id)
            await stream.rest()
        message_id = stream.message_id
        worker = one.app.state.engine.worker_id  # type: ignore[attr-defined]
        again = asyncio.create_task(
            one.post(f"{MESSAGES}/{message_id}/regenerate", json={"stream": False})
        )
        await openai.wait_for_requests(2)
        assert await Worker.stop_requests(worker) == [f"{message_id}:0"]
        # The letter of the first writing is read again; another stop shows that it was.
        running = one.app.state.engine.running[message_id]  # type: ignore[attr-defined]
        await one.app.state.engine._lease.read_stop_requests()  # type: ignore[attr-defined]
        assert running.status == "streaming"
        go_on.set()
        assert (await again).json()["reply"] == "new text"


async def dead_workers_reply(client: httpx.AsyncClient, *, registered: bool) -> tuple[str, int]:
    """A reply left streaming by a worker that is no more; its name and the message's id."""
    worker = f"dead:{uuid4().hex}"
    if registered:
        await Worker.register(worker)
    id_ = await create(client)
    turn = (await say(client, id_)).json()
    message_id = int(turn["assistant_message_id"])
    await Conversation.collection().update_one(
        {"_id": id_, "messages.id": message_id},
        {"$set": {"messages.$.status": "streaming", "messages.$.worker": worker}},
    )
    return worker, message_id


async def test_a_stop_of_a_reply_whose_worker_is_gone_marks_it_interrupted(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("text"))
    async with live(providers=[provider(openai)]) as client:
        _, message_id = await dead_workers_reply(client, registered=False)
        assert (await stop_message(client, message_id)).status_code == 200
        message = await stored(client, message_id)
        assert (message["status"], message["content"]) == ("interrupted", "text")
        assert message["error"]["type"] == "interrupted"
        assert (await stop_message(client, message_id)).status_code == 404


async def test_a_stop_of_a_reply_whose_worker_is_silent_says_so(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("text"))
    async with live(providers=[provider(openai)], lease_seconds=2) as client:
        worker, message_id = await dead_workers_reply(client, registered=True)
        response = await stop_message(client, message_id)
        if response.status_code != 200:
            assert response.status_code == 503
            assert "does not answer" in response.json()["detail"]
            assert int(response.headers["retry-after"]) >= 1
        # After a lease it counts as dead.
        while (await stored(client, message_id))["status"] == "streaming":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert (await stored(client, message_id))["status"] == "interrupted"
        # It is taken off the list once all its replies are marked.
        while worker in await Worker.beats_of_all():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("session", ["x", "", "0", "-1", "1.5", str(2**80), "999999999", 10**30])
async def test_an_unknown_session_is_a_404(
    openai: OpenAIUpstream, live: LiveServer, session: str | int
) -> None:
    async with live(providers=[provider(openai)]) as client:
        response = await client.post("/v1/chat/stop-stream", json={"session_id": session})
        assert response.status_code == 404
        assert response.json()["detail"] == "Stream session not found"


async def test_the_text_of_a_stopped_reply_is_part_of_the_next_prompt(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.stall_after("half"), openai.reply("x"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        async with streaming(client, id_, "one") as stream:
            await stream.until("half")
            await stop_message(client, stream.message_id)
            await stream.rest()
        await say(client, id_, "two")
    assert [m["content"] for m in openai.requests[1].json["messages"]] == ["one", "half", "two"]
