"""LangChain's `ChatOpenAI`."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.scripted import whole
from tests.sdk.conftest import HERE, KEY, Run, Server, answer

pytestmark = pytest.mark.slow

Play = Callable[..., Awaitable[Any]]


@pytest.fixture
def play(tools: Path, run: Run, server: Server) -> Play:
    """`await play("chat", **environment)`: what the scenario came to."""

    async def start(scenario: str, **environment: str) -> Any:
        basis = {"BASE_URL": server.base_url, "KEY": KEY}
        script = str(HERE / "langchain_client.py")
        return await answer(run, str(tools / "python"), script, scenario, **basis | environment)

    return start


async def test_chat(play: Play, server: Server) -> None:
    server.upstream.play(server.upstream.whole_reply("Hi 漢"))
    found = await play("chat")
    assert found["text"] == "Hi 漢"
    assert found["usage"]["total_tokens"] == 18


async def test_stream(play: Play, server: Server) -> None:
    server.upstream.play(server.upstream.reply("Hel", "lo"))
    found = await play("stream")
    assert found["text"] == "Hello"
    assert found["pieces"] >= 2


async def test_tools(play: Play, server: Server) -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Ulm"}'},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    server.upstream.play(whole(200, body))
    found = await play("tools")
    assert found["calls"][0]["args"] == {"city": "Ulm"}
    sent = server.upstream.requests[0].json["tools"][0]["function"]
    assert sent["name"] == "weather"


async def test_errors(play: Play, server: Server) -> None:
    server.upstream.play(server.upstream.status(429))
    assert "RateLimitError" in (await play("chat"))["names"]
    assert "AuthenticationError" in (await play("chat", KEY="wrong"))["names"]
    server.upstream.play(server.upstream.stall_before_the_head())
    assert "APITimeoutError" in (await play("chat", TIMEOUT="0.3"))["names"]
