"""The official `openai` package for Node.js."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.fakes.openai_upstream import chunk, usage_chunk
from tests.fakes.scripted import whole
from tests.sdk.conftest import HERE, KEY, Asked, Server, asked

pytestmark = pytest.mark.slow

Play = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="session")
def client(node: str) -> Iterator[Asked]:
    """One process for all scenarios: its start takes longer than they do."""
    with asked(node, str(HERE / "openai_client.mjs"), PATH=os.environ["PATH"]) as client:
        yield client


@pytest.fixture
def play(client: Asked, server: Server) -> Play:
    """`await play("chat", **options)`: what the scenario came to."""

    async def start(scenario: str, **options: Any) -> Any:
        request = {"scenario": scenario, "url": server.base_url, "key": KEY, **options}
        return await asyncio.to_thread(client, request)

    return start


async def test_chat(play: Play, server: Server) -> None:
    server.upstream.play(server.upstream.whole_reply("Hi 漢"))
    found = await play("chat")
    assert found["text"] == "Hi 漢"
    assert found["id"].startswith("req_")
    assert found["usage"]["total_tokens"] == 18
    assert server.upstream.requests[0].json["messages"][0]["content"] == "Hello 漢"


async def test_stream(play: Play, server: Server) -> None:
    server.upstream.play(server.upstream.reply("Hel", "lo\u2028", "漢😀"))
    assert await play("stream") == {"text": "Hello\u2028漢😀"}


async def test_tools(play: Play, server: Server) -> None:
    function = {"name": "weather", "arguments": ""}
    server.upstream.play(
        server.upstream.chunks(
            chunk({"role": "assistant", "content": None}),
            chunk(
                {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]}
            ),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]}),
            chunk(finish_reason="tool_calls"),
            usage_chunk(),
            b"data: [DONE]\n\n",
        )
    )
    found = await play("tools")
    assert found["reason"] == "tool_calls"
    assert found["calls"][0]["function"]["arguments"] == '{"a": 1}'


async def test_a_conversation(play: Play, server: Server) -> None:
    server.upstream.play(server.upstream.reply("ok"))
    found = await play("conversation")
    assert found["same"] is True
    assert isinstance(found["id"], int)


async def test_models(play: Play) -> None:
    found = await play("models")
    assert set(found["found"]) == {"test-model", "vendor/other"}
    assert found["one"] == "vendor/other"


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "BadRequestError"),
        (404, "NotFoundError"),
        (429, "RateLimitError"),
        (500, "InternalServerError"),
    ],
)
async def test_an_upstreams_refusal_has_its_class(
    play: Play, server: Server, status: int, name: str
) -> None:
    refusal = {"message": "Bad tools", "param": "tools", "code": "some_code"}
    server.upstream.play(whole(status, {"error": refusal}))
    found = await play("error")
    assert found["name"] == name
    assert found["status"] in (status, 502)
    assert found["requestID"].startswith("req_")
    assert found["code"] == "some_code"
    if status == 400:
        assert found["param"] == "tools"
        assert "Bad tools" in found["message"]


async def test_a_wrong_key_is_an_authentication_error(play: Play) -> None:
    found = await play("error", key="wrong")
    assert (found["name"], found["status"]) == ("AuthenticationError", 401)


async def test_an_error_inside_a_stream_is_raised(play: Play, server: Server) -> None:
    server.upstream.play(server.upstream.cut_after("some"))
    found = await play("stream")
    assert found["name"] == "APIError"
    assert "broke" in found["message"]


async def test_a_limit_is_tried_again(play: Play, server: Server) -> None:
    server.upstream.play(
        server.upstream.status(429, retry_after="1"), server.upstream.whole_reply("ok")
    )
    found = await play("chat", retries=1)
    assert found["text"] == "ok"
    assert len(server.upstream.requests) == 2


async def test_the_clients_time_out_ends_the_upstreams_work(play: Play, server: Server) -> None:
    server.upstream.play(server.upstream.stall_before_the_head())
    found = await play("error", timeout_ms=300)
    assert found["name"] == "APIConnectionTimeoutError"
    await asyncio.wait_for(server.upstream.wait_for_abort(), 20)
