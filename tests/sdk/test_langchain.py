"""LangChain's `ChatOpenAI`."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.scripted import whole
from tests.sdk.conftest import HERE, KEY, Run, Server, answer

pytestmark = pytest.mark.slow


async def test_every_call_and_every_error(importing: Callable[..., Run], server: Server) -> None:
    """In one process, whose import of LangChain takes seconds."""
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Ulm"}'},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    upstream = server.upstream
    upstream.play(
        upstream.whole_reply("Hi 漢"),
        upstream.reply("Hel", "lo"),
        whole(200, body),
        upstream.status(429),
        upstream.stall_before_the_head(),
    )
    scenarios: list[dict[str, Any]] = [
        {"scenario": "chat"},
        {"scenario": "stream"},
        {"scenario": "tools"},
        {"scenario": "chat"},
        {"scenario": "chat", "key": "wrong"},
        {"scenario": "chat", "timeout": 0.3},
    ]
    chat, stream, called, limited, wrong_key, timed_out = await answer(
        importing("langchain_openai"),
        *(str(HERE / "langchain_client.py"), json.dumps(scenarios)),
        BASE_URL=server.base_url,
        KEY=KEY,
    )
    assert chat["text"] == "Hi 漢"
    assert chat["usage"]["total_tokens"] == 18
    assert stream["text"] == "Hello"
    assert stream["pieces"] >= 2
    assert called["calls"][0]["args"] == {"city": "Ulm"}
    assert upstream.requests[2].json["tools"][0]["function"]["name"] == "weather"
    assert "RateLimitError" in limited["names"]
    assert "AuthenticationError" in wrong_key["names"]
    assert "APITimeoutError" in timed_out["names"]
