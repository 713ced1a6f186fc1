"""A stateless call in front of an OpenAI-compatible upstream: its bytes pass through."""

import asyncio
import json
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.event_frames import HELD_BYTES, WholeFrames
from tests.dialects.chat_completions.conftest import KEY, Gateway
from tests.fakes.openai_upstream import USAGE, OpenAIUpstream, chunk, frame, usage_chunk
from tests.fakes.scripted import Step, cut, head, script, stall, tell, wait, whole
from tests.support.completions import PATH, call, chunks, said

JSON = {"content-type": "application/json"}


async def test_the_request_leaves_byte_for_byte(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    body = (
        '{ "model":"test-model",\n "messages":[{"role":"user","content":"漢\\u0041 😀",'
        '"name":"ü"}], "n" : 2, "seed": 1.50, "tools": [{"type":"function","function":'
        '{"name":"f","parameters":{"$ref":"#/a"}}}], "a_future_option": {"deep":[1,2.0,null]},'
        ' "metadata": {"a": "b"}, "big": 123456789012345678901234567890 }'
    ).encode()
    upstream.play(upstream.whole_reply("ok"))
    await client.post(PATH, content=body, headers=JSON)
    assert upstream.requests[0].body == body
    assert upstream.requests[0].path == "/v1/chat/completions"
    assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_provider_prefix_and_our_own_keys_do_not_reach_the_upstream(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.whole_reply("ok"))
    sent = call(model="openai/vendor/model", temperature=0.5, user="u")
    await client.post(PATH, json={**sent, "conversation": None, "on_disconnect": "cancel"})
    assert upstream.requests[0].json == {**sent, "model": "vendor/model"}


async def test_the_callers_key_does_not_reach_the_upstream(
    gateway: Gateway, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.whole_reply("ok"))
    async with gateway(
        openai_base_url=upstream.base_url, openai_api_key=KEY, api_keys="sk-mine"
    ) as client:
        response = await client.post(
            PATH, json=call(), headers={"Authorization": "Bearer sk-mine", "X-Secret": "mine"}
        )
    assert response.status_code == 200
    assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert "mine" not in str(upstream.requests[0])


async def test_a_whole_answer_comes_back_byte_for_byte(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    body = (
        b'{"id":"x", "choices":[{"index":0,"message":{"role":"assistant",'
        b'"content":"\\ud83d\\ude00",'
        b'"audio":{"id":"a"},"annotations":[]},"logprobs":{"content":[]},"finish_reason":"stop"},'
        b'{"index":1,"message":{"content":null}}], "service_tier":"default", "new": 1.0 }'
    )
    upstream.play(whole(201, body, openai_version="2020-10-01", x_request_id="up-1"))
    response = await client.post(PATH, json=call())
    assert response.content == body
    assert response.status_code == 201
    assert response.headers["content-type"] == "application/json"
    assert response.headers["openai-version"] == "2020-10-01"
    assert response.headers["x-upstream-request-id"] == "up-1"
    assert response.headers.get_list("x-request-id") != ["up-1"]
    assert len(response.headers.get_list("x-request-id")) == 1


async def test_a_stream_comes_back_byte_for_byte(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    frames = [
        b": OPENROUTER PROCESSING\n\n",
        chunk({"role": "assistant", "content": ""}),
        b'data:{"choices":[{"index":1,"delta":{"content":"second choice"}}]}\r\n\r\n',
        chunk({"content": "a\u2028b 漢"}) + chunk({"tool_calls": [{"index": 0, "id": "c"}]}),
        chunk({"content": 'he said "error" and "error": null'}),
        b'event: ping\ndata: {"error": null, "choices": []}\n\n',
        chunk(finish_reason="stop"),
        usage_chunk(),
        b"data: [DONE]\n\n",
    ]
    upstream.play(upstream.chunks(*frames))
    response = await client.post(PATH, json=call(stream=True))
    assert response.content == b"".join(frames)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"


async def test_each_frame_arrives_when_it_was_sent(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "first", "second"))
    async with client.stream("POST", PATH, json=call(stream=True)) as response:
        arriving = response.aiter_bytes()
        received = await anext(arriving)
        assert b"first" in received
        go_on.set()
        assert b"second" in b"".join([part async for part in arriving])


async def test_a_frame_that_the_network_cut_arrives_whole(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    go_on, reached = asyncio.Event(), asyncio.Event()
    text = upstream.text("漢😀")
    upstream.play(
        script(head(), upstream.text("a") + text[:50], tell(reached), wait(go_on), text[50:])
        + upstream.end()
    )
    async with client.stream("POST", PATH, json=call(stream=True)) as response:
        arriving = response.aiter_bytes()
        assert await anext(arriving) == upstream.text("a")
        await reached.wait()
        go_on.set()
        assert b"".join([part async for part in arriving]) == text + upstream.end()


@given(
    frames=st.lists(st.sampled_from([b"data: a\n\n", b"data: b\r\n\r\n", b": c\n\n", b"x\ny"])),
    cuts=st.lists(st.integers(0, 60)),
)
def test_whole_frames_lose_nothing_wherever_the_network_cuts(
    frames: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(frames)
    places = sorted({min(place, len(stream)) for place in cuts} | {0, len(stream)})
    gate = WholeFrames()
    given_on = [gate.feed(stream[start:end]) for start, end in pairwise(places)]
    assert b"".join(given_on) + gate.rest() == stream
    assert all(part == b"" or part.endswith((b"\n\n", b"\r\n\r\n")) for part in given_on)
    assert not gate.rest().endswith(b"\n\n")


def test_a_frame_without_end_is_not_held_for_ever() -> None:
    gate = WholeFrames()
    piece = b"x" * 100_000
    given_on = [gate.feed(piece) for _ in range(25)]
    assert b"".join(given_on) + gate.rest() == piece * 25
    assert len(gate.rest()) <= HELD_BYTES


async def test_a_very_long_frame_arrives(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.one_large_delta(3 * 1024 * 1024))
    response = await client.post(PATH, json=call(stream=True))
    assert said(chunks(response)) == "x" * 3 * 1024 * 1024


@pytest.mark.slow
async def test_fifty_thousand_chunks_arrive(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.many_deltas())
    response = await client.post(PATH, json=call(stream=True))
    assert said(chunks(response)) == "".join(f"{i} " for i in range(50_000))


# Usage


async def test_usage_is_the_upstreams_where_it_reports_one(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    for script_, stream in ((upstream.whole_reply("Hi"), False), (upstream.reply("Hi"), True)):
        upstream.play(script_)
        await client.post(PATH, json=call(stream=stream))
        counted = client.calls[-1]  # type: ignore[attr-defined]
        assert (counted.usage.prompt_tokens, counted.usage.completion_tokens) == (11, 7)
        assert counted.usage.provenance == "reported"
        assert (counted.provider, counted.model) == ("openai", "test-model")
        assert (counted.status, counted.message_id) == ("complete", None)
        assert counted.duration_ms >= counted.first_token_ms >= 0
    assert USAGE["prompt_tokens"] == 11


async def test_an_answer_within_a_millisecond_has_a_time_to_its_first_token(
    client: httpx.AsyncClient, upstream: OpenAIUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.play(upstream.reply("Hi"))
    monkeypatch.setattr("proxy.dialects.watched.time", SimpleNamespace(monotonic=lambda: 5.0))
    await client.post(PATH, json=call(stream=True))
    assert client.calls[-1].first_token_ms == 0  # type: ignore[attr-defined]


async def test_usage_is_estimated_where_the_upstream_is_silent(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(
        upstream.chunks(upstream.text("x" * 40), chunk(finish_reason="stop"), b"data: [DONE]\n\n")
    )
    await client.post(PATH, json=call("y" * 400, stream=True))
    counted = client.calls[-1].usage  # type: ignore[attr-defined]
    assert (counted.prompt_tokens, counted.completion_tokens) == (100, 10)
    assert counted.provenance == "estimated"


# Refusals


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "ours", "kind"),
    [
        (400, 400, "invalid_request_error"),
        (401, 502, "upstream_authentication_error"),
        (402, 402, "insufficient_quota"),
        (404, 404, "model_not_found"),
        (429, 429, "rate_limit_error"),
        (500, 502, "upstream_error"),
        (504, 504, "upstream_timeout"),
    ],
)
async def test_an_upstreams_refusal_is_a_typed_error(
    client: httpx.AsyncClient,
    upstream: OpenAIUpstream,
    stream: bool,
    status: int,
    ours: int,
    kind: str,
) -> None:
    upstream.play(upstream.status(status, f"no {KEY}", retry_after="7"))
    response = await client.post(PATH, json=call(stream=stream))
    assert response.status_code == ours
    error = response.json()["error"]
    assert error["type"] == kind
    assert response.json()["detail"] == error["message"]
    assert response.headers["retry-after"] == "7"
    assert KEY not in response.text
    assert client.calls[-1].status == "failed"  # type: ignore[attr-defined]


async def test_a_bad_request_says_what_the_upstream_says(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    refusal = {"message": "Unknown tool choice", "param": "tool_choice", "code": "bad_value"}
    upstream.play(whole(400, {"error": refusal}))
    response = await client.post(PATH, json=call())
    error = response.json()["error"]
    assert "Unknown tool choice" in error["message"]
    assert (error["param"], error["code"]) == ("tool_choice", "bad_value")


async def test_a_refusal_may_come_in_parts(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    said, over = b'{"error": {"message": "Unknown tool', b' choice", "code": "bad_value"}}'
    # Long enough apart for the first to be read alone.
    pause: Step = lambda _: asyncio.sleep(0.05)  # noqa: E731
    upstream.play(script(head(400, "application/json"), said, pause, over))
    error = (await client.post(PATH, json=call())).json()["error"]
    assert "Unknown tool choice" in error["message"]
    assert error["code"] == "bad_value"


async def test_a_refusal_of_a_model_that_nobody_lists_keeps_the_upstreams_code(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(whole(404, {"error": {"message": "no", "code": "no_endpoints"}}))
    error = (await client.post(PATH, json={**call(), "model": "nobody's"})).json()["error"]
    assert "There is no model" in error["message"]
    assert (error["type"], error["code"]) == ("model_not_found", "no_endpoints")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_first_byte_is_tried_again(
    gateway: Gateway, upstream: OpenAIUpstream, stream: bool
) -> None:
    good = upstream.reply("ok") if stream else upstream.whole_reply("ok")
    upstream.play(upstream.cut_before_the_first_token(), upstream.status(500), good)
    async with gateway(openai_base_url=upstream.base_url, retry_budget_seconds=10) as client:
        response = await client.post(PATH, json=call(stream=stream))
    assert response.status_code == 200
    assert "ok" in response.text
    assert len(upstream.requests) == 3


async def test_the_next_route_answers_where_the_first_does_not(
    gateway: Gateway, upstream: OpenAIUpstream
) -> None:
    async with OpenAIUpstream() as other:
        upstream.play(upstream.status(500))
        other.play(other.reply("from the other"))
        async with gateway(
            providers={
                "a": {"base_url": upstream.base_url},
                "b": {"base_url": other.base_url},
            },
            models={"smart": {"route": ["a/x", "b/y"]}},
        ) as client:
            response = await client.post(PATH, json=call(model="smart", stream=True))
            counted = client.calls[-1]  # type: ignore[attr-defined]
    assert said(chunks(response)) == "from the other"
    assert upstream.requests[0].json["model"] == "x"
    assert other.requests[0].json["model"] == "y"
    assert (counted.provider, counted.model, counted.status) == ("b", "y", "complete")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_no_answer_is_an_error(
    client: httpx.AsyncClient, upstream: OpenAIUpstream, stream: bool
) -> None:
    for bad in (
        upstream.not_a_stream(),
        whole(200, b""),
        whole(200, b"[]"),
        whole(200, {"error": {"message": "in /srv/secret/a.py", "type": "server_error"}}),
        script(head()),
    ):
        upstream.play(bad)
        response = await client.post(PATH, json=call(stream=stream))
        assert response.status_code == 502
        assert "secret" not in response.text


# Breakages of a stream


async def test_a_broken_stream_ends_with_an_error_frame(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    whole_frame = upstream.text("whole")
    upstream.play(script(head(), whole_frame + upstream.text("half")[:40], cut()))
    response = await client.post(PATH, json=call(stream=True))
    assert response.content.startswith(whole_frame + b'data: {"error"')
    *_, last = chunks(response)
    assert last["error"]["type"] == "upstream_unreachable"
    assert client.calls[-1].status == "failed"  # type: ignore[attr-defined]


async def test_an_upstreams_error_frame_is_replaced_by_ours(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(
        script(head(), upstream.text("a"), upstream.text("b") + upstream.failure() + b"data: x\n\n")
    )
    response = await client.post(PATH, json=call(stream=True))
    found = chunks(response)
    assert said(found) == "ab"
    assert found[-1]["error"]["type"] == "upstream_error"
    assert "secret-detail" not in response.text
    assert len(found) == 3


async def test_an_error_in_the_first_frame_is_a_plain_http_error(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    limited = frame({"error": {"message": "slow", "type": "rate_limit_error", "code": 429}})
    upstream.play(upstream.chunks(chunk({"role": "assistant"}) + limited))
    response = await client.post(PATH, json=call(stream=True))
    assert response.status_code == 429


async def test_a_stream_that_just_ends_says_so(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.ends_without_finish("some", "thing"))
    response = await client.post(PATH, json=call(stream=True))
    found = chunks(response)
    assert said(found) == "something"
    assert found[-1]["error"]["type"] == "truncated"
    assert client.calls[-1].status == "truncated"  # type: ignore[attr-defined]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_lost_client_ends_the_upstreams_work(
    client: httpx.AsyncClient, upstream: OpenAIUpstream, stream: bool
) -> None:
    reached = asyncio.Event()
    upstream.play(
        upstream.stall_after("a", reached=reached) if stream else upstream.stall_before_the_head()
    )
    asked = asyncio.create_task(client.post(PATH, json=call(stream=stream)))
    await upstream.wait_for_requests(1)
    if stream:
        await reached.wait()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await upstream.wait_for_abort()


async def test_a_reply_that_stays_silent_is_a_time_out(
    gateway: Gateway, upstream: OpenAIUpstream
) -> None:
    upstream.play(script(head(), upstream.text("a"), stall()))
    async with gateway(openai_base_url=upstream.base_url, read_timeout_seconds=0.3) as client:
        response = await client.post(PATH, json=call(stream=True))
    assert chunks(response)[-1]["error"]["type"] == "upstream_timeout"


async def test_the_upstreams_connection_is_used_again(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.reply("ok"))
    for stream in (True, False, True):
        upstream.play(upstream.reply("ok") if stream else upstream.whole_reply("ok"))
        await client.post(PATH, json=call(stream=stream))
    assert len(upstream.requests) == 3
    # One is the look at the list of models at the start.
    assert upstream.connections <= 2


# Requests that are wrong


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "object"),
        (b"[" * 100_000, "JSON"),
        (b'{"model": 5, "messages": [{"role": "user"}]}', "model"),
        (b'{"model": {"$gt": ""}, "messages": [{"role": "user"}]}', "model"),
        (b'{"model": "m"}', "messages"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": "hi"}', "messages"),
        (b'{"model": "m", "messages": ["hi"]}', "messages[0]"),
        (b'{"model": "m", "messages": [{"content": "hi"}]}', "messages[0]"),
        (b'{"model": "m", "messages": [{"role": "user"}], "stream": "yes"}', "stream"),
        (b'{"model": "m", "messages": [{"role": "user"}], "conversation": 7}', "conversation"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "\\ud83d"}]}', "surrogate"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "\xff"}]}', "JSON"),
    ],
)
async def test_a_wrong_body_is_one_sentence_and_asks_nobody(
    client: httpx.AsyncClient, upstream: OpenAIUpstream, body: bytes, named: str
) -> None:
    response = await client.post(PATH, content=body, headers=JSON)
    assert response.status_code == 400
    error: dict[str, Any] = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert named in error["message"]
    assert named.isupper() or named in ("object", "surrogate") or error["param"] == named
    assert upstream.requests == []


async def test_a_body_that_is_not_called_json_is_refused(client: httpx.AsyncClient) -> None:
    body = json.dumps(call()).encode()
    response = await client.post(PATH, content=body, headers={"content-type": "text/plain"})
    assert response.status_code == 415


async def test_another_method_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get(PATH)).status_code == 405


async def test_a_missing_key_is_a_401_in_openais_shape(
    gateway: Gateway, upstream: OpenAIUpstream
) -> None:
    async with gateway(openai_base_url=upstream.base_url, api_keys="sk-mine") as client:
        for headers in ({}, {"Authorization": "Bearer sk-other"}):
            response = await client.post(PATH, json=call(), headers=headers)
            assert response.status_code == 401
            assert response.json()["error"]["type"] == "authentication_error"
    assert upstream.requests == []


async def test_a_body_over_the_limit_is_refused(gateway: Gateway, upstream: OpenAIUpstream) -> None:
    async with gateway(openai_base_url=upstream.base_url, body_bytes=1024) as client:
        response = await client.post(PATH, json=call("x" * 2000))
    assert response.status_code == 413
