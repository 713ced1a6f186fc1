"""Again: a reply is written anew, and what was there before is kept."""

import asyncio
from typing import Any

from proxy.documents.message_page import MessagePage, page_id
from tests.conftest import LiveServer
from tests.fakes.faults import FaultyUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.replies import (
    CONVERSATIONS,
    MESSAGES,
    create,
    engine_of,
    history,
    provider,
    say,
    stored,
    streaming,
)


async def test_a_regenerated_reply_keeps_the_former_one(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.reply("first"), upstream.reply("second"), upstream.reply("third"))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        turn = (await say(client, id_)).json()
        message_id = turn["assistant_message_id"]
        body = (await client.post(f"{MESSAGES}/{message_id}/regenerate")).json()
        assert (body["reply"], body["assistant_message_id"]) == ("second", message_id)
        assert body["user_message_id"] == turn["user_message_id"]
        body = (
            await client.post(f"{MESSAGES}/{message_id}/regenerate", json={"model": "other"})
        ).json()
        assert body["reply"] == "third"
        message = await stored(client, message_id)
        assert (message["content"], message["model"], message["revision"]) == ("third", "other", 2)
        assert [each["content"] for each in message["revisions"]] == ["first", "second"]
        assert [each["model"] for each in message["revisions"]] == ["test-model", "test-model"]
        for each in message["revisions"]:
            assert each["status"] == "complete"
            assert each["replaced_at"].endswith("Z")
            assert not {"attempt", "worker", "idempotency"} & set(each)
        assert [m["content"] for m in await history(client, id_)] == ["Hi", "third"]


