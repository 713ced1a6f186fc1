"""The official `openai` package for Python."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.fakes.openai_upstream import USAGE, chunk, usage_chunk
from tests.fakes.scripted import whole
from tests.sdk.conftest import KEY, Server
from tests.support.sdk import sdk_at

pytestmark = pytest.mark.slow

HELLO: Any = [{"role": "user", "content": "Hello"}]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncOpenAI]:
    async with sdk_at(server.base_url, KEY) as client:
        yield client


async def test_chat(client: AsyncOpenAI, server: Server) -> None:
    server.upstream.play(server.upstream.whole_reply("Hi 漢"))
    answer = await client.chat.completions.create(model="test-model", messages=HELLO, seed=7)
    assert answer.choices[0].message.content == "Hi 漢"
    assert answer.usage is not None
    assert answer.usage.total_tokens == USAGE["total_tokens"]
    assert answer._request_id
    assert answer._request_id.startswith("req_")
    assert server.upstream.requests[0].json["seed"] == 7


async def test_stream(client: AsyncOpenAI, server: Server) -> None:
    server.upstream.play(server.upstream.reply("Hel", "lo"))
    stream = await client.chat.completions.create(
        model="test-model",
        messages=HELLO,
        stream=True,
        stream_options={"include_usage": True},
    )
    found = [each async for each in stream]
    assert "".join(c.choices[0].delta.content or "" for c in found if c.choices) == "Hello"
    assert found[-1].usage is not None
    assert found[-1].usage.completion_tokens == USAGE["completion_tokens"]


async def test_the_streaming_helper_puts_tool_calls_together(
    client: AsyncOpenAI, server: Server
) -> None:
    function = {"name": "weather", "arguments": ""}
    fragments = [
        {"index": 0, "id": "call_1", "type": "function", "function": function},
        {"index": 0, "function": {"arguments": '{"city": '}},
        {"index": 0, "function": {"arguments": '"Ulm"}'}},
    ]
    server.upstream.play(
        server.upstream.chunks(
            *(chunk({"tool_calls": [fragment]}) for fragment in fragments),
            chunk(finish_reason="tool_calls"),
            usage_chunk(),
            b"data: [DONE]\n\n",
        )
    )
    async with client.chat.completions.stream(
        model="test-model", messages=HELLO, tools=[WEATHER]
    ) as stream:
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert (calls[0].id, calls[0].function.arguments) == ("call_1", '{"city": "Ulm"}')
    assert final.choices[0].finish_reason == "tool_calls"


async def test_a_conversation_through_extra_body(client: AsyncOpenAI, server: Server) -> None:
    server.upstream.play(server.upstream.reply("I am fine"))
    created: Any = await client.post("/chat/conversations", cast_to=object, body={})
    extra = {"conversation": created["conversation_id"]}
    for text in ("one", "two"):
        answer = await client.chat.completions.create(
            model="test-model", messages=[{"role": "user", "content": text}], extra_body=extra
        )
    assert [m["content"] for m in server.upstream.requests[-1].json["messages"]] == [
        "one",
        "I am fine",
        "two",
    ]
    assert answer.choices[0].message.content == "I am fine"
    assert answer.model_extra is not None
    assert answer.model_extra["conversation_id"] == created["conversation_id"]
    stream = await client.chat.completions.create(
        model="test-model", messages=HELLO, extra_body=extra, stream=True
    )
    found = [each async for each in stream]
    assert "".join(c.choices[0].delta.content or "" for c in found) == "I am fine"
    assert found[0].model_extra is not None
    assert isinstance(found[0].model_extra["assistant_message_id"], int)


async def test_models(client: AsyncOpenAI) -> None:
    listed = [model.id async for model in client.models.list()]
    assert set(listed) == {"test-model", "vendor/other"}
    assert (await client.models.retrieve("test-model")).id == "test-model"
    assert (await client.models.retrieve("vendor/other")).id == "vendor/other"
    assert (await client.models.retrieve("openai/vendor/other")).id == "openai/vendor/other"
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("none")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, openai.BadRequestError, None),
        (404, openai.NotFoundError, "model_not_found"),
        (413, openai.APIStatusError, "context_length_exceeded"),
        (429, openai.RateLimitError, "rate_limit_exceeded"),
        (402, openai.APIStatusError, "insufficient_quota"),
        (500, openai.InternalServerError, None),
        (401, openai.InternalServerError, None),
    ],
)
async def test_an_upstreams_refusal_has_its_class(
    client: AsyncOpenAI,
    server: Server,
    stream: bool,
    status: int,
    error: type[openai.APIStatusError],
    code: str | None,
) -> None:
    server.upstream.play(server.upstream.status(status, "because of this"))
    with pytest.raises(error) as caught:
        await client.chat.completions.create(model="test-model", messages=HELLO, stream=stream)
    assert caught.value.request_id
    assert caught.value.type
    assert caught.value.code == code
    assert isinstance(caught.value.body, dict)
    assert caught.value.message


async def test_a_bad_request_names_the_parameter(client: AsyncOpenAI, server: Server) -> None:
    refusal = {"message": "Bad tools", "param": "tools", "code": "invalid_tools"}
    server.upstream.play(whole(400, {"error": refusal}))
    with pytest.raises(openai.BadRequestError, match="Bad tools") as caught:
        await client.chat.completions.create(model="test-model", messages=HELLO)
    assert (caught.value.param, caught.value.code) == ("tools", "invalid_tools")


async def test_a_wrong_key_is_an_authentication_error(server: Server) -> None:
    async with sdk_at(server.base_url, "wrong") as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.chat.completions.create(model="test-model", messages=HELLO)
    assert caught.value.status_code == 401
    assert caught.value.code == "invalid_api_key"


async def test_an_error_inside_a_stream_is_raised(client: AsyncOpenAI, server: Server) -> None:
    server.upstream.play(server.upstream.cut_after("some"))
    stream = await client.chat.completions.create(model="test-model", messages=HELLO, stream=True)
    assert (await anext(stream)).choices[0].delta.content == "some"
    with pytest.raises(openai.APIError, match="broke"):
        await anext(stream)


async def test_retry_after_is_waited_for(server: Server) -> None:
    server.upstream.play(
        server.upstream.status(429, retry_after="1"), server.upstream.whole_reply("ok")
    )
    began = time.monotonic()
    async with sdk_at(server.base_url, KEY, max_retries=1) as client:
        answer = await client.chat.completions.create(model="test-model", messages=HELLO)
    assert answer.choices[0].message.content == "ok"
    # Its own first wait is at most half a second.
    assert time.monotonic() - began >= 1


async def test_a_failed_turn_is_not_sent_a_second_time(server: Server) -> None:
    server.upstream.play(server.upstream.status(500), server.upstream.reply("ok"))
    async with sdk_at(server.base_url, KEY, max_retries=2) as client:
        created: Any = await client.post("/chat/conversations", cast_to=object, body={})
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(
                model="test-model",
                messages=HELLO,
                extra_body={"conversation": created["conversation_id"]},
            )
    assert len(server.upstream.requests) == 1


async def test_the_clients_time_out_ends_the_upstreams_work(server: Server) -> None:
    server.upstream.play(server.upstream.stall_before_the_head())
    async with sdk_at(server.base_url, KEY, timeout=0.3) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(model="test-model", messages=HELLO)
    await asyncio.wait_for(server.upstream.wait_for_abort(), 20)


async def test_an_upstreams_time_out_is_a_504(client: AsyncOpenAI, server: Server) -> None:
    server.upstream.play(server.upstream.stall_before_the_head())
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="test-model", messages=HELLO)
    assert caught.value.status_code == 504
