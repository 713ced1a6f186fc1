"""Poe's protocol: fastapi_poe's own server as the upstream, scripted events for the rest."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from fastapi_poe.types import (
    Attachment,
    DataResponse,
    ErrorResponse,
    MetaResponse,
    PartialResponse,
)
from sse_starlette import ServerSentEvent

from proxy import errors
from proxy.providers.base import CompletionRequest, Delta
from proxy.providers.poe import PoeProvider
from proxy.providers.tool_calls import joined_calls
from tests.fakes.poe_upstream import ACCESS_KEY, Bot, PoeUpstream, poe_server
from tests.support.providers import KEY, deltas, joined, request, settings

PNG = Attachment(url="https://files.test/a b.png", content_type="image/png", name="cat.png")
PDF = Attachment(url="https://files.test/a.pdf", content_type="application/pdf", name="a [1].pdf")


async def ask(
    events: Sequence[Any], asked: CompletionRequest | None = None
) -> tuple[list[Delta], Bot]:
    """What a real bot's events become."""
    bot = Bot(events)
    async with poe_server(bot) as base_url:
        provider = PoeProvider(settings(), base_url=base_url, api_key=ACCESS_KEY)
        try:
            return await deltas(provider, asked or request(model="TestBot")), bot
        finally:
            await provider.close()


@pytest.fixture
async def upstream() -> AsyncIterator[PoeUpstream]:
    async with PoeUpstream() as server:
        yield server


@pytest.fixture
async def provider(upstream: PoeUpstream) -> AsyncIterator[PoeProvider]:
    provider = PoeProvider(settings(), base_url=upstream.base_url, api_key=KEY)
    yield provider
    await provider.close()


# fastapi_poe's own server


async def test_a_real_bot_answers() -> None:
    received, bot = await ask(
        [
            MetaResponse(text="", suggested_replies=True),
            PartialResponse(text="Hel"),
            PartialResponse(text="lo 你好\u2028"),
            PartialResponse(text="Ask more?", is_suggested_reply=True),
            DataResponse(metadata="kept by Poe"),
            ServerSentEvent(data="{}", event="ping"),
            ServerSentEvent(data="{}", event="from_the_future"),
        ]
    )
    assert received[0] == Delta()
    assert joined(received) == "Hello 你好\u2028"
    assert received[-1].finish_reason == "stop"
    assert not any(delta.replace for delta in received)
    [query] = bot.queries
    assert [(message.role, message.content) for message in query.query] == [("user", "Hi")]


async def test_the_query_carries_what_the_protocol_has() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is it?"},
                {"type": "image_url", "image_url": {"url": "https://x.test/p/cat.png?size=1"}},
            ],
        },
    ]
    asked = CompletionRequest(
        "TestBot",
        messages,
        {
            "temperature": 0.3,
            "stop": "END",
            "logit_bias": {"50256": -100},
            "n": 1,
            "top_p": 1.0,
            "stream": True,
            "response_format": {"type": "text"},
            "thinking_budget": 1024,
            "reasoning_effort": "high",
            "seed": None,
        },
        conversation_id="12345678-1234-4234-8234-123456789abc",
        message_id="17",
        user="alice@example.com",
    )
    _, bot = await ask([PartialResponse(text="x")], asked)
    [query] = bot.queries
    assert [(each.role, each.content) for each in query.query] == [
        ("system", "Be brief"),
        ("user", "a\nb"),
        ("bot", "c"),
        ("user", "what is it?"),
    ]
    [image] = query.query[-1].attachments
    assert image.url == "https://x.test/p/cat.png?size=1"
    assert (image.content_type, image.name) == ("image/png", "cat.png")
    assert query.query[-1].parameters == {"thinking_budget": 1024, "reasoning_effort": "high"}
    assert query.temperature == 0.3
    assert query.stop_sequences == ["END"]
    assert query.logit_bias == {"50256": -100}
    assert query.conversation_id == "c-12345678123442348234123456789abc"
    assert len(query.message_id) == len(query.user_id) == 34
    assert "alice" not in query.user_id


async def test_tools_go_out_and_tool_calls_come_back() -> None:
    schema = {"type": "object", "properties": {"city": {"$ref": "#/$defs/c"}}, "$defs": {"c": {}}}
    tools = [
        {"type": "function", "function": {"name": "weather", "parameters": schema, "strict": True}},
        {"type": "function", "function": {"name": "now"}},
    ]
    fragments = [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather"}},
        {"index": 0, "function": {"arguments": '{"city": "Köln"}'}},
    ]
    events = [
        ServerSentEvent(
            data=json.dumps(
                {"choices": [{"delta": {"tool_calls": [each]}, "finish_reason": None}]}
            ),
            event="json",
        )
        for each in fragments
    ]
    last = json.dumps({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    received, bot = await ask(
        [*events, ServerSentEvent(data=last, event="json")],
        request(model="TestBot", tools=tools, tool_choice="auto"),
    )
    told = [call for delta in received for call in delta.tool_calls]
    assert joined_calls(told) == [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Köln"}'},
        }
    ]
    assert received[-1].finish_reason == "tool_calls"
    assert bot.queries[0].tools is not None
    assert [tool.function.name for tool in bot.queries[0].tools] == ["weather", "now"]


async def test_tool_results_go_out_as_the_protocol_says() -> None:
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
        {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Weather now?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "noon"}]},
    ]
    _, bot = await ask([PartialResponse(text="x")], CompletionRequest("TestBot", messages))
    _, called, result = bot.queries[0].query
    assert (called.role, called.message_type) == ("bot", "function_call")
    assert json.loads(called.content) == calls
    assert result.role == "tool"
    assert json.loads(result.content) == [
        {"role": "tool", "name": "weather", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "name": "now", "tool_call_id": "c2", "content": "noon"},
    ]


