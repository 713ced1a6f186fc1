"""A call with a conversation: its history goes along, the turn is kept."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from proxy.database import Database
from tests.dialects.chat_completions.conftest import KEY, Gateway, gateway_of
from tests.fakes.openai_upstream import OpenAIUpstream, chunk, usage_chunk
from tests.support.completions import PATH, call, chunks, said

TOOL_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Ulm"}'},
}
TOOL_RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "21 °C"}
PART = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
PICTURE = {"role": "user", "content": [{"type": "text", "text": "What is this?"}, PART]}


@pytest.fixture
async def client(database: Database, upstream: OpenAIUpstream) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway on both databases in turn."""
    async with gateway_of(
        database, openai_base_url=upstream.base_url, openai_api_key=KEY
    ) as client:
        yield client


async def conversation(client: httpx.AsyncClient, **fields: Any) -> str:
    created = await client.post("/v1/chat/conversations", json=fields)
    found: str = created.json()["conversation_id"]
    return found


async def messages(client: httpx.AsyncClient, id_: str) -> list[dict[str, Any]]:
    listed = await client.get(f"/v1/chat/conversations/{id_}/messages")
    found: list[dict[str, Any]] = listed.json()["messages"]
    return found


async def test_the_history_goes_along_and_the_turn_is_stored(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.reply("I am ", "fine"))
    id_ = await conversation(client, system_prompt="Be brief")
    first = (await client.post(PATH, json=call("How are you?", conversation=id_))).json()
    second = (await client.post(PATH, json=call("And now?", conversation=id_))).json()
    assert first["object"] == "chat.completion"
    assert first["choices"][0]["message"]["content"] == "I am fine"
    assert first["choices"][0]["finish_reason"] == "stop"
    assert first["usage"]["total_tokens"] == 18
    assert first["conversation_id"] == id_
    assert first["assistant_message_id"] == first["user_message_id"] + 1
    assert upstream.requests[1].json["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "How are you?"},
        {"role": "assistant", "content": "I am fine"},
        {"role": "user", "content": "And now?"},
    ]
    stored = await messages(client, id_)
    assert [m["content"] for m in stored[1:]] == [
        "How are you?",
        "I am fine",
        "And now?",
        "I am fine",
    ]
    assert stored[-1]["id"] == second["assistant_message_id"]


@pytest.mark.parametrize("where", ["body", "object", "conv", "header", "metadata"])
async def test_the_conversation_can_be_named_in_several_places(
    client: httpx.AsyncClient, upstream: OpenAIUpstream, where: str
) -> None:
    upstream.play(upstream.reply("ok"))
    id_ = await conversation(client)
    body, headers = call(), {}
    if where == "body":
        body["conversation"] = id_
    elif where == "object":
        body["conversation"] = {"id": id_}
    elif where == "conv":
        # As `/v1/conversations` writes it.
        body["conversation"] = f"conv_{id_}"
    elif where == "header":
        headers["X-Conversation-Id"] = id_
    else:
        body["metadata"] = {"conversation": id_, "mine": "kept"}
    answer = (await client.post(PATH, json=body, headers=headers)).json()
    assert answer["conversation_id"] == id_
    sent = upstream.requests[0].json
    assert "conversation" not in sent
    assert sent.get("metadata") == ({"mine": "kept"} if where == "metadata" else None)


async def test_a_stream_carries_the_ids_in_its_first_chunk(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.reply("a", "b"))
    id_ = await conversation(client)
    response = await client.post(
        PATH,
        json=call(conversation=id_, stream=True, stream_options={"include_usage": True}),
    )
    first, *_, last, usage = found = chunks(response)
    stored = await messages(client, id_)
    assert first["conversation_id"] == id_
    assert [first["user_message_id"], first["assistant_message_id"]] == [m["id"] for m in stored]
    assert first["session_id"] == str(first["assistant_message_id"])
    assert said(found) == "ab"
    assert last["choices"][0]["finish_reason"] == "stop"
    assert usage["usage"]["prompt_tokens"] == 11
    assert {each["object"] for each in found} == {"chat.completion.chunk"}


