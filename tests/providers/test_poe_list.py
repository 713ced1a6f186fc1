"""Poe's own list of its models: what it says is used before anything is paid."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy import errors
from proxy.database import Database
from proxy.providers.base import CompletionRequest
from proxy.providers.model_facts import ModelFacts, facts_of, in_seconds
from proxy.providers.poe import PoeProvider
from proxy.setting_types import ModelSettings
from tests.conftest import client_of, make_settings, running_app
from tests.fakes.poe_upstream import PoeUpstream
from tests.fakes.scripted import whole
from tests.support.providers import KEY, deltas, request, settings

LISTED: dict[str, Any] = {
    "id": "Claude-Test",
    "object": "model",
    "created": 1758868894776,
    "owned_by": "Anthropic",
    "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
    "supported_features": ["tools"],
    "pricing": {"prompt": "0.0000026", "completion": "0.000013", "request": None},
    "context_window": {"context_length": 983040, "max_output_tokens": 32768},
    "reasoning": {"budget": {"max_tokens": 31999}, "supports_reasoning_effort": False},
    "parameters": [
        {"name": "thinking_budget", "schema": {"type": "number", "minimum": 0, "maximum": 31999}},
        {"name": "style", "schema": {"type": "string", "enum": ["plain", "rich"]}},
    ],
}
PLAIN = {
    **LISTED,
    "id": "Plain-Test",
    "architecture": {"input_modalities": ["text"]},
    "supported_features": [],
    "pricing": None,
    "context_window": {"context_length": 1_000},
    "parameters": [],
}
IMAGE = {"type": "image_url", "image_url": {"url": "https://x.test/cat.png"}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture
async def poe() -> AsyncIterator[PoeUpstream]:
    async with PoeUpstream() as server:
        server.models_script = whole(200, {"object": "list", "data": [LISTED, PLAIN]})
        yield server.play(server.reply("Hello"))


@pytest.fixture
async def provider(poe: PoeUpstream) -> AsyncIterator[PoeProvider]:
    provider = PoeProvider(settings(), base_url=poe.base_url, api_key=KEY)
    await provider.list_models()
    yield provider
    await provider.close()


def test_a_listed_model_is_read() -> None:
    facts = facts_of(LISTED)
    assert facts.context_tokens == 983040
    assert facts.input_price_per_million_tokens == 2.6
    assert facts.output_price_per_million_tokens == 13
    assert (facts.images, facts.tools, facts.reasoning_effort) == (True, True, False)
    assert facts.parameters is not None
    assert set(facts.parameters) == {"thinking_budget", "style"}


@pytest.mark.parametrize("odd", [None, True, -1, 7, "x", [], ["a"], {}, {"context_length": "x"}])
def test_whatever_a_list_holds_is_read_or_left(odd: Any) -> None:
    for key in LISTED.keys() - {"id"}:
        facts_of({**LISTED, key: odd})
        in_seconds(odd)
    assert facts_of({"id": "x"}) == ModelFacts()


@pytest.mark.parametrize(
    ("created", "seconds"),
    [
        (1758868894, 1758868894),
        (1758868894776, 1758868894),
        (1758868894776123, 1758868894),
        (float("nan"), 0),
        ("1758868894", 0),
        (None, 0),
    ],
)
def test_created_is_in_seconds(created: Any, seconds: int) -> None:
    assert in_seconds(created) == seconds


@pytest.mark.parametrize(
    ("model", "parameters", "field"),
    [
        ("Plain-Test", {"tools": [TOOL]}, "tools"),
        ("claude-test", {"thinking_budget": 32000}, "thinking_budget"),
        ("Claude-Test", {"thinking_budget": "many"}, "thinking_budget"),
        ("Claude-Test", {"thinking_budget": True}, "thinking_budget"),
        ("Claude-Test", {"style": "loud"}, "style"),
        ("Claude-Test", {"reasoning_effort": "high"}, "reasoning_effort"),
        ("Claude-Test", {"thinking_bugdet": 5}, "thinking_bugdet"),
    ],
)
async def test_what_the_list_does_not_allow_is_refused_before_the_call(
    poe: PoeUpstream, provider: PoeProvider, model: str, parameters: Any, field: str
) -> None:
    with pytest.raises(errors.UpstreamBadRequest) as caught:
        await deltas(provider, request(model=model, **parameters))
    assert (caught.value.status, caught.value.param) == (400, field)
    assert poe.requests == []


async def test_what_the_list_allows_goes_out(poe: PoeUpstream, provider: PoeProvider) -> None:
    asked = request(model="Claude-Test", thinking_budget=4096.5, style="rich", tools=[TOOL])
    await deltas(provider, asked)
    assert poe.requests[0].json["query"][0]["parameters"] == {
        "thinking_budget": 4096.5,
        "style": "rich",
    }
    # What is not listed is the bot's own business.
    await deltas(provider, request(model="Unlisted", anything=1, reasoning_effort="low"))
    assert len(poe.requests) == 2


async def test_a_picture_is_refused_where_the_bot_takes_none_unless_the_operator_knows_better(
    poe: PoeUpstream, provider: PoeProvider
) -> None:
    asked = CompletionRequest("Plain-Test", [{"role": "user", "content": [IMAGE]}])
    with pytest.raises(errors.UpstreamBadRequest) as caught:
        await deltas(provider, asked)
    assert caught.value.param == "messages"
    assert poe.requests == []
    knows = settings(models={"poe/Plain-Test": ModelSettings(images=True)})
    other = PoeProvider(knows, base_url=poe.base_url, api_key=KEY)
    await other.list_models()
    await deltas(other, asked)
    await other.close()
    assert len(poe.requests) == 1


async def test_the_list_gives_windows_and_prices(mock: Database, poe: PoeUpstream) -> None:
    given = make_settings(poe_api_key=KEY, poe_base_url=poe.base_url)
    async with running_app(mock, given) as app, client_of(app) as client:
        listed = (await client.get("/v1/models")).json()["data"]
        assert listed[0]["created"] == 1758868894
        assert listed[0]["context_tokens"] == 983040
        assert listed[0]["output_price_per_million_tokens"] == 13
        body = {"model": "Claude-Test", "messages": [{"role": "user", "content": "Hi"}]}
        answer = await client.post("/v1/chat/completions", json=body)
        counted = answer.json()["usage"]
        total = (await client.get("/v1/usage")).json()["total"]
        while not total["requests"]:
            await app.state.usage.flush()
            total = (await client.get("/v1/usage")).json()["total"]
        cost = counted["prompt_tokens"] * 2.6e-6 + counted["completion_tokens"] * 13e-6
        assert total["cost"] == pytest.approx(cost, abs=1e-6)


async def test_a_history_is_cut_to_the_listed_window_and_older_pictures_are_words(
    mock: Database, poe: PoeUpstream
) -> None:
    given = make_settings(poe_api_key=KEY, poe_base_url=poe.base_url)
    async with running_app(mock, given) as app, client_of(app) as client:
        await client.get("/v1/models")

        async def say(content: Any, model: str, id_: str = "") -> Any:
            message = {"role": "user", "content": content}
            body = {"model": model, "messages": [message], "conversation": id_ or None}
            return await client.post("/v1/chat/completions", json=body)

        made = await client.post("/v1/chat/conversations", json={})
        id_ = made.json()["conversation_id"]
        assert (await say([IMAGE], "Claude-Test", id_)).status_code == 200
        refused = await say([IMAGE], "Plain-Test", id_)
        assert refused.status_code == 400
        assert "takes no pictures" in refused.json()["error"]["message"]
        assert len(poe.requests) == 1
        assert (await say("what was it?", "Claude-Test", id_)).status_code == 200
        other = (await client.post("/v1/chat/conversations", json={})).json()["conversation_id"]
        assert (await say([IMAGE], "Claude-Test", other)).status_code == 200
        assert (await say("what was it?", "Plain-Test", other)).status_code == 200
        first = poe.requests[-1].json["query"][0]
        assert first["content"] == "[image: https://x.test/cat.png]"
        long = "word " * 900
        for _ in range(2):
            await say(long, "Plain-Test", other)
        assert len(poe.requests[-1].json["query"]) < 5
