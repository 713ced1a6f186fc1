"""Responses and Conversations through the official `openai` package for Python."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.fakes.openai_upstream import chunk, usage_chunk
from tests.sdk.conftest import KEY, Server
from tests.support.sdk import sdk_at

pytestmark = pytest.mark.slow


class City(BaseModel):
    name: str


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncOpenAI]:
    async with sdk_at(server.base_url, KEY) as client:
        yield client


async def test_a_stream_is_followed_resumed_and_retrieved(
    client: AsyncOpenAI, server: Server
) -> None:
    server.upstream.play(server.upstream.reply("Hel", "lo 漢"))
    async with client.responses.stream(model="test-model", input="x") as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert final.output_text == "Hello 漢"
    middle = events[len(events) // 2].sequence_number
    async with client.responses.stream(response_id=final.id, starting_after=middle) as stream:
        rest = [event.sequence_number async for event in stream]
        assert (await stream.get_final_response()).output_text == "Hello 漢"
    assert rest
    assert min(rest) > middle
    resumed = await client.responses.retrieve(final.id, stream=True, starting_after=middle)
    assert [event.sequence_number async for event in resumed] == rest
    assert (await client.responses.retrieve(final.id)).output_text == "Hello 漢"
    await client.responses.delete(final.id)
    with pytest.raises(openai.NotFoundError, match=final.id):
        await client.responses.retrieve(final.id)


async def test_two_parallel_calls_and_their_results(client: AsyncOpenAI, server: Server) -> None:
    function = {"name": "weather", "arguments": '{"city": "Ulm"}'}
    fragments = [
        {"index": n, "id": f"c{n}", "type": "function", "function": function} for n in (0, 1)
    ]
    server.upstream.play(
        server.upstream.chunks(
            chunk({"tool_calls": fragments}),
            chunk(finish_reason="tool_calls"),
            usage_chunk(),
            b"data: [DONE]\n\n",
        ),
        server.upstream.reply("Sunny"),
    )
    tools: Any = [
        {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
    ]
    async with client.responses.stream(model="test-model", input="x", tools=tools) as stream:
        final = await stream.get_final_response()
    calls = [item for item in final.output if item.type == "function_call"]
    assert [call.call_id for call in calls] == ["c0", "c1"]
    results: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "sun"} for call in calls
    ]
    answer = await client.responses.create(
        model="test-model", input=results, previous_response_id=final.id, tools=tools
    )
    assert answer.output_text == "Sunny"


async def test_a_schema_is_parsed(client: AsyncOpenAI, server: Server) -> None:
    server.upstream.play(server.upstream.reply('{"name": "Ulm"}'))
    parsed = await client.responses.parse(model="test-model", input="x", text_format=City)
    assert parsed.output_parsed == City(name="Ulm")
    sent = server.upstream.requests[0].json["response_format"]
    assert sent["json_schema"]["name"] == "City"


async def test_items_of_a_conversation_are_paged(client: AsyncOpenAI, server: Server) -> None:
    given: Any = [{"type": "message", "role": "user", "content": str(n)} for n in range(7)]
    made = await client.conversations.create(items=given, metadata={"a": "b"})
    found = [item.id async for item in client.conversations.items.list(made.id, limit=3)]
    assert len(set(found)) == 7
    assert found[0] is not None
    await client.conversations.items.delete(found[0], conversation_id=made.id)
    assert len([item async for item in client.conversations.items.list(made.id)]) == 6
    server.upstream.play(server.upstream.reply("ok"))
    answer = await client.responses.create(model="test-model", input="x", conversation=made.id)
    assert answer.conversation is not None
    assert answer.conversation.id == made.id