async def test_parameters_reach_the_model(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.reply("ok"))
    id_ = await conversation(client)
    await client.post(
        PATH,
        json=call(conversation=id_, temperature=0.1, a_future_option={"x": 1}, on_disconnect=None),
    )
    sent = upstream.requests[0].json
    assert sent["temperature"] == 0.1
    assert sent["a_future_option"] == {"x": 1}
    assert "on_disconnect" not in sent


async def test_the_conversations_model_answers_where_the_call_names_none(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.reply("ok"))
    id_ = await conversation(client, model="its-model")
    body = call(conversation=id_)
    del body["model"]
    answer = (await client.post(PATH, json=body)).json()
    assert upstream.requests[0].json["model"] == "its-model"
    assert answer["model"] == "its-model"


async def test_a_leading_system_message_is_for_this_call_only(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.reply("ok"))
    id_ = await conversation(client, system_prompt="Always")
    body = call("Hi", conversation=id_)
    body["messages"] = [
        {"role": "system", "content": "Today"},
        {"role": "developer", "content": [{"type": "text", "text": "Only now"}]},
        *body["messages"],
    ]
    await client.post(PATH, json=body)
    assert upstream.requests[0].json["messages"] == [
        {"role": "system", "content": "Always\n\nToday\n\nOnly now"},
        {"role": "user", "content": "Hi"},
    ]
    assert [m["content"] for m in await messages(client, id_)] == ["Always", "Hi", "ok"]


async def test_several_new_messages_are_stored_in_order(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.reply("ok"))
    id_ = await conversation(client)
    new = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        PICTURE,
    ]
    answer = (
        await client.post(PATH, json={"model": "m", "messages": new, "conversation": id_})
    ).json()
    stored = await messages(client, id_)
    assert [m["role"] for m in stored] == ["user", "assistant", "user", "assistant"]
    assert [m["content"] for m in stored] == ["one", "two", "What is this?", "ok"]
    assert answer["user_message_id"] == stored[2]["id"]
    assert stored[3]["reply_to"] == stored[2]["id"]
    assert [m["id"] for m in stored] == sorted(m["id"] for m in stored)
    await client.post(PATH, json=call("next", conversation=id_))
    assert upstream.requests[1].json["messages"][:3] == new


