"""Many at once: no id twice, no turn lost, each conversation in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from proxy.documents.base import DEFAULT_OWNER
from proxy.documents.conversation import Conversation
from tests.conftest import LiveServer
from tests.fakes.faults import FaultyUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.scripted import script, stall, wait
from tests.support.depth import cases
from tests.support.replies import (
    CONVERSATIONS,
    MESSAGES,
    create,
    history,
    provider,
    say,
    stored,
    streaming,
)


async def asked(upstream: FaultyUpstream, turns: list[asyncio.Task[Any]]) -> None:
    """Return once the upstream was asked for every turn; a turn that ends before is a failure."""
    waiting = asyncio.create_task(upstream.wait_for_requests(len(turns)))
    await asyncio.wait([waiting, *turns], return_when=asyncio.FIRST_COMPLETED)
    for turn in turns:
        if turn.done():
            waiting.cancel()
            raise AssertionError(f"a turn ended early: {turn.result()}")


@asynccontextmanager
async def clients(count: int, base_url: httpx.URL) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client each: the pool of one takes longer than the server for so many connections."""
    found = [httpx.AsyncClient(base_url=base_url, timeout=60, verify=False) for _ in range(count)]
    yield found
    for client in found:
        await client.aclose()


async def test_turns_of_many_tabs_in_conversations_of_their_own(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    tabs = cases(80, in_ci=200)
    go_on = asyncio.Event()
    openai.play(openai.reply_when(go_on, "a", "b"))

    async def turn(number: int, client: httpx.AsyncClient, id_: str) -> tuple[int, int, str]:
        """Every other one streamed."""
        if number % 2:
            response = await say(client, id_, f"turn {number}")
            body = response.json()
            assert response.status_code == 200, body
            return body["user_message_id"], body["assistant_message_id"], body["reply"]
        async with streaming(client, id_, f"turn {number}") as stream:
            assert stream.status == 200, stream.json()
            first, *_ = await stream.rest()
            return first["user_message_id"], first["assistant_message_id"], stream.text

    async with (
        live(providers=[provider(openai)]) as client,
        clients(tabs, client.base_url) as many,
    ):
        ids = await asyncio.gather(*map(create, many))
        turns = [asyncio.create_task(turn(n, many[n], ids[n])) for n in range(tabs)]
        # All of them run at the same moment: no reply ends before every one was asked for.
        await asked(openai, turns)
        go_on.set()
        answers = await asyncio.gather(*turns)
        histories = await asyncio.gather(*map(history, many, ids))
    told = [id_ for user, reply, _ in answers for id_ in (user, reply)]
    assert len(set(told)) == 2 * tabs
    for number, (messages, answer) in enumerate(zip(histories, answers, strict=True)):
        user, reply = messages
        assert (user["id"], reply["id"], reply["content"]) == answer
        assert user["content"] == f"turn {number}"
        assert reply["content"] == "ab"
        assert reply["status"] == "complete"


async def test_50_turns_at_once_in_one_conversation(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.reply_when(go_on, "a", "b"))
    async with live(providers=[provider(openai)], tail_messages=20) as client:
        id_ = await create(client, system_prompt="Be brief.")
        turns = [asyncio.create_task(say(client, id_, f"turn {n}")) for n in range(50)]
        await asked(openai, turns)
        go_on.set()
        answers = [response.json() for response in await asyncio.gather(*turns)]
        system, *messages = await history(client, id_)
    assert system["role"] == "system"
    ids = [message["id"] for message in messages]
    assert ids == sorted(set(ids))
    assert len(ids) == 100
    pairs = list(zip(messages[::2], messages[1::2], strict=True))
    assert {(user["id"], reply["id"]) for user, reply in pairs} == {
        (answer["user_message_id"], answer["assistant_message_id"]) for answer in answers
    }
    by_user_id = {answer["user_message_id"]: n for n, answer in enumerate(answers)}
    for user, reply in pairs:
        assert user["content"] == f"turn {by_user_id[user['id']]}"
        assert reply["id"] == user["id"] + 1
        assert (reply["status"], reply["content"]) == ("complete", "ab")


async def test_turns_of_many_tabs_at_once_do_not_keep_older_messages_from_moving(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    """Each begins as soon as the one before has ended: some reply ends during every move."""
    openai.play(openai.reply("a", "b"))
    async with live(providers=[provider(openai)], tail_messages=8) as client:
        id_ = await create(client)

        async def tab() -> None:
            for _ in range(10):
                assert (await say(client, id_)).status_code == 200

        await asyncio.gather(*(tab() for _ in range(5)))
        conversation = await Conversation.with_tail(DEFAULT_OWNER, id_)
        assert len(await history(client, id_)) == 100
    assert len(conversation["messages"]) < 50
    assert conversation["page_count"] > 5


async def test_a_turn_never_sees_a_half_written_reply(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.reply_when(go_on, "half ", "whole"), openai.reply("b"), openai.reply("c"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        async with streaming(client, id_, "one") as stream:
            await stream.until("half ")
            assert (await say(client, id_, "two")).status_code == 200
            go_on.set()
            await stream.rest()
        await say(client, id_, "three")
    assert [m["content"] for m in openai.requests[1].json["messages"]] == ["one\n\ntwo"]
    assert [m["content"] for m in openai.requests[2].json["messages"]] == [
        "one",
        "half whole",
        "two",
        "b",
        "three",
    ]


async def test_a_rename_during_a_stream_loses_neither(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "first ", "second"))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client, name="before")
        async with streaming(client, id_) as stream:
            await stream.until("first ")
            await client.put(f"{CONVERSATIONS}/{id_}", json={"name": "after"})
            go_on.set()
            await stream.rest()
            assert stream.text == "first second"
        assert (await history(client, id_))[-1]["content"] == "first second"
        found = (await client.get(f"{CONVERSATIONS}/{id_}")).json()
        assert found["name"] == "after"


async def test_deleting_the_conversation_during_a_stream_ends_it_and_brings_nothing_back(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.stall_after("first "))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("first ")
            message_id = stream.message_id
            await client.delete(f"{CONVERSATIONS}/{id_}")
            last = (await stream.rest())[-1]
            assert last["error"]["type"] == "deleted"
        await upstream.wait_for_abort()
        assert (await client.get(f"{CONVERSATIONS}/{id_}")).status_code == 404
        assert (await client.get(f"{MESSAGES}/{message_id}")).status_code == 404
    assert await Conversation.collection().find_one({"_id": id_}) is None


async def test_deleting_the_reply_during_a_stream_ends_it_and_brings_nothing_back(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.stall_after("first "))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("first ")
            response = await client.post(
                f"{MESSAGES}/delete", json={"message_ids": [stream.message_id]}
            )
            assert response.json() == {"message": "1 messages deleted"}
            last = (await stream.rest())[-1]
            assert last["error"]["type"] == "deleted"
        await upstream.wait_for_abort()
        (user,) = await history(client, id_)
        assert user["role"] == "user"


async def test_deleting_the_conversation_ends_a_turn_that_is_not_streamed(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    reached = asyncio.Event()
    openai.play(openai.stall_after("first ", reached=reached))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        turn = asyncio.create_task(say(client, id_))
        await reached.wait()
        await client.delete(f"{CONVERSATIONS}/{id_}")
        response = await turn
        assert response.status_code == 404
        assert response.json()["error"]["type"] == "deleted"


async def test_deleting_during_a_stream_on_another_worker_ends_it_at_a_checkpoint(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.texts("first ") + script(wait(go_on), openai.text("more"), stall()))
    async with (
        live(providers=[provider(openai)], checkpoint_seconds=0.1) as one,
        live(providers=[provider(openai)]) as other,
    ):
        id_ = await create(one)
        async with streaming(one, id_) as stream:
            await stream.until("first ")
            await other.delete(f"{CONVERSATIONS}/{id_}")
            go_on.set()
            last = (await stream.rest())[-1]
            assert last["error"]["type"] == "deleted"
        await openai.wait_for_abort()


async def test_edits_renames_deletes_and_turns_at_once_lose_nothing(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("answer"))
    async with live(providers=[provider(openai)], tail_messages=8) as client:
        id_ = await create(client)
        first = [(await say(client, id_, f"old {n}")).json() for n in range(6)]
        edited = [body["user_message_id"] for body in first[:3]]
        deleted = [body["assistant_message_id"] for body in first[3:]]
        work = [say(client, id_, f"new {n}") for n in range(12)]
        work += [client.put(f"{MESSAGES}/{n}", json={"content": "edited"}) for n in edited]
        work += [client.post(f"{MESSAGES}/delete", json={"message_ids": [n]}) for n in deleted]
        work += [client.put(f"{CONVERSATIONS}/{id_}", json={"name": f"{n}"}) for n in range(5)]
        responses = await asyncio.gather(*work)
        assert {response.status_code for response in responses} == {200}
        messages = await history(client, id_)
        ids = [message["id"] for message in messages]
        assert ids == sorted(set(ids))
        assert len(ids) == 6 * 2 - 3 + 12 * 2
        contents = {message["id"]: message["content"] for message in messages}
        assert [contents[n] for n in edited] == ["edited"] * 3
        assert not set(deleted) & set(ids)
        assert {f"new {n}" for n in range(12)} <= set(contents.values())
        raw = await Conversation.with_tail(DEFAULT_OWNER, id_)
        assert raw["page_count"] > 0


@pytest.mark.parametrize("role", ["user", "assistant"])
async def test_a_message_deleted_and_edited_at_once_is_gone_or_edited_never_both(
    openai: OpenAIUpstream, live: LiveServer, role: str
) -> None:
    openai.play(openai.reply("answer"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        for _ in range(5):
            message_id = (await say(client, id_)).json()[f"{role}_message_id"]
            edit, delete = await asyncio.gather(
                client.put(f"{MESSAGES}/{message_id}", json={"content": "edited"}),
                client.post(f"{MESSAGES}/delete", json={"message_ids": [message_id]}),
            )
            assert edit.status_code in (200, 404)
            assert delete.json() == {"message": "1 messages deleted"}
            assert (await client.get(f"{MESSAGES}/{message_id}")).status_code == 404


async def test_a_reply_cannot_be_edited_while_it_is_written(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.reply_when(go_on, "first ", "second"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("first ")
            path = f"{MESSAGES}/{stream.message_id}"
            assert (await client.put(path, json={"content": "x"})).status_code == 409
            go_on.set()
            await stream.rest()
        assert (await stored(client, stream.message_id))["content"] == "first second"
