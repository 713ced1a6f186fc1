"""A stream while its model says nothing: an event tells that it lives, in every way to answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.conftest import LiveServer
from tests.fakes.openai_upstream import chunk
from tests.fakes.responses_upstream import ResponsesUpstream, event, item_frames, message, response
from tests.fakes.scripted import Script, head, script, wait
from tests.support.response_events import events_of, text_in

MODELS = {"of-chat": {"responses": "chat"}, "of-native": {"responses": "native"}}


@pytest.fixture
async def upstream() -> AsyncIterator[ResponsesUpstream]:
    async with ResponsesUpstream(models=list(MODELS)) as upstream:
        yield upstream


@pytest.fixture
async def client(live: LiveServer, upstream: ResponsesUpstream) -> AsyncIterator[httpx.AsyncClient]:
    async with live(
        openai_base_url=upstream.base_url,
        openai_api_key="k",
        models=MODELS,
        heartbeat_seconds=0.02,
        stream_open_seconds=0.05,
    ) as client:
        yield client


async def followed(client: httpx.AsyncClient, lives: asyncio.Event, **body: Any) -> list[Any]:
    """The events of a stream; `lives` is set once one of them is a sign of life."""
    seen = b""
    asked = {"input": "x", "stream": True, **body}
    async with client.stream("POST", "/v1/responses", json=asked) as answer:
        assert answer.status_code == 200
        async for data in answer.aiter_bytes():
            seen += data
            if b"event: keepalive" in seen:
                lives.set()
    return events_of(seen)


def in_two(upstream: ResponsesUpstream, model: str, lives: asyncio.Event) -> Script:
    """Half a text, then the rest once the client knows that the stream lives."""
    if model == "of-chat":
        begun = script(head(), chunk({"content": "Hel"}), wait(lives))
        return begun + script(chunk({"content": "lo"}), upstream.end())
    item = message("Hello")
    frames = list(item_frames(0, item))
    rest = [*frames[4:], event("response.completed", response=response([item]))]
    return upstream.events(*frames[:4]) + wait(lives) + script(*rest)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("store", [True, False])
async def test_a_pause_is_told_and_nothing_is_lost(
    client: httpx.AsyncClient, upstream: ResponsesUpstream, model: str, store: bool
) -> None:
    lives = asyncio.Event()
    upstream.play(in_two(upstream, model, lives))
    events = await followed(client, lives, model=model, store=store)
    assert text_in(events) == "Hello"
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"
    if model == "of-chat" or store:
        numbers = [each["sequence_number"] for each in events]
        assert numbers == sorted(numbers)
        told = [each for each in events if each["type"] != "keepalive"]
        assert len({each["sequence_number"] for each in told}) == len(told)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("store", [True, False])
async def test_a_model_that_thinks_unseen_has_begun(
    client: httpx.AsyncClient, upstream: ResponsesUpstream, model: str, store: bool
) -> None:
    lives = asyncio.Event()
    if model == "of-chat":
        upstream.play(script(head(), wait(lives)) + script(upstream.text("ok"), upstream.end()))
    else:
        item = message("ok")
        rest = [*item_frames(0, item), event("response.completed", response=response([item]))]
        upstream.play(upstream.events() + wait(lives) + script(*rest))
    events = await followed(client, lives, model=model, store=store)
    kinds = [each["type"] for each in events]
    assert kinds[0] == "response.created"
    assert "keepalive" in kinds[: kinds.index("response.output_item.added")]
    assert text_in(events) == "ok"


async def test_a_failure_behind_the_beginning_is_told_in_the_stream(
    client: httpx.AsyncClient, upstream: ResponsesUpstream
) -> None:
    lives = asyncio.Event()
    upstream.play(upstream.events() + wait(lives))
    events = await followed(client, lives, model="of-native", store=False)
    assert [each["type"] for each in events if each["type"] != "keepalive"] == [
        "response.created",
        "response.in_progress",
        "error",
        "response.failed",
    ]
    assert events[-1]["response"]["id"] == events[0]["response"]["id"]