@pytest.mark.parametrize("sends_calls_again", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_is_called_and_its_result_answered(
    client: httpx.AsyncClient, upstream: OpenAIUpstream, sends_calls_again: bool, stream: bool
) -> None:
    function = TOOL_CALL["function"]
    assert isinstance(function, dict)
    upstream.play(
        upstream.chunks(
            chunk({"tool_calls": [{"index": 0, **TOOL_CALL, "function": {"name": "weather"}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Ulm"}'}}]}),
            chunk(finish_reason="tool_calls"),
            usage_chunk(),
            b"data: [DONE]\n\n",
        ),
        upstream.reply("It is warm"),
    )
    id_ = await conversation(client)
    tools = [{"type": "function", "function": {"name": "weather"}}]
    response = await client.post(
        PATH, json=call("Weather?", conversation=id_, tools=tools, stream=stream)
    )
    if stream:
        deltas = [each["choices"][0]["delta"] for each in chunks(response) if each["choices"]]
        fragments = [part for delta in deltas for part in delta.get("tool_calls", ())]
        assert fragments[0]["id"] == "call_1"
        assert "".join(p["function"].get("arguments", "") for p in fragments) == '{"city": "Ulm"}'
        made = {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}
    else:
        choice = response.json()["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        made = choice["message"]
        assert made["tool_calls"] == [TOOL_CALL]
    again = [made] if sends_calls_again else []
    answer = await client.post(
        PATH,
        json={"model": "m", "conversation": id_, "messages": [*again, TOOL_RESULT]},
    )
    assert answer.json()["choices"][0]["message"]["content"] == "It is warm"
    assert upstream.requests[1].json["messages"] == [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
        TOOL_RESULT,
    ]
    stored = await messages(client, id_)
    assert [m["role"] for m in stored] == ["user", "assistant", "tool", "assistant"]


async def test_an_unknown_conversation_is_a_404_and_asks_nobody(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    response = await client.post(PATH, json=call(conversation="not-there"))
    assert response.status_code == 404
    assert response.json()["detail"] == "Conversation not found"
    assert upstream.requests == []


async def test_the_same_idempotency_key_happens_once(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.reply("one"), upstream.reply("two"))
    id_ = await conversation(client)
    key = {"Idempotency-Key": "k1"}
    body = call(conversation=id_)
    first = (await client.post(PATH, json=body, headers=key)).json()
    again = (await client.post(PATH, json=body, headers=key)).json()
    streamed = await client.post(PATH, json={**body, "stream": True}, headers=key)
    other = await client.post(PATH, json=call("else", conversation=id_), headers=key)
    assert again["choices"] == first["choices"]
    assert again["assistant_message_id"] == first["assistant_message_id"]
    assert streamed.status_code == 422
    assert other.status_code == 422
    assert len(upstream.requests) == 1
    assert len(await messages(client, id_)) == 2


async def test_a_finished_stream_is_given_again_with_its_tool_calls(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(
        upstream.chunks(
            chunk({"content": "Let me look"}),
            chunk({"tool_calls": [{"index": 0, **TOOL_CALL}]}),
            chunk(finish_reason="tool_calls"),
            usage_chunk(),
            b"data: [DONE]\n\n",
        )
    )
    id_ = await conversation(client)
    body = call(conversation=id_, stream=True, stream_options={"include_usage": True})
    key = {"Idempotency-Key": "k1"}
    await client.post(PATH, json=body, headers=key)
    found = chunks(await client.post(PATH, json=body, headers=key))
    assert said(found) == "Let me look"
    calls = [
        part
        for each in found
        for choice in each["choices"]
        for part in choice["delta"].get("tool_calls", ())
    ]
    assert calls == [{"index": 0, **TOOL_CALL}]
    assert found[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert found[-1]["usage"]["total_tokens"] == 18
    assert len(upstream.requests) == 1


async def all_ended(client: httpx.AsyncClient) -> None:
    for running in list(client.app.state.engine.running.values()):  # type: ignore[attr-defined]
        await running.ended.wait()


async def test_a_lost_client_keeps_its_reply(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "first ", "second"))
    id_ = await conversation(client)
    async with client.stream("POST", PATH, json=call(conversation=id_, stream=True)) as response:
        async for part in response.aiter_text():
            if "first" in part:
                break
    go_on.set()
    await all_ended(client)
    reply = (await messages(client, id_))[-1]
    assert (reply["status"], reply["content"]) == ("complete", "first second")


async def test_a_lost_client_can_ask_for_the_end(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.stall_after("first"))
    id_ = await conversation(client)
    async with client.stream(
        "POST", PATH, json=call(conversation=id_, stream=True, on_disconnect="cancel")
    ) as response:
        async for part in response.aiter_text():
            if "first" in part:
                break
    await upstream.wait_for_abort()
    await all_ended(client)
    reply = (await messages(client, id_))[-1]
    assert (reply["status"], reply["content"]) == ("stopped", "first")


async def test_a_conversation_deleted_mid_stream_ends_the_call_with_an_error(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    reached = asyncio.Event()
    upstream.play(upstream.stall_after("first", reached=reached))
    id_ = await conversation(client)
    turn = asyncio.create_task(client.post(PATH, json=call(conversation=id_, stream=True)))
    await reached.wait()
    await client.delete(f"/v1/chat/conversations/{id_}")
    found = chunks(await turn)
    assert found[-1]["error"]["type"] == "deleted"
    await upstream.wait_for_abort()
    assert (await client.get(f"/v1/chat/conversations/{id_}")).status_code == 404


@pytest.mark.parametrize("stream", [False, True])
async def test_a_lost_client_ends_a_reply_of_which_nothing_was_sent_yet(
    client: httpx.AsyncClient, upstream: OpenAIUpstream, stream: bool
) -> None:
    upstream.play(upstream.stall_before_the_head())
    id_ = await conversation(client)
    body = call(conversation=id_, stream=stream, on_disconnect="cancel")
    lost = asyncio.create_task(client.post(PATH, json=body))
    await upstream.wait_for_requests(1)
    lost.cancel()
    await asyncio.gather(lost, return_exceptions=True)
    await upstream.wait_for_abort()
    await all_ended(client)
    question, reply = await messages(client, id_)
    assert question["content"] == "Hello"
    assert (reply["status"], reply["content"]) == ("stopped", "")


async def test_a_streamed_copy_of_a_refused_turn_is_the_same_http_error(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.status(402))
    id_ = await conversation(client)
    body, key = call(conversation=id_, stream=True), {"Idempotency-Key": "k1"}
    answers = [await client.post(PATH, json=body, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [402, 402]
    assert answers[0].json()["error"]["type"] == answers[1].json()["error"]["type"]
    assert answers[0].json()["assistant_message_id"] == answers[1].json()["assistant_message_id"]
    assert len(upstream.requests) == 1


async def test_a_failed_turn_tells_its_ids_and_asks_for_no_retry(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    id_ = await conversation(client)
    for stream in (False, True):
        upstream.play(upstream.status(429, retry_after="3"))
        response = await client.post(PATH, json=call(conversation=id_, stream=stream))
        assert response.status_code == 429
        assert response.headers["retry-after"] == "3"
        assert response.headers["x-should-retry"] == "false"
        stored = await messages(client, id_)
        assert response.json()["assistant_message_id"] == stored[-1]["id"]
        assert stored[-1]["status"] == "failed"


async def test_a_truncated_reply_is_an_error_and_stays_readable(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.ends_without_finish("some"))
    id_ = await conversation(client)
    response = await client.post(PATH, json=call(conversation=id_))
    found = chunks(await client.post(PATH, json=call(conversation=id_, stream=True)))
    assert response.status_code == 502
    assert response.json()["error"]["type"] == "truncated"
    assert response.json()["assistant_message_id"] == (await messages(client, id_))[1]["id"]
    assert found[-1]["error"]["type"] == "truncated"
    assert (await messages(client, id_))[1]["content"] == "some"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"on_disconnect": "explode"}, "on_disconnect"),
        ({"messages": [{"role": "system", "content": "only"}]}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages[0].content"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "", "name": "Li"}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]},
            "messages[0].content",
        ),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content"),
        ({"model": "a\x00b"}, "model"),
        ({"model": "m" * 501}, "model"),
        ({"model": 0}, "model"),
        ({"model": []}, "model"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "a\x00b"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "name": "a\x00b", "content": "x"}]}, "messages[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": None}, PART]}]},
            "messages[0].content[0].text",
        ),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "assistant", "content": "x", "tool_calls": ["x"]}]},
            "messages[0].tool_calls[0]",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    ],
)
async def test_what_a_conversation_cannot_hold_is_named(
    gateway: Gateway, upstream: OpenAIUpstream, change: dict[str, Any], named: str
) -> None:
    async with gateway(openai_base_url=upstream.base_url) as client:
        id_ = await conversation(client)
        response = await client.post(PATH, json=call(conversation=id_) | change)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == named
        assert await messages(client, id_) == []
    assert upstream.requests == []


async def test_a_message_nested_without_end_is_refused(
    gateway: Gateway, upstream: OpenAIUpstream
) -> None:
    deep: Any = "x"
    for _ in range(90):
        deep = [deep]
    async with gateway(openai_base_url=upstream.base_url) as client:
        id_ = await conversation(client)
        new = [{"role": "user", "content": [{"type": "text", "text": "hi", "deep": deep}]}]
        response = await client.post(
            PATH,
            content=json.dumps({"conversation": id_, "messages": new}).encode(),
            headers={"content-type": "application/json"},
        )
    assert response.status_code == 400


async def test_messages_that_are_too_large_together_are_refused(
    gateway: Gateway, upstream: OpenAIUpstream
) -> None:
    async with gateway(openai_base_url=upstream.base_url, message_bytes=2048) as client:
        id_ = await conversation(client)
        new = [{"role": "user", "content": "x" * 900}] * 3
        response = await client.post(PATH, json={"conversation": id_, "messages": new})
        assert response.status_code == 413
        assert await messages(client, id_) == []