async def test_a_regenerated_reply_sees_only_what_was_before_it(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("a"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client, system_prompt="Be brief.")
        first = (await say(client, id_, "one")).json()
        await say(client, id_, "two")
        await client.post(f"{MESSAGES}/{first['assistant_message_id']}/regenerate")
    assert [m["content"] for m in openai.requests[-1].json["messages"]] == ["Be brief.", "one"]


async def test_regenerate_streams_and_can_be_joined_and_stopped(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.reply("first"), upstream.stall_after("sec"))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        turn = (await say(client, id_)).json()
        message_id = turn["assistant_message_id"]
        async with client.stream(
            "POST", f"{MESSAGES}/{message_id}/regenerate", json={"stream": True}
        ) as response:
            lines = response.aiter_lines()
            assert str(message_id) in await anext(lines)
            await anext(lines)
            assert '"sec"' in await anext(lines)
            assert (await stored(client, message_id))["status"] == "streaming"
            await client.post(f"{MESSAGES}/{message_id}/stop")
        message = await stored(client, message_id)
        assert (message["status"], message["content"]) == ("stopped", "sec")
        assert [each["content"] for each in message["revisions"]] == ["first"]


async def test_nothing_of_the_former_writing_is_left_in_the_new_one(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.cut_after("Hel"), upstream.reply("Hello"))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        message_id = (await say(client, id_)).json()["assistant_message_id"]
        await client.post(f"{MESSAGES}/{message_id}/regenerate")
        message = await stored(client, message_id)
        assert (message["status"], message["content"]) == ("complete", "Hello")
        assert "error" not in message
        (former,) = message["revisions"]
        assert (former["status"], former["content"]) == ("failed", "Hel")
        assert former["error"]["type"] == "upstream_unreachable"


async def test_a_running_reply_cannot_be_regenerated(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.stall_after("a"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("a")
            response = await client.post(f"{MESSAGES}/{stream.message_id}/regenerate")
            assert response.status_code == 409
            await client.post(f"{MESSAGES}/{stream.message_id}/stop")
            await stream.rest()
    assert len(openai.requests) == 1


async def test_regenerated_at_the_same_moment_one_goes_on(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.reply("first"), openai.reply_when(go_on, "sec", "ond"))
    async with live(providers=[provider(openai)]) as client:
        message_id = (await say(client, await create(client))).json()["assistant_message_id"]
        path = f"{MESSAGES}/{message_id}/regenerate"
        copies = [asyncio.create_task(client.post(path)) for _ in range(6)]
        await openai.wait_for_requests(2)
        done, _ = await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        assert {copy.result().status_code for copy in done} == {409}
        go_on.set()
        statuses = sorted(answer.status_code for answer in await asyncio.gather(*copies))
        assert statuses[0] == 200
        message = await stored(client, message_id)
        assert message["content"] == "second"
        assert len(message["revisions"]) == statuses.count(200)
    assert len(openai.requests) == 1 + statuses.count(200)


async def test_only_a_reply_can_be_regenerated(openai: OpenAIUpstream, live: LiveServer) -> None:
    openai.play(openai.reply("a"))
    async with live(providers=[provider(openai)]) as client:
        turn = (await say(client, await create(client))).json()
        path = f"{MESSAGES}/{turn['user_message_id']}/regenerate"
        assert (await client.post(path)).status_code == 400
        assert (await client.post(f"{MESSAGES}/999999999/regenerate")).status_code == 404


async def test_a_reply_in_a_page_is_regenerated_in_its_place(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.reply("old"))
    async with live(providers=[provider(upstream)], tail_messages=4) as client:
        id_ = await create(client)
        turns = [(await say(client, id_, f"{n}")).json() for n in range(8)]
        message_id = turns[0]["assistant_message_id"]
        upstream.play(upstream.reply("new"))
        before = (await client.get(f"{CONVERSATIONS}/{id_}")).json()["updated_at"]
        body = (await client.post(f"{MESSAGES}/{message_id}/regenerate")).json()
        assert body["reply"] == "new"
        messages = await history(client, id_)
        assert [m["content"] for m in messages[1::2]] == ["new"] + ["old"] * 7
        message = await stored(client, message_id)
        assert [each["content"] for each in message["revisions"]] == ["old"]
        assert (await client.get(f"{CONVERSATIONS}/{id_}")).json()["updated_at"] > before


async def test_more_replies_of_a_page_at_once_than_it_could_hold_are_told_to_come_later(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    openai.play(*[openai.reply("old")] * 20, openai.reply_when(go_on, "new"))
    async with live(providers=[provider(openai)], tail_messages=32) as client:
        id_ = await create(client)
        for _ in range(20):
            await say(client, id_)
        page: Any = await MessagePage.collection().find_one({"_id": page_id(id_, 0)})
        first = [m["id"] for m in page["messages"] if m["role"] == "assistant"][:4]
        assert len(first) == 4
        *running, last = (f"{MESSAGES}/{each}/regenerate" for each in first)
        turns = [asyncio.create_task(client.post(path)) for path in running]
        await openai.wait_for_requests(20 + len(running))
        refused = await client.post(last)
        assert refused.status_code == 409
        assert "being written" in refused.json()["detail"]
        go_on.set()
        assert {turn.status_code for turn in await asyncio.gather(*turns)} == {200}
        assert (await client.post(last)).json()["reply"] == "new"


async def test_deleting_a_reply_while_it_is_regenerated_ends_it(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    reached = asyncio.Event()
    upstream.play(upstream.reply("first"), upstream.stall_after("sec", reached=reached))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        message_id = (await say(client, id_)).json()["assistant_message_id"]
        again = asyncio.create_task(client.post(f"{MESSAGES}/{message_id}/regenerate"))
        await reached.wait()
        await client.post(f"{MESSAGES}/delete", json={"message_ids": [message_id]})
        assert (await again).status_code == 404
        await upstream.wait_for_abort()
        assert [m["role"] for m in await history(client, id_)] == ["user"]
        assert engine_of(client).running == {}


async def test_an_edit_keeps_revisions(openai: OpenAIUpstream, live: LiveServer) -> None:
    openai.play(openai.reply("a"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client, system_prompt="one")
        turn = (await say(client, id_, "Hi")).json()
        for message_id in (turn["user_message_id"], turn["assistant_message_id"]):
            for text in ("second", "third"):
                await client.put(f"{MESSAGES}/{message_id}", json={"content": text})
        user = await stored(client, turn["user_message_id"])
        assert [each["content"] for each in user["revisions"]] == ["Hi", "second"]
        reply = await stored(client, turn["assistant_message_id"])
        assert [each["content"] for each in reply["revisions"]] == ["a", "second"]
        assert reply["status"] == "complete"


async def test_a_changed_system_prompt_keeps_revisions_whichever_way_it_was_changed(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client, system_prompt="one")
        (message,) = await history(client, id_)
        await client.put(f"{CONVERSATIONS}/{id_}", json={"system_prompt": "two"})
        await client.put(f"{MESSAGES}/{message['id']}", json={"content": "three"})
        await client.put(f"{CONVERSATIONS}/{id_}", json={"system_prompt": "four", "name": "n"})
        # The same again is no change.
        await client.put(f"{CONVERSATIONS}/{id_}", json={"system_prompt": "four"})
        found = await stored(client, message["id"])
        assert (found["content"], found["revision"]) == ("four", 3)
        assert [each["content"] for each in found["revisions"]] == ["one", "two", "three"]
        conversation = (await client.get(f"{CONVERSATIONS}/{id_}")).json()
        assert (conversation["system_prompt"], conversation["name"]) == ("four", "n")


async def test_system_prompts_set_at_the_same_moment_lose_no_revision(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client, system_prompt="start")
        (message,) = await history(client, id_)
        path = f"{CONVERSATIONS}/{id_}"
        await asyncio.gather(
            *(client.put(path, json={"system_prompt": f"prompt {n}"}) for n in range(8))
        )
        found = await stored(client, message["id"])
        texts = [each["content"] for each in found["revisions"]] + [found["content"]]
        assert texts[0] == "start"
        assert sorted(texts[1:]) == sorted(f"prompt {n}" for n in range(8))
        assert (await client.get(path)).json()["system_prompt"] == found["content"]
