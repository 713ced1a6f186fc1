"""A response that nobody keeps, from an upstream that speaks Responses: passed on as it comes."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from proxy.database import Database
from tests.conftest import client_of, make_settings, running_app
from tests.fakes.live import serve
from tests.fakes.responses_upstream import (
    ResponsesUpstream,
    call,
    event,
    item_frames,
    message,
    reasoning,
    response,
)
from tests.fakes.scripted import cut, script, tell
from tests.support.clients import client_at
from tests.support.response_events import events_of, text_in

ITEMS = [
    reasoning("sealed"),
    {"id": "ws_up", "type": "web_search_call", "status": "completed"},
    message("Ulm 漢"),
    call("c1", "weather", "{}"),
]


@pytest.fixture
async def upstream() -> AsyncIterator[ResponsesUpstream]:
    async with ResponsesUpstream() as upstream:
        yield upstream


@pytest.fixture
async def client(mock: Database, upstream: ResponsesUpstream) -> AsyncIterator[httpx.AsyncClient]:
    settings = make_settings(
        openai_base_url=upstream.base_url,
        openai_api_key="k",
        models={"test-model": {"responses": "native"}},
    )
    async with running_app(mock, settings) as app, client_of(app) as client:
        client.app = app  # type: ignore[attr-defined]
        yield client


def asked(**body: Any) -> dict[str, Any]:
    return {"model": "test-model", "input": "x", "store": False, **body}


async def test_the_bytes_are_the_upstreams_own(
    client: httpx.AsyncClient, upstream: ResponsesUpstream
) -> None:
    upstream.play(upstream.respond(*ITEMS))
    body = json.dumps(asked(stream=True, tools=[{"type": "web_search"}], some_new_field={"a": 1}))
    headers = {"content-type": "application/json"}
    answer = await client.post("/v1/responses", content=body, headers=headers)
    assert upstream.requests[0].body == body.encode()
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "x-proxy-ignored" not in answer.headers
    frames = [frame for n, item in enumerate(ITEMS) for frame in item_frames(n, item)]
    assert b"".join(frames) in answer.content
    assert answer.content.endswith(b"data: [DONE]\n\n")
    events = events_of(answer.content)
    assert events[0]["type"] == "response.created"
    assert events[-1]["response"]["output"] == ITEMS
    metrics = (await client.get("/metrics")).text
    assert 'model="test-model"' in metrics


async def test_a_whole_body_is_passed_on(
    client: httpx.AsyncClient, upstream: ResponsesUpstream
) -> None:
    upstream.play(upstream.body(*ITEMS))
    answer = await client.post("/v1/responses", json=asked())
    assert answer.json() == response(ITEMS)


async def test_an_upstream_may_answer_in_the_other_form(
    client: httpx.AsyncClient, upstream: ResponsesUpstream
) -> None:
    upstream.play(upstream.respond(*ITEMS), upstream.body(*ITEMS))
    assert (await client.post("/v1/responses", json=asked())).json() == response(ITEMS)
    answer = await client.post("/v1/responses", json=asked(stream=True))
    events = events_of(answer.content)
    done = [e["item"] for e in events if e["type"] == "response.output_item.done"]
    assert done == ITEMS
    assert events[-1]["response"] == response(ITEMS)


async def test_what_fails_before_the_first_word_is_an_http_error(
    client: httpx.AsyncClient, upstream: ResponsesUpstream
) -> None:
    error = {"message": "Slow down", "code": "rate_limit_exceeded"}
    upstream.play(
        upstream.coded(429, "rate_limit_exceeded"),
        upstream.events(event("error", **error)),
        upstream.events(event("response.failed", response=response([], "failed", error=error))),
    )
    statuses = []
    for _ in range(3):
        answer = await client.post("/v1/responses", json=asked(stream=True))
        statuses.append(answer.status_code)
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
    assert statuses[0] == 429
    assert all(status >= 400 for status in statuses)


async def test_a_stream_that_breaks_ends_as_failed(
    client: httpx.AsyncClient, upstream: ResponsesUpstream
) -> None:
    begun = list(item_frames(0, message("half")))[:-1]
    upstream.play(upstream.events(*begun) + script(cut()), upstream.events(*begun))
    for _ in range(2):
        answer = await client.post("/v1/responses", json=asked(stream=True))
        events = events_of(answer.content)
        assert text_in(events) == "half"
        assert [e["type"] for e in events[-2:]] == ["error", "response.failed"]
        assert events[-1]["response"]["id"] == "resp_up"
        assert "error" not in events[-2]
        assert answer.content.endswith(b"data: [DONE]\n\n")


async def test_an_error_event_that_is_the_last_is_the_end(
    client: httpx.AsyncClient, upstream: ResponsesUpstream
) -> None:
    begun = list(item_frames(0, message("half")))[:-1]
    upstream.play(upstream.events(*begun, event("error", message="No", code="x")))
    events = events_of((await client.post("/v1/responses", json=asked(stream=True))).content)
    assert [e["type"] for e in events if e["type"] == "error"] == ["error"]


async def test_a_text_that_names_the_last_event_is_no_end(
    client: httpx.AsyncClient, upstream: ResponsesUpstream
) -> None:
    upstream.play(
        upstream.events(
            event("response.output_text.delta", output_index=0, delta="response.completed"),
            event("response.output_text.delta", output_index=0, delta='"error"'),
        )
    )
    events = events_of((await client.post("/v1/responses", json=asked(stream=True))).content)
    assert events[-1]["type"] == "response.failed"


async def test_what_this_server_sealed_goes_another_way(
    client: httpx.AsyncClient, upstream: ResponsesUpstream
) -> None:
    upstream.play(upstream.respond(*ITEMS))
    include = ["reasoning.encrypted_content"]
    kept = (
        await client.post("/v1/responses", json={**asked(include=include), "store": True})
    ).json()
    given = [item for item in kept["output"] if item["type"] != "web_search_call"]
    reference = {"type": "item_reference", "id": given[1]["id"]}
    result = {"type": "function_call_output", "call_id": "c1", "output": "sun"}
    question = {"role": "user", "content": "Weather?"}
    for history in ([*given, result], [given[0], reference, given[2], result]):
        answer = await client.post("/v1/responses", json=asked(input=[question, *history]))
        assert answer.status_code == 200, answer.text
        sent = upstream.requests[-1].json
        assert sent["store"] is False
        kinds = [item["type"] for item in sent["input"]]
        own = ["reasoning", "message", "function_call"]
        assert kinds == ["message", *own, "function_call_output"]
        assert sent["input"][1]["encrypted_content"] == "sealed"


async def test_a_client_that_leaves_ends_the_upstreams_work(
    client: httpx.AsyncClient, upstream: ResponsesUpstream
) -> None:
    reached = asyncio.Event()
    begun = list(item_frames(0, message("half")))[:-1]
    hang = script(tell(reached), lambda wire: asyncio.Event().wait())
    upstream.play(upstream.events(*begun) + hang)
    async with (
        serve(client.app) as url,  # type: ignore[attr-defined]
        client_at(url) as real,
        real.stream("POST", "/v1/responses", json=asked(stream=True)) as answer,
    ):
        await anext(answer.aiter_bytes())
        await reached.wait()
        await answer.aclose()
        await asyncio.wait_for(upstream.wait_for_abort(), 20)
