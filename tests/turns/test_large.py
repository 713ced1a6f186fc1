"""Large messages and replies side by side: a document has 16 MiB, a conversation has no limit."""

import asyncio

import pytest

from proxy.documents.base import DEFAULT_OWNER
from proxy.documents.conversation import Conversation
from tests.conftest import LiveServer
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.scripted import script, wait
from tests.support.replies import MESSAGES, create, history, provider, say, stored, streaming

pytestmark = pytest.mark.slow

MIB = 1024 * 1024


async def test_large_replies_that_end_at_the_same_time_are_all_stored_whole(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    """Together they are larger than the document that they were begun in."""
    go_on = asyncio.Event()
    size = 4 * MIB - 10
    parts = [openai.text("x" * MIB)] * 3 + [openai.text("x" * (MIB - 10))]
    openai.play(openai.texts("") + wait(go_on) + script(*parts) + openai.end())
    settings = {"checkpoint_seconds": 0.2, "storage_retry_seconds": 30}
    async with live(providers=[provider(openai)], **settings) as client:
        id_ = await create(client)
        turns = [asyncio.create_task(say(client, id_, f"turn {n}")) for n in range(5)]
        await openai.wait_for_requests(5)
        go_on.set()
        answers = await asyncio.gather(*turns)
        assert {answer.status_code for answer in answers} == {200}
        assert {len(answer.json()["reply"]) for answer in answers} == {size}
        messages = await history(client, id_)
        ids = [message["id"] for message in messages]
        assert ids == sorted(set(ids))
        assert len(ids) == 10
        for message in messages[1::2]:
            assert (message["status"], len(message["content"])) == ("complete", size)


async def test_large_messages_faster_than_they_move_are_all_stored(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.reply_when(go_on, "a", "b"))
    async with live(providers=[provider(openai)], context_tokens=1000) as client:
        id_ = await create(client)
        turns = [asyncio.create_task(say(client, id_, "y" * (3 * MIB))) for _ in range(6)]
        await openai.wait_for_requests(6)
        go_on.set()
        answers = await asyncio.gather(*turns)
        assert {answer.status_code for answer in answers} == {200}
        messages = await history(client, id_)
        assert [len(m["content"]) for m in messages] == [3 * MIB, 2] * 6


async def test_a_reply_that_moves_to_a_page_while_it_is_written(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.reply_when(go_on, "slow ", "reply"), openai.reply("fast"))
    settings = {"tail_messages": 4, "checkpoint_seconds": 0.1}
    async with live(providers=[provider(openai)], **settings) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("slow ")
            for _ in range(6):
                await say(client, id_)
            raw = await Conversation.with_tail(DEFAULT_OWNER, id_)
            while stream.message_id in [m["id"] for m in raw["messages"]]:
                await say(client, id_)
                raw = await Conversation.with_tail(DEFAULT_OWNER, id_)
            assert (await stored(client, stream.message_id))["status"] == "streaming"
            go_on.set()
            assert (await stream.rest())[-1] == {"content": "", "finish_reason": "stop"}
        message = await stored(client, stream.message_id)
        assert (message["status"], message["content"]) == ("complete", "slow reply")
        messages = await history(client, id_)
        assert messages[1]["content"] == "slow reply"
        assert {m["content"] for m in messages[3::2]} == {"fast"}


async def test_a_reply_that_moved_to_a_page_can_be_stopped_and_deleted(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.stall_after("one"), openai.stall_after("two"), openai.reply("fast"))
    async with live(providers=[provider(openai)], tail_messages=4) as client:
        id_ = await create(client)
        async with streaming(client, id_) as first, streaming(client, id_) as second:
            await first.until("one")
            await second.until("two")
            paged = 0
            while paged < second.message_id:
                await say(client, id_)
                paged = (await Conversation.with_tail(DEFAULT_OWNER, id_))["last_paged_id"]
            await client.post(f"{MESSAGES}/{first.message_id}/stop")
            await first.rest()
            assert (await stored(client, first.message_id))["content"] == "one"
            await client.post(f"{MESSAGES}/delete", json={"message_ids": [second.message_id]})
            assert (await second.rest())[-1]["error"]["type"] == "deleted"
        ids = [m["id"] for m in await history(client, id_)]
        assert first.message_id in ids
        assert second.message_id not in ids


async def test_a_reply_longer_than_its_limit_ends_as_length_and_closes_the_upstream(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.texts("x" * 1000, "y" * 1000, "z" * 1000) + wait(asyncio.Event()))
    async with live(providers=[provider(openai)], reply_bytes=1500) as client:
        body = (await say(client, await create(client))).json()
        assert body["finish_reason"] == "length"
        assert len(body["reply"]) >= 2000
        await openai.wait_for_abort()
        message = await stored(client, body["assistant_message_id"])
        assert (message["status"], message["finish_reason"]) == ("complete", "length")


async def test_a_message_over_its_limit_is_a_413_and_nothing_is_stored(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    async with live(providers=[provider(openai)], message_bytes=1024) as client:
        id_ = await create(client)
        response = await say(client, id_, "字" * 400)
        assert response.status_code == 413
        assert "1024 bytes" in response.json()["detail"]
        assert await history(client, id_) == []


async def test_edits_that_no_longer_fit_into_their_page_are_a_413_and_change_nothing(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("a"))
    async with live(providers=[provider(openai)], tail_messages=4) as client:
        id_ = await create(client)
        turns = [(await say(client, id_)).json() for _ in range(12)]
        large, statuses = "y" * (4 * MIB - 100), []
        for turn in turns[:2]:
            for name in ("user_message_id", "assistant_message_id"):
                path = f"{MESSAGES}/{turn[name]}"
                statuses.append((await client.put(path, json={"content": large})).status_code)
        assert set(statuses) <= {200, 413}
        sizes = [len(m["content"]) for m in (await history(client, id_))[:4]]
        assert [size > 10 for size in sizes] == [status == 200 for status in statuses]
        # A reply that is written again has no room either, now or later.
        again = await client.post(f"{MESSAGES}/{turns[0]['assistant_message_id']}/regenerate")
        assert again.status_code == 413
        assert "no room" in again.json()["detail"]
