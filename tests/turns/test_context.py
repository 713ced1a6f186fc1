"""What a model is shown of a long conversation."""

from typing import Any

import httpx
import pytest

from proxy.database import Database
from tests.conftest import client_of, make_settings, running_app
from tests.fakes.openai_upstream import OpenAIUpstream


async def talk(client: httpx.AsyncClient, turns: int) -> tuple[str, list[dict[str, Any]]]:
    created = await client.post("/v1/chat/conversations", json={"system_prompt": "SYSTEM"})
    path = f"/v1/chat/conversations/{created.json()['conversation_id']}/messages"
    for number in range(turns):
        response = await client.post(path, json={"content": f"question {number} " + "字 " * 10})
        assert response.status_code == 200, response.text
    return path, (await client.get(path)).json()["messages"]


@pytest.mark.parametrize("tail_messages", [4, 64], ids=["pages", "tail"])
async def test_the_oldest_turns_are_left_out_and_the_reply_says_how_many(
    database: Database, tail_messages: int
) -> None:
    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.reply("answer"))
        settings = make_settings(
            openai_base_url=upstream.base_url, context_tokens=256, tail_messages=tail_messages
        )
        async with running_app(database, settings) as app, client_of(app) as client:
            _, messages = await talk(client, 30)
        prompt = upstream.requests[-1].json["messages"]
        assert prompt[0] == {"role": "system", "content": "SYSTEM"}
        assert prompt[-1]["content"].startswith("question 29 ")
        # What is kept is the newest part, without a gap.
        history = [m["content"] for m in messages[1:-2]]
        shown = [m["content"] for m in prompt[1:-1]]
        assert 0 < len(shown) < len(history)
        assert history[-len(shown) :] == shown
        assert messages[-1]["omitted_messages"] == len(history) - len(shown)
        assert "omitted_messages" not in messages[2]


async def test_consecutive_replies_are_sent_as_one(database: Database) -> None:
    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.reply("one "), upstream.reply("two"), upstream.reply("three"))
        settings = make_settings(openai_base_url=upstream.base_url)
        async with running_app(database, settings) as app, client_of(app) as client:
            path, _ = await talk(client, 1)
            await client.post(path, json={"content": "继续"})
            await client.post(path, json={"content": "next"})
        roles = [m["role"] for m in upstream.requests[-1].json["messages"]]
        assert roles == ["system", "user", "assistant", "user"]
        assert upstream.requests[-1].json["messages"][2]["content"] == "one two"
        assert upstream.requests[1].json["messages"][-1]["content"] == "继续"


async def test_a_transient_fault_before_the_first_token_is_tried_again(database: Database) -> None:
    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.status(500), upstream.status(429), upstream.reply("at last"))
        settings = make_settings(openai_base_url=upstream.base_url, retry_budget_seconds=20)
        async with running_app(database, settings) as app, client_of(app) as client:
            _, messages = await talk(client, 1)
        assert len(upstream.requests) == 3
        assert messages[-1]["content"] == "at last"
        assert messages[-1]["status"] == "complete"


async def test_a_fallback_answers_and_the_reply_says_which(database: Database) -> None:
    async with OpenAIUpstream() as first, OpenAIUpstream() as second:
        first.play(first.status(500))
        second.play(second.reply("from the second"))
        settings = make_settings(
            default_model="fast",
            providers={"a": {"base_url": first.base_url}, "b": {"base_url": second.base_url}},
            models={"fast": {"route": ["a/small", "b/other"]}},
        )
        async with running_app(database, settings) as app, client_of(app) as client:
            _, messages = await talk(client, 1)
        assert messages[-1]["content"] == "from the second"
        assert (messages[-1]["provider"], messages[-1]["model"]) == ("b", "other")
        assert second.requests[-1].json["model"] == "other"


async def test_nothing_is_tried_again_once_a_token_was_passed_on(database: Database) -> None:
    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.cut_after("half"), upstream.reply("whole"))
        settings = make_settings(openai_base_url=upstream.base_url, retry_budget_seconds=20)
        async with running_app(database, settings) as app, client_of(app) as client:
            created = (await client.post("/v1/chat/conversations", json={})).json()
            path = f"/v1/chat/conversations/{created['conversation_id']}/messages"
            response = await client.post(path, json={"content": "hi"})
            messages = (await client.get(path)).json()["messages"]
        assert response.status_code == 502
        assert len(upstream.requests) == 1
        assert (messages[-1]["status"], messages[-1]["content"]) == ("failed", "half")
