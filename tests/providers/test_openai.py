"""What OpenAI's protocol alone has: fields of a chunk, whole bodies, raw bytes, model lists."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy import errors
from proxy.providers.base import CompletionRequest
from proxy.providers.openai import OpenAIProvider
from tests.fakes.openai_upstream import USAGE, OpenAIUpstream, chunk, frame, usage_chunk
from tests.fakes.scripted import whole
from tests.support.providers import KEY, REPORTED, deltas, joined, request, settings

DONE = b"data: [DONE]\n\n"


@pytest.fixture
async def upstream() -> AsyncIterator[OpenAIUpstream]:
    async with OpenAIUpstream() as server:
        yield server


@pytest.fixture
async def provider(upstream: OpenAIUpstream) -> AsyncIterator[OpenAIProvider]:
    provider = OpenAIProvider(settings(), base_url=upstream.base_url, api_key=KEY)
    yield provider
    await provider.close()


async def test_the_request_always_streams_and_asks_for_usage(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.play(upstream.reply("ok"))
    await deltas(
        provider,
        request(
            "Grüße 你好",
            temperature=0.5,
            stream=False,
            stream_options={"include_obfuscation": False},
            a_future_option={"deep": [1, 2]},
        ),
    )
    assert upstream.requests[0].path == "/v1/chat/completions"
    assert upstream.requests[0].json == {
        "model": "test-model",
        "messages": [{"role": "user", "content": "Grüße 你好"}],
        "stream": True,
        "stream_options": {"include_obfuscation": False, "include_usage": True},
        "temperature": 0.5,
        "a_future_option": {"deep": [1, 2]},
    }


async def test_usage_is_not_asked_for_where_the_upstream_cannot(upstream: OpenAIUpstream) -> None:
    provider = OpenAIProvider(settings(), base_url=upstream.base_url, stream_usage=False)
    upstream.play(upstream.reply("ok"))
    await deltas(provider)
    assert "stream_options" not in upstream.requests[0].json
    assert "authorization" not in upstream.requests[0].headers
    await provider.close()


async def test_usage_comes_with_the_last_chunk_that_has_no_choices(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.play(upstream.reply("ok"))
    received = await deltas(provider)
    assert [delta.usage for delta in received if delta.usage] == [REPORTED]


async def test_usage_inside_the_last_choice_is_read(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}
    upstream.play(upstream.chunks(frame({"choices": [choice]}) + DONE))
    assert (await deltas(provider))[-1].usage == REPORTED


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
async def test_reasoning_is_not_text(
    upstream: OpenAIUpstream, provider: OpenAIProvider, key: str
) -> None:
    upstream.play(
        upstream.chunks(
            chunk({"role": "assistant", "content": "", key: "think "}),
            chunk({"content": None, key: "harder"}),
            chunk({"content": "answer"}) + upstream.end(),
        )
    )
    received = await deltas(provider)
    assert "".join(delta.reasoning for delta in received) == "think harder"
    assert joined(received) == "answer"


async def test_content_in_parts_is_joined(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "reference"}, {"type": "text", "text": "b"}]
    upstream.play(upstream.chunks(chunk({"content": parts}) + upstream.end()))
    assert joined(await deltas(provider)) == "ab"


async def test_a_refusal_is_the_text(upstream: OpenAIUpstream, provider: OpenAIProvider) -> None:
    upstream.play(upstream.chunks(chunk({"refusal": "I cannot"}) + upstream.end()))
    assert joined(await deltas(provider)) == "I cannot"


async def test_tool_call_fragments_come_as_they_arrive(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f"}}
    second = {"index": 0, "function": {"arguments": '{"a": 1}'}}
    upstream.play(
        upstream.chunks(
            chunk({"tool_calls": [first]}),
            chunk({"tool_calls": [second]}) + chunk(finish_reason="tool_calls") + DONE,
        )
    )
    received = await deltas(provider)
    assert [call for delta in received for call in delta.tool_calls] == [
        first | {"function": {"name": "f", "arguments": ""}},
        second,
    ]
    assert received[-1].finish_reason == "tool_calls"


async def test_only_the_first_choice_is_read(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    other = frame({"choices": [{"index": 1, "delta": {"content": "other"}}]})
    upstream.play(upstream.chunks(other + chunk({"content": "mine"}) + other + upstream.end()))
    assert joined(await deltas(provider)) == "mine"


async def test_frames_of_one_read_are_one_delta(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    frames = b"".join(chunk({"content": f"{i} "}) for i in range(5))
    upstream.play(upstream.chunks(frames + upstream.end()))
    received = await deltas(provider)
    assert len(received) == 2
    assert received[1].text == "0 1 2 3 4 "
    assert received[1].finish_reason == "stop"
    assert received[1].usage == REPORTED


async def test_comments_and_unknown_frames_are_skipped(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.play(
        upstream.chunks(
            b": OPENROUTER PROCESSING\n\n",
            b'event: ping\ndata: {"type": "ping"}\n\n',
            frame({"choices": [], "prompt_filter_results": []}),
            chunk({"content": "x"}) + upstream.end(),
        )
    )
    assert joined(await deltas(provider)) == "x"


async def test_nothing_after_done_is_read(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.play(upstream.chunks(upstream.text("x") + upstream.end() + upstream.text("y")))
    assert joined(await deltas(provider)) == "x"


@pytest.mark.parametrize(
    "payload",
    [b"7", b'"text"', b"[]", b'{"choices": [1]}', b'{"choices": "x"}', b"{"],
)
async def test_a_stream_of_nothing_but_odd_frames_is_a_protocol_error(
    upstream: OpenAIUpstream, provider: OpenAIProvider, payload: bytes
) -> None:
    upstream.play(upstream.chunks(b"data: " + payload + b"\n\n"))
    with pytest.raises(errors.UpstreamProtocolError):
        await deltas(provider)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "m", "code": 429}, errors.UpstreamRateLimited),
        ({"message": "m", "code": "rate_limit_exceeded"}, errors.UpstreamRateLimited),
        ({"message": "m", "type": "insufficient_quota"}, errors.UpstreamOutOfCredit),
        ({"message": "m", "type": "invalid_request_error"}, errors.UpstreamBadRequest),
        ({"message": "m", "code": "context_length_exceeded"}, errors.UpstreamTooLarge),
        ({"message": "m", "code": 502}, errors.UpstreamError),
        ({"message": "m", "type": "server_error"}, errors.UpstreamError),
        ("overloaded", errors.UpstreamError),
    ],
)
async def test_an_error_inside_the_stream_is_typed(
    upstream: OpenAIUpstream,
    provider: OpenAIProvider,
    error: Any,
    kind: type[errors.UpstreamError],
) -> None:
    upstream.play(upstream.chunks(frame({"error": error})))
    with pytest.raises(errors.UpstreamError) as caught:
        await deltas(provider)
    assert type(caught.value) is kind


async def test_a_server_that_ignores_stream_is_read_as_one_delta(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.play(upstream.whole_reply("all at once"))
    received = await deltas(provider)
    assert len(received) == 2
    assert received[1].text == "all at once"
    assert received[1].finish_reason == "stop"
    assert received[1].usage == REPORTED


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"message": "no", "code": 429}}, errors.UpstreamRateLimited),
        ({"hello": "world"}, errors.UpstreamProtocolError),
        (["a"], errors.UpstreamProtocolError),
        (b"{", errors.UpstreamProtocolError),
    ],
)
async def test_a_json_answer_that_is_no_completion(
    upstream: OpenAIUpstream,
    provider: OpenAIProvider,
    body: Any,
    kind: type[errors.UpstreamError],
) -> None:
    upstream.play(whole(200, body))
    with pytest.raises(kind):
        await deltas(provider)


async def test_the_explanation_of_a_refused_request_is_passed_on_without_keys(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    body = {
        "error": {
            "message": f"Bad\n temperature; key {KEY}, sk-proj-abcdefgh12 and Bearer xyz " * 20,
            "type": "invalid_request_error",
            "param": "temperature",
            "code": "invalid_value",
        }
    }
    upstream.play(whole(400, body))
    with pytest.raises(errors.UpstreamBadRequest) as caught:
        await deltas(provider)
    error = caught.value
    assert error.detail.startswith("Provider 'openai' refused the request: Bad temperature; key …")
    assert (error.param, error.code) == ("temperature", "invalid_value")
    assert len(error.detail) < 400
    assert not any(secret in error.detail for secret in (KEY, "abcdefgh12", "xyz", "\n"))


@pytest.mark.parametrize(
    "body",
    [
        {"error": "model is too busy"},
        {"message": "busy", "type": "BadRequestError"},
        {"error": {"message": ["a"], "code": ["b"], "param": 3.5, "type": None}},
        {"detail": "no"},
        b"",
        b"not json",
        b"\xff\xfe",
    ],
)
async def test_any_shape_of_error_body_is_survived(
    upstream: OpenAIUpstream, provider: OpenAIProvider, body: Any
) -> None:
    upstream.play(whole(400, body))
    with pytest.raises(errors.UpstreamBadRequest):
        await deltas(provider)


async def test_a_window_error_without_a_code_is_recognised(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.play(upstream.status(400, "This model's maximum context length is 8192 tokens."))
    with pytest.raises(errors.UpstreamTooLarge):
        await deltas(provider)


async def test_an_unknown_model_is_named_and_a_wrong_base_url_is_hinted_at(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.play(upstream.coded(404, "model_not_found"), upstream.html_error(404))
    with pytest.raises(errors.ModelNotFound, match="model 'test-model'; GET /v1/models"):
        await deltas(provider)
    with pytest.raises(errors.ModelNotFound, match="or its base URL is wrong"):
        await deltas(provider)


async def test_a_value_that_json_cannot_carry_is_refused(provider: OpenAIProvider) -> None:
    with pytest.raises(errors.UpstreamBadRequest):
        await deltas(provider, CompletionRequest("m", [{"role": "user", "content": "\ud800"}]))


# Model lists


async def test_models_are_listed_with_all_their_fields(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.models_script = whole(
        200, {"data": [{"id": "a", "context_window": 8}, {"id": 3}, "b", {"id": "c", "created": 5}]}
    )
    assert await provider.list_models() == [
        {"id": "a", "object": "model", "created": 0, "owned_by": "openai", "context_window": 8},
        {"id": "c", "object": "model", "created": 5, "owned_by": "openai"},
    ]


@pytest.mark.parametrize("body", [{"data": "x"}, [], b"<html>", {}])
async def test_a_list_that_is_none_is_a_protocol_error(
    upstream: OpenAIUpstream, provider: OpenAIProvider, body: Any
) -> None:
    upstream.models_script = whole(200, body)
    with pytest.raises(errors.UpstreamProtocolError):
        await provider.list_models()


def test_the_fake_speaks_valid_frames() -> None:
    assert json.loads(usage_chunk()[6:])["choices"] == []
