"""Before the first token transient faults are retried and fallbacks asked; never after it."""

import asyncio
import time
from typing import Any

import pytest

from proxy.providers.base import Provider
from tests.conftest import LiveServer
from tests.fakes.faults import FaultyUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.poe_upstream import PoeUpstream
from tests.support.replies import create, history, provider, say, streaming

BUDGET = {"retry_budget_seconds": 20}


@pytest.mark.parametrize("fault", ["408", "409", "429", "500", "cut", "no head"])
async def test_a_transient_fault_before_the_first_token_is_retried(
    upstream: FaultyUpstream, live: LiveServer, fault: str
) -> None:
    faults = {
        "cut": upstream.cut_before_the_first_token,
        "no head": upstream.cut_before_the_head,
    }
    first = faults[fault]() if fault in faults else upstream.status(int(fault))
    upstream.play(first, upstream.reply("Hello"))
    async with live(providers=[provider(upstream)], **BUDGET) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.rest()
            assert stream.text == "Hello"
        reply = (await history(client, id_))[-1]
        assert (reply["status"], reply["content"]) == ("complete", "Hello")
    assert len(upstream.requests) == 2
    assert upstream.requests[0].body == upstream.requests[1].body


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413])
async def test_a_fault_that_stays_is_not_retried(
    upstream: FaultyUpstream, live: LiveServer, status: int
) -> None:
    upstream.play(upstream.status(status), upstream.reply("never"))
    async with live(providers=[provider(upstream)], **BUDGET) as client:
        assert (await say(client, await create(client))).status_code >= 400
    assert len(upstream.requests) == 1


async def test_nothing_is_asked_again_after_a_token(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.cut_after("Hel"), upstream.reply("never"))
    async with live(providers=[provider(upstream)], **BUDGET) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            assert (await stream.rest())[-1]["error"]["type"] == "upstream_unreachable"
            assert stream.text == "Hel"
    assert len(upstream.requests) == 1


async def test_a_wait_that_is_asked_for_is_kept(openai: OpenAIUpstream, live: LiveServer) -> None:
    openai.play(openai.status(429, retry_after="1"), openai.reply("Hello"))
    async with live(providers=[provider(openai)], **BUDGET) as client:
        id_ = await create(client)
        began = time.monotonic()
        assert (await say(client, id_)).json()["reply"] == "Hello"
        assert time.monotonic() - began >= 1


async def test_a_wait_beyond_the_budget_is_the_clients(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.status(429, retry_after="60"), upstream.reply("never"))
    async with live(providers=[provider(upstream)], **BUDGET) as client:
        response = await say(client, await create(client))
        assert response.status_code == 429
        assert response.headers["retry-after"] == "60"
    assert len(upstream.requests) == 1


async def test_retries_end_with_their_budget(openai: OpenAIUpstream, live: LiveServer) -> None:
    openai.play(openai.status(500))
    async with live(providers=[provider(openai)], retry_budget_seconds=1) as client:
        response = await say(client, await create(client))
        assert response.status_code == 502
    assert 1 < len(openai.requests) < 10


# Fallbacks


def named(upstream: FaultyUpstream, name: str) -> Provider:
    found = provider(upstream)
    found.name = name
    return found


ROUTE: dict[str, Any] = {"models": {"fast": {"route": ["one/small", "two/Small-Bot"]}}}


async def test_a_fallback_answers_where_the_first_does_not_and_the_message_says_so(
    openai: OpenAIUpstream, poe: PoeUpstream, live: LiveServer
) -> None:
    openai.play(openai.status(500))
    poe.play(poe.reply("from Poe"))
    providers = [named(openai, "one"), named(poe, "two")]
    async with live(providers=providers, **ROUTE) as client:
        id_ = await create(client, model="fast")
        async with streaming(client, id_) as stream:
            await stream.rest()
            assert stream.text == "from Poe"
        reply = (await history(client, id_))[-1]
        assert (reply["provider"], reply["model"]) == ("two", "Small-Bot")
        assert reply["status"] == "complete"
    assert len(openai.requests) == len(poe.requests) == 1
    assert openai.requests[0].json["model"] == "small"


async def test_the_first_that_answers_is_the_one(
    openai: OpenAIUpstream, poe: PoeUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("from OpenAI"))
    providers = [named(openai, "one"), named(poe, "two")]
    async with live(providers=providers, **ROUTE) as client:
        id_ = await create(client, model="fast")
        assert (await say(client, id_)).json()["reply"] == "from OpenAI"
        reply = (await history(client, id_))[-1]
        assert (reply["provider"], reply["model"]) == ("one", "small")
    assert poe.requests == []


async def test_no_fallback_after_a_token(
    openai: OpenAIUpstream, poe: PoeUpstream, live: LiveServer
) -> None:
    openai.play(openai.cut_after("Hel"))
    providers = [named(openai, "one"), named(poe, "two")]
    async with live(providers=providers, **ROUTE) as client:
        id_ = await create(client, model="fast")
        assert (await say(client, id_)).status_code == 502
        reply = (await history(client, id_))[-1]
        assert (reply["provider"], reply["content"], reply["status"]) == ("one", "Hel", "failed")
    assert poe.requests == []


async def test_where_none_answers_the_error_that_can_be_acted_on_is_told(
    openai: OpenAIUpstream, poe: PoeUpstream, live: LiveServer
) -> None:
    openai.play(openai.status(500))
    poe.play(poe.status(402))
    providers = [named(openai, "one"), named(poe, "two")]
    async with live(providers=providers, **ROUTE) as client:
        response = await say(client, await create(client, model="fast"))
        assert response.status_code == 402
        assert response.json()["error"]["type"] == "insufficient_quota"


# What is stored of the tokens


async def test_usage_says_who_counted(
    openai: OpenAIUpstream, poe: PoeUpstream, live: LiveServer
) -> None:
    openai.play(openai.reply("Hello"), openai.status(500), openai.stall_after("Hel"))
    poe.play(poe.reply("Hello"))
    providers = [named(openai, "one"), named(poe, "two")]
    async with live(providers=providers) as client:
        id_ = await create(client)
        await say(client, id_, model="one/m")
        reported = (await history(client, id_))[-1]["usage"]
        assert reported["provenance"] == "reported"
        assert (reported["prompt_tokens"], reported["completion_tokens"]) == (11, 7)
        assert reported["total_tokens"] == 18

        await say(client, id_, model="two/m")
        estimated = (await history(client, id_))[-1]["usage"]
        assert estimated["provenance"] == "estimated"
        assert estimated["completion_tokens"] > 0
        assert estimated["total_tokens"] == (
            estimated["prompt_tokens"] + estimated["completion_tokens"]
        )

        await say(client, id_, model="one/m")
        assert (await history(client, id_))[-1]["usage"] == {"provenance": "unknown"}

        turn = asyncio.create_task(say(client, id_, model="one/m"))
        await openai.wait_for_requests(3)
        reply = (await history(client, id_))[-1]
        while not client.app.state.engine.running[reply["id"]].has_begun:  # type: ignore[attr-defined] # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await client.post(f"/v1/chat/messages/{reply['id']}/stop")
        await turn
        assert (await history(client, id_))[-1]["usage"]["provenance"] == "estimated"
