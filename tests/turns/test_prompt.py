"""What a model is shown: the system prompt always, and as much of the newest as fits."""

from typing import Any

import pytest

from proxy.tokenizer.tokens import count_tokens
from tests.conftest import LiveServer
from tests.fakes.faults import FaultyUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
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

TEXT = "word " * 60
"""Sixty tokens and a little."""


def prompt_of(upstream: FaultyUpstream) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = upstream.requests[-1].json["messages"]
    return messages


def tokens(messages: list[dict[str, Any]]) -> int:
    return sum(count_tokens(m["content"]) for m in messages)


async def test_a_prompt_is_the_system_prompt_the_history_and_the_new_message(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("a1"), openai.reply("a2"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client, system_prompt="Be brief.", assistance_role="产品经理")
        await say(client, id_, "q1")
        await say(client, id_, "q2")
        reply = (await history(client, id_))[-1]
        assert "omitted_messages" not in reply
    assert prompt_of(openai) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "q1"},
        {"role": "assistant", "content": "a1"},
        {"role": "user", "content": "q2"},
    ]


async def test_roles_are_mapped_on_poe(poe: Any, live: LiveServer) -> None:
    poe.play(poe.reply("a1"), poe.reply("a2"))
    async with live(providers=[provider(poe)]) as client:
        id_ = await create(client, system_prompt="Be brief.")
        await say(client, id_, "q1")
        await say(client, id_, "q2")
    query = poe.requests[-1].json["query"]
    assert [(m["role"], m["content"]) for m in query] == [
        ("system", "Be brief."),
        ("user", "q1"),
        ("bot", "a1"),
        ("user", "q2"),
    ]


@pytest.mark.parametrize("tail_messages", [4, 64])
async def test_the_oldest_turns_are_left_out_and_counted(
    openai: OpenAIUpstream, live: LiveServer, tail_messages: int
) -> None:
    """With a small tail most of the history is in pages."""
    openai.play(openai.reply(TEXT))
    async with live(
        providers=[provider(openai)], context_tokens=1000, tail_messages=tail_messages
    ) as client:
        id_ = await create(client, system_prompt="Be brief.")
        for n in range(12):
            await say(client, id_, f"{n} {TEXT}")
            prompt = prompt_of(openai)
            assert prompt[0] == {"role": "system", "content": "Be brief."}
            assert prompt[-1]["content"] == f"{n} {TEXT}"
            assert tokens(prompt) <= 1000 * 7 / 8
            reply = (await history(client, id_))[-1]
            shown = len(prompt) - 2
            assert shown + reply.get("omitted_messages", 0) == 2 * n
        assert reply["omitted_messages"] > 5
        body = (await say(client, id_, "whole")).json()
        reply = (await history(client, id_))[-1]
        assert body["omitted_messages"] == reply["omitted_messages"] > 5
        async with streaming(client, id_, "streamed") as stream:
            last = (await stream.rest())[-1]
        reply = (await history(client, id_))[-1]
        assert last["omitted_messages"] == reply["omitted_messages"] > 5


async def test_a_regenerated_old_reply_counts_what_its_prompt_left_out(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply(TEXT))
    async with live(providers=[provider(openai)], context_tokens=1000, tail_messages=4) as client:
        id_ = await create(client)
        turns = [(await say(client, id_, f"{n} {TEXT}")).json() for n in range(14)]
        for n in (0, 1, 5, 9, 13):
            reply = turns[n]["assistant_message_id"]
            await client.post(f"{MESSAGES}/{reply}/regenerate")
            prompt = prompt_of(openai)
            assert prompt[-1]["content"] == f"{n} {TEXT}"
            left_out = (await stored(client, reply)).get("omitted_messages", 0)
            assert len(prompt) + left_out == 2 * n + 1


async def test_a_message_that_was_deleted_or_edited_is_shown_as_it_is_now(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("a"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        first = (await say(client, id_, "one")).json()
        second = (await say(client, id_, "two")).json()
        await client.put(f"{MESSAGES}/{first['user_message_id']}", json={"content": "ONE"})
        await client.post(
            f"{MESSAGES}/delete",
            json={"message_ids": [second["user_message_id"], second["assistant_message_id"]]},
        )
        await client.put(f"{CONVERSATIONS}/{id_}", json={"system_prompt": "New."})
        await say(client, id_, "three")
    assert [m["content"] for m in prompt_of(openai)] == ["New.", "ONE", "a", "three"]


async def test_an_empty_reply_is_not_shown(openai: OpenAIUpstream, live: LiveServer) -> None:
    openai.play(openai.status(500), openai.reply("a"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        await say(client, id_, "one")
        await say(client, id_, "two")
    assert [m["content"] for m in prompt_of(openai)] == ["one\n\ntwo"]


async def test_consecutive_replies_are_sent_as_one(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("first half, "), openai.reply("second half"), openai.reply("x"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        await say(client, id_, "one")
        await say(client, id_, "continue")
        assert [m["content"] for m in prompt_of(openai)] == ["one", "first half, ", "continue"]
        await say(client, id_, "two")
    assert [m["content"] for m in prompt_of(openai)] == ["one", "first half, second half", "two"]


async def test_the_window_of_a_model_is_its_own(openai: OpenAIUpstream, live: LiveServer) -> None:
    openai.play(openai.reply(TEXT))
    models = {"small": {"context_tokens": 256}}
    async with live(providers=[provider(openai)], models=models) as client:
        id_ = await create(client)
        for n in range(5):
            await say(client, id_, f"{n} {TEXT}")
        await say(client, id_, "last", model="large")
        assert len(prompt_of(openai)) == 11
        await say(client, id_, "last", model="small")
        assert len(prompt_of(openai)) < 6


async def test_system_prompt_append_extends_one_call_and_is_not_stored(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("a"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client, system_prompt="Be brief.")
        await say(client, id_, "one", system_prompt_append="In French.")
        assert prompt_of(openai)[0]["content"] == "Be brief.\n\nIn French."
        await say(client, id_, "two")
        assert prompt_of(openai)[0]["content"] == "Be brief."
        assert (await history(client, id_))[0]["content"] == "Be brief."
