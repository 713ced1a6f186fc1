"""LiteLLM's SDK, and the calls that aider makes with it."""

from collections.abc import Callable

import pytest

from tests.fakes.scripted import whole
from tests.sdk.conftest import HERE, KEY, Run, Server, answer

CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Ulm"}'},
}


@pytest.mark.slow
async def test_every_call(importing: Callable[..., Run], server: Server) -> None:
    upstream = server.upstream
    choice = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [CALL]}}
    with_tools = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    vectors = {
        "object": "list",
        "model": "m",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }
    upstream.play(
        upstream.whole_reply("Hi 漢"),
        upstream.reply("Hel", "lo"),
        whole(200, {**with_tools, "choices": [{**choice, "finish_reason": "tool_calls"}]}),
        whole(200, vectors),
        upstream.status(429),
        upstream.reply("Hel", "lo"),
        upstream.whole_reply("Say hello"),
    )
    script = str(HERE / "litellm_client.py")
    found = await answer(importing("litellm"), script, BASE_URL=server.base_url, KEY=KEY)
    assert found["chat"] == {"text": "Hi 漢", "tokens": 18}
    assert found["stream"] == {"text": "Hello"}
    assert found["tools"] == {"name": "weather", "arguments": {"city": "Ulm"}}
    assert found["embeddings"] == {"vector": [0.5]}
    assert found["refusal"] == {"name": "RateLimitError", "status": 429}
    assert found["wrong_key"]["name"] == "AuthenticationError"
    assert "valid key" in found["wrong_key"]["message"]
    assert found["aider"] == {"text": "Hello", "reason": "stop", "summary": "Say hello"}
    sent = [request.json for request in upstream.requests]
    assert {body["model"] for body in sent} == {"test-model"}
    assert [request.path.removeprefix("/v1/") for request in upstream.requests] == [
        *["chat/completions"] * 3,
        "embeddings",
        *["chat/completions"] * 3,
    ]
    assert sent[5]["messages"][0]["role"] == "system"
