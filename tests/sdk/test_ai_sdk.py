"""Vercel's AI SDK with `@ai-sdk/openai-compatible`."""

from tests.fakes.openai_upstream import chunk, usage_chunk
from tests.fakes.scripted import whole
from tests.sdk.conftest import HERE, KEY, Run, Server, answer

CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Ulm"}'},
}


async def test_every_call(node: str, run: Run, server: Server) -> None:
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
        upstream.chunks(
            chunk({"reasoning_content": "Hmm"}),
            chunk({"content": "Hel"}),
            chunk({"content": "lo"}),
            chunk(finish_reason="stop"),
            usage_chunk(),
            b"data: [DONE]\n\n",
        ),
        whole(200, {**with_tools, "choices": [{**choice, "finish_reason": "tool_calls"}]}),
        whole(200, vectors),
        upstream.status(429),
    )
    script = str(HERE / "ai_sdk_client.mjs")
    found = await answer(run, node, script, BASE_URL=server.base_url, KEY=KEY)
    assert found["chat"] == {"text": "Hi 漢", "tokens": 18, "reason": "stop"}
    assert found["stream"] == {"text": "Hello", "reasoning": "Hmm", "tokens": 18}
    assert found["tools"] == [{"toolName": "weather", "input": {"city": "Ulm"}}]
    assert found["embedding"] == [0.5]
    assert found["refusal"]["name"] == "AI_APICallError"
    assert found["refusal"]["statusCode"] == 429
    assert found["refusal"]["message"]
    assert found["wrongKey"] == {"name": "AI_APICallError", "statusCode": 401}
    assert upstream.requests[0].json["messages"][0] == {"role": "system", "content": "Be kind"}
    assert upstream.requests[1].json["stream_options"] == {"include_usage": True}