async def test_files_are_links_at_the_end_of_the_text() -> None:
    received, _ = await ask(
        [
            PartialResponse(text="", attachment=PNG),
            PartialResponse(text="Generating image (1s elapsed)"),
            PartialResponse(text="Here.", is_replace_response=True),
            PartialResponse(text="", attachment=PDF),
        ]
    )
    assert joined(received) == (
        "Here.\n\n![cat.png](https://files.test/a%20b.png)\n\n[a (1).pdf](https://files.test/a.pdf)"
    )


async def test_an_inline_file_is_the_reference_that_the_text_names() -> None:
    attachment = PNG.model_copy(update={"inline_ref": "r1", "url": "https://files.test/1"})
    received, _ = await ask(
        [PartialResponse(text="![a cat][r1]"), PartialResponse(text="", attachment=attachment)]
    )
    assert joined(received) == "![a cat][r1]\n\n[r1]: https://files.test/1"


async def test_a_file_that_the_text_links_already_is_not_linked_twice() -> None:
    received, _ = await ask(
        [
            PartialResponse(text="", attachment=PDF),
            PartialResponse(text="See https://files.test/a.pdf"),
        ]
    )
    assert joined(received) == "See https://files.test/a.pdf"


async def test_a_bot_that_crashes_is_an_error_and_not_asked_again() -> None:
    bot = Bot([PartialResponse(text="half "), ValueError("secret")])
    async with poe_server(bot) as base_url:
        provider = PoeProvider(settings(), base_url=base_url, api_key=ACCESS_KEY)
        with pytest.raises(errors.UpstreamError) as caught:
            await deltas(provider, request(model="TestBot"))
        await provider.close()
    assert not caught.value.retryable
    assert "secret" not in str(caught.value.body())
    assert len(bot.queries) == 1


@pytest.mark.parametrize(
    ("error_type", "kind", "status"),
    [
        ("insufficient_fund", errors.UpstreamOutOfCredit, 402),
        ("user_message_too_long", errors.UpstreamTooLarge, 413),
        ("user_caused_error", errors.UpstreamBadRequest, 400),
        ("privacy_authorization_error", errors.UpstreamBadRequest, 400),
        (None, errors.UpstreamError, 502),
    ],
)
async def test_error_types(error_type: Any, kind: type[errors.UpstreamError], status: int) -> None:
    with pytest.raises(errors.UpstreamError) as caught:
        await ask([ErrorResponse(text="Too spicy", error_type=error_type)])
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert ("Too spicy" in caught.value.detail) is (kind is errors.UpstreamBadRequest)


async def test_a_wrong_key_and_an_unknown_bot_are_typed() -> None:
    async with poe_server(Bot([])) as base_url:
        wrong = PoeProvider(settings(), base_url=base_url, api_key="wrong")
        with pytest.raises(errors.UpstreamRejectedKey):
            await deltas(wrong, request(model="TestBot"))
        with pytest.raises(errors.ModelNotFound):
            await deltas(wrong, request(model="No Such/Bot?"))
        await wrong.close()


# What the protocol cannot carry


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"n": 2}, "n"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"seed": 1}, "seed"),
        ({"max_tokens": 10}, "max_tokens"),
        ({"top_p": 0.5}, "top_p"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop": 7}, "stop"),
        ({"tools": [{"type": "custom"}]}, "tools"),
        ({"tools": "x"}, "tools"),
    ],
)
async def test_what_the_protocol_cannot_carry_is_refused_by_name(
    upstream: PoeUpstream, provider: PoeProvider, parameters: dict[str, Any], named: str
) -> None:
    with pytest.raises(errors.UpstreamBadRequest) as caught:
        await deltas(provider, request(**parameters))
    assert caught.value.param == named
    assert upstream.requests == []


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]},
        {"role": "user", "content": [{"type": "image_url"}]},
        {"role": "user", "content": 7},
        {"role": "function", "content": "x"},
        {"content": "x"},
        {"role": "assistant", "tool_calls": [{"type": "custom"}]},
    ],
)
async def test_messages_that_the_protocol_cannot_carry_are_refused(
    provider: PoeProvider, message: dict[str, Any]
) -> None:
    with pytest.raises(errors.UpstreamBadRequest) as caught:
        await deltas(provider, CompletionRequest("m", [message]))
    assert caught.value.param == "messages"


@pytest.mark.parametrize("asked", [request(budget=2**70), request("half a character: \ud83d")])
async def test_a_value_that_json_cannot_carry_is_refused(
    provider: PoeProvider, asked: CompletionRequest
) -> None:
    with pytest.raises(errors.UpstreamBadRequest, match="JSON cannot carry"):
        await deltas(provider, asked)


async def test_a_long_history_goes_out_whole(upstream: PoeUpstream, provider: PoeProvider) -> None:
    messages = [{"role": "user", "content": str(i)} for i in range(3_000)]
    upstream.play(upstream.reply("x"))
    await deltas(provider, CompletionRequest("m", messages))
    sent = upstream.requests[0].json["query"]
    assert [each["content"] for each in sent] == [each["content"] for each in messages]


async def test_the_public_list_of_models_is_read(
    upstream: PoeUpstream, provider: PoeProvider
) -> None:
    upstream.models = ["GPT-4o", "Claude"]
    assert [model["id"] for model in await provider.list_models()] == ["GPT-4o", "Claude"]


async def test_bot_names_are_quoted_in_the_url(
    upstream: PoeUpstream, provider: PoeProvider
) -> None:
    upstream.play(upstream.reply("x"))
    await deltas(provider, request(model="Ä/b?c#d e"))
    assert upstream.requests[0].path == "/bot/%C3%84%2Fb%3Fc%23d%20e"
