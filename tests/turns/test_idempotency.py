"""`Idempotency-Key`: stored once, asked once, however many copies arrive wherever."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.conftest import LiveServer
from tests.fakes.faults import FaultyUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.completions import PATH, call, chunks, said
from tests.support.replies import (
    MESSAGES,
    answer_of,
    create,
    history,
    provider,
    say,
    stored,
    streaming,
)


@pytest.mark.parametrize("stream", [False, True])
async def test_copies_at_the_same_moment_on_two_workers_happen_once(
    upstream: FaultyUpstream, live: LiveServer, stream: bool
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "a", "b"))
    async with (
        live(providers=[provider(upstream)], checkpoint_seconds=0.1) as one,
        live(providers=[provider(upstream)], checkpoint_seconds=0.1) as other,
    ):
        id_ = await create(one)

        copies = [
            asyncio.create_task(answer_of(client, id_, stream=stream))
            for client in (one, other) * 6
        ]
        await upstream.wait_for_requests(1)
        go_on.set()
        answers = set(await asyncio.gather(*copies))
        user, reply = await history(other, id_)
    assert answers == {(user["id"], reply["id"], "ab")}
    assert (user["content"], reply["content"]) == ("Hi", "ab")
    assert not {"idempotency"} & (set(user) | set(reply))
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_copies_of_a_completion_on_two_workers_happen_once(
    upstream: FaultyUpstream, live: LiveServer, stream: bool
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "a", "b"))
    async with (
        live(providers=[provider(upstream)], checkpoint_seconds=0.1) as one,
        live(providers=[provider(upstream)], checkpoint_seconds=0.1) as other,
    ):
        id_ = await create(one)
        body = call("Hi", conversation=id_, stream=stream)
        key = {"Idempotency-Key": "k"}
        copies = [
            asyncio.create_task(client.post(PATH, json=body, headers=key))
            for client in (one, other) * 6
        ]
        await upstream.wait_for_requests(1)
        changed = call("Ho", conversation=id_, stream=stream)
        for client in (one, other):
            refused = await client.post(PATH, json=changed, headers=key)
            assert refused.status_code == 422
            assert refused.json()["error"]["code"] == "idempotency_key_reused"
        go_on.set()
        answers = await asyncio.gather(*copies)
        user, reply = await history(other, id_)
    for answer in answers:
        told = chunks(answer) if stream else [answer.json()]
        assert told[0]["user_message_id"] == user["id"]
        assert told[0]["assistant_message_id"] == reply["id"]
        text = said(told) if stream else told[0]["choices"][0]["message"]["content"]
        assert text == "ab"
        assert told[-1]["choices"][0]["finish_reason"] == "stop"
    assert len(upstream.requests) == 1


async def test_a_copy_joins_the_running_reply_from_its_beginning(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "a", "b"))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        async with streaming(client, id_, key="k") as stream:
            await stream.until("a")
        async with streaming(client, id_, key="k") as again:
            await again.until("a")
            go_on.set()
            await again.rest()
            assert again.text == "ab"
            assert again.seen[0] == stream.seen[0]
    assert len(upstream.requests) == 1


async def test_a_later_copy_gets_the_stored_reply(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.reply("a", "b"))
    async with (
        live(providers=[provider(upstream)]) as one,
        live(providers=[provider(upstream)]) as other,
    ):
        id_ = await create(one)
        first = (await say(one, id_, key="k")).json()
        assert (await say(one, id_, key="k")).json() == first
        assert (await say(other, id_, key="k")).json() == first
        assert len(await history(one, id_)) == 2
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("change", [{"content": "Ho"}, {"model": "m2"}, {"stream": True}])
async def test_a_key_used_with_another_body_is_refused(
    openai: OpenAIUpstream, live: LiveServer, change: dict[str, Any]
) -> None:
    openai.play(openai.reply("a"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        await say(client, id_, key="k")
        response = await say(client, id_, **{"content": "Hi", **change}, key="k")
        assert response.status_code == 422
        assert response.json()["error"]["code"] == "idempotency_key_reused"
        assert len(await history(client, id_)) == 2
    assert len(openai.requests) == 1


async def test_a_key_belongs_to_its_conversation(openai: OpenAIUpstream, live: LiveServer) -> None:
    openai.play(openai.reply("a"))
    async with live(providers=[provider(openai)]) as client:
        one, two = await create(client), await create(client)
        first, second = [(await say(client, id_, key="k")).json() for id_ in (one, two)]
        assert first["assistant_message_id"] != second["assistant_message_id"]
    assert len(openai.requests) == 2


async def test_a_failure_is_answered_again_and_regenerate_is_the_way_on(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.status(429, retry_after="7"), upstream.reply("now"))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        answers = [await say(client, id_, key="k") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [429, 429]
        bodies = [answer.json() for answer in answers]
        assert [body["error"]["type"] for body in bodies] == ["rate_limit_error"] * 2
        assert bodies[0]["assistant_message_id"] == bodies[1]["assistant_message_id"]
        assert len(upstream.requests) == 1

        message_id = bodies[0]["assistant_message_id"]
        again = await client.post(f"{MESSAGES}/{message_id}/regenerate")
        assert again.json()["reply"] == "now"
        assert (await say(client, id_, key="k")).json()["reply"] == "now"
    assert len(upstream.requests) == 2


async def test_a_streamed_copy_of_a_refused_turn_is_the_same_http_error(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.status(402))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        answers = [await say(client, id_, key="k", stream=True) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [402, 402]
        assert answers[0].json() == answers[1].json()


async def test_a_key_is_found_after_its_message_moved_to_a_page(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("a"))
    async with live(providers=[provider(openai)], tail_messages=4) as client:
        id_ = await create(client)
        first = (await say(client, id_, key="k")).json()
        for _ in range(6):
            await say(client, id_)
        assert (await say(client, id_, key="k")).json() == first
        assert len(await history(client, id_)) == 14
    assert len(openai.requests) == 7


async def test_copies_while_messages_move_to_pages_happen_once(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("a"))
    async with live(providers=[provider(openai)], tail_messages=4) as client:
        id_ = await create(client)
        keys = [f"k{number // 4}" for number in range(40)]
        answers = await asyncio.gather(*(say(client, id_, key=key) for key in keys))
        assert {answer.status_code for answer in answers} == {200}
        by_key: dict[str, set[int]] = {}
        for key, answer in zip(keys, answers, strict=True):
            by_key.setdefault(key, set()).add(answer.json()["assistant_message_id"])
        assert [len(ids) for ids in by_key.values()] == [1] * 10
        assert len(await history(client, id_)) == 20
    assert len(openai.requests) == 10


async def test_a_continue_message_happens_once_too(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("a"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        await say(client, id_)
        answers = [(await say(client, id_, "继续", key="k")).json() for _ in range(2)]
        assert answers[0] == answers[1]
        assert answers[0]["user_message_id"] is None
        assert len(await history(client, id_)) == 3


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_an_impossible_key_is_a_422(
    openai: OpenAIUpstream, live: LiveServer, key: str
) -> None:
    async with live(providers=[provider(openai)]) as client:
        response = await client.post(
            f"/v1/chat/conversations/{await create(client)}/messages",
            json={"content": "Hi"},
            headers=httpx.Headers({"Idempotency-Key": key}),
        )
        assert response.status_code == 422


async def test_the_message_of_a_key_that_was_deleted_can_be_sent_again(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("a"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        first = (await say(client, id_, key="k")).json()
        await client.post(
            f"{MESSAGES}/delete",
            json={"message_ids": [first["user_message_id"], first["assistant_message_id"]]},
        )
        second = (await say(client, id_, key="k")).json()
        assert second["assistant_message_id"] > first["assistant_message_id"]
        assert (await stored(client, second["assistant_message_id"]))["content"] == "a"
