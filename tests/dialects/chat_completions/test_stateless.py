"""A stateless call to a provider that does not speak OpenAI's protocol: Poe, the echo."""

import asyncio

import httpx
import pytest

from tests.dialects.chat_completions.conftest import Gateway
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.poe_upstream import PoeUpstream, event
from tests.support.completions import PATH, call, chunks, said

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def tool_call_events() -> list[bytes]:
    """A call of `weather`, its arguments in two pieces."""
    parts = (
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}},
        {"function": {"arguments": '{"city": '}},
        {"function": {"arguments": '"Ulm"}'}},
    )
    return [
        event("json", {"choices": [{"delta": {"tool_calls": [{"index": 0, **part}]}}]})
        for part in parts
    ] + [
        event("json", {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}),
        event("done", {}),
    ]


@pytest.fixture
def poe_settings(poe: PoeUpstream) -> dict[str, str]:
    return {"poe_base_url": poe.base_url, "poe_api_key": "p-key-0123456789"}


async def test_a_stream_has_the_shape_of_openais_chunks(
    gateway: Gateway, poe: PoeUpstream, poe_settings: dict[str, str]
) -> None:
    poe.play(poe.reply("Hel", "lo"))
    async with gateway(**poe_settings) as client:
        response = await client.post(
            PATH, json=call(model="GPT-X", stream=True, stream_options={"include_usage": True})
        )
        counted = client.calls  # type: ignore[attr-defined]
    first, *middle, last, usage = chunks(response)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert said([first, *middle]) == "Hello"
    assert last["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 2
    assert usage["usage"]["total_tokens"] == usage["usage"]["prompt_tokens"] + 2
    assert {each["id"] for each in chunks(response)} == {first["id"]}
    assert first["object"] == "chat.completion.chunk"
    assert first["model"] == "GPT-X"
    assert [each.provider for each in counted] == ["poe"]
    assert counted[0].conversation_id == ""


async def test_usage_comes_only_where_it_is_asked_for(
    gateway: Gateway, poe: PoeUpstream, poe_settings: dict[str, str]
) -> None:
    poe.play(poe.reply("Hello"))
    async with gateway(**poe_settings) as client:
        response = await client.post(PATH, json=call(stream=True))
    assert all("usage" not in each for each in chunks(response))


async def test_a_whole_answer_has_the_shape_of_openais(
    gateway: Gateway, poe: PoeUpstream, poe_settings: dict[str, str]
) -> None:
    poe.play(poe.reply("Hel", "lo"))
    async with gateway(**poe_settings) as client:
        answer = (await client.post(PATH, json=call(model="GPT-X"))).json()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "Hello"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == 2
    assert "conversation_id" not in answer


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_calls_come_through(
    gateway: Gateway, poe: PoeUpstream, poe_settings: dict[str, str], stream: bool
) -> None:
    poe.play(poe.events(*tool_call_events()))
    async with gateway(**poe_settings) as client:
        response = await client.post(PATH, json=call(stream=stream, tools=[WEATHER]))
    if stream:
        deltas = [each["choices"][0]["delta"] for each in chunks(response)]
        fragments = [part for delta in deltas for part in delta.get("tool_calls", ())]
        assert fragments[0]["id"] == "call_1"
        arguments = "".join(part["function"]["arguments"] for part in fragments)
        reason = chunks(response)[-1]["choices"][0]["finish_reason"]
    else:
        choice = response.json()["choices"][0]
        reason = choice["finish_reason"]
        assert choice["message"]["content"] is None
        [made] = choice["message"]["tool_calls"]
        assert (made["id"], made["type"], made["function"]["name"]) == (
            "call_1",
            "function",
            "weather",
        )
        arguments = made["function"]["arguments"]
    assert arguments == '{"city": "Ulm"}'
    assert reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_parameter_that_poe_cannot_carry_is_named(
    gateway: Gateway, poe: PoeUpstream, poe_settings: dict[str, str], stream: bool
) -> None:
    async with gateway(**poe_settings) as client:
        response = await client.post(PATH, json=call(stream=stream, n=2))
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"], error["code"]) == ("n", "unsupported_parameter")
    assert poe.requests == []


async def test_a_replaced_text_is_never_lost(
    gateway: Gateway, poe: PoeUpstream, poe_settings: dict[str, str]
) -> None:
    poe.play(
        poe.events(
            event("text", {"text": "Thinking..."}),
            event("replace_response", {"text": "The answer"}),
            event("text", {"text": " is 42"}),
            event("done", {}),
        )
    )
    async with gateway(**poe_settings) as client:
        whole = (await client.post(PATH, json=call())).json()
        streamed = chunks(await client.post(PATH, json=call(stream=True)))
    assert whole["choices"][0]["message"]["content"] == "The answer is 42"
    assert said(streamed) in ("Thinking...\n\nThe answer is 42", "The answer is 42")
    assert streamed[-1]["choices"][0]["finish_reason"] == "stop"


async def test_a_failure_before_the_answer_is_an_http_error(
    gateway: Gateway, poe: PoeUpstream, poe_settings: dict[str, str]
) -> None:
    poe.play(poe.error_after())
    async with gateway(**poe_settings) as client:
        for stream in (False, True):
            response = await client.post(PATH, json=call(stream=stream))
            assert response.status_code == 502
            assert "secret-detail" not in response.text


async def test_a_failure_in_the_middle_ends_the_stream_with_an_error(
    gateway: Gateway, poe: PoeUpstream, poe_settings: dict[str, str]
) -> None:
    poe.play(poe.cut_after("some"))
    async with gateway(**poe_settings) as client:
        found = chunks(await client.post(PATH, json=call(stream=True)))
        whole = await client.post(PATH, json=call())
    assert said(found) == "some"
    assert found[-1]["error"]["type"] == "upstream_unreachable"
    assert whole.status_code == 502


async def test_a_failure_before_the_answer_is_tried_again(
    gateway: Gateway, poe: PoeUpstream, poe_settings: dict[str, str]
) -> None:
    poe.play(poe.status(500), poe.reply("ok"))
    async with gateway(**poe_settings, retry_budget_seconds=10) as client:
        found = chunks(await client.post(PATH, json=call(stream=True)))
    assert said(found) == "ok"


async def test_an_openai_route_answers_where_poe_does_not(
    gateway: Gateway, poe: PoeUpstream, upstream: OpenAIUpstream, poe_settings: dict[str, str]
) -> None:
    poe.play(poe.status(500))
    upstream.play(upstream.whole_reply("ok"))
    async with gateway(
        **poe_settings,
        openai_base_url=upstream.base_url,
        models={"smart": {"route": ["poe/A", "openai/b"]}},
    ) as client:
        response = await client.post(PATH, json=call(model="smart"))
        counted = client.calls  # type: ignore[attr-defined]
    assert response.json()["choices"][0]["message"]["content"] == "ok"
    # One call of the client counts once, however many routes were asked.
    assert [(each.provider, each.status) for each in counted] == [("openai", "complete")]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_lost_client_ends_the_bots_work(
    gateway: Gateway, poe: PoeUpstream, poe_settings: dict[str, str], stream: bool
) -> None:
    reached = asyncio.Event()
    poe.play(poe.stall_after("a", reached=reached))
    async with gateway(**poe_settings) as client:
        asked = asyncio.create_task(client.post(PATH, json=call(stream=stream)))
        await reached.wait()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await poe.wait_for_abort()


async def test_the_echo_answers_without_any_key(gateway: Gateway) -> None:
    async with gateway() as client:
        found = chunks(await client.post(PATH, json=call("Grüße", model="echo", stream=True)))
        other = await client.post(PATH, json=call("Hallo", model="gpt-9"))
    assert said(found).endswith("Grüße")
    assert other.json()["choices"][0]["message"]["content"].endswith("Hallo")
    assert (other.json()["model"], other.headers["x-model"]) == ("echo", "echo/echo")


async def test_nothing_of_a_stateless_call_is_stored(gateway: Gateway) -> None:
    async with gateway() as client:
        await client.post(PATH, json=call(model="echo"))
        listed: httpx.Response = await client.get("/v1/chat/conversations")
    assert listed.json() == []
