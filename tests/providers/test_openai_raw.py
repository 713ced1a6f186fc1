"""The raw bytes of an OpenAI upstream, and what is read along while they pass."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy import errors
from proxy.providers.openai import OpenAIProvider, ReplyScanner
from tests.fakes.openai_upstream import OpenAIUpstream, chunk
from tests.fakes.scripted import whole
from tests.providers.support import KEY, REPORTED, settings


@pytest.fixture
async def upstream() -> AsyncIterator[OpenAIUpstream]:
    async with OpenAIUpstream() as server:
        yield server


@pytest.fixture
async def provider(upstream: OpenAIUpstream) -> AsyncIterator[OpenAIProvider]:
    provider = OpenAIProvider(settings(), base_url=upstream.base_url, api_key=KEY)
    yield provider
    await provider.close()


async def test_raw_bytes_come_as_they_were_sent(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    frames = upstream.text("a ") + upstream.text("b") + upstream.end()
    upstream.play(upstream.chunks(frames[:30], frames[30:]))
    body = b'{ "model":"test-model","stream":true, "x":1 }'
    raw = await provider.open(body)
    assert (raw.status, raw.content_type, raw.is_stream) == (200, "text/event-stream", True)
    scanner = ReplyScanner(raw)
    received = []
    async for data in raw:
        scanner.feed(data)
        received.append(data)
    scanner.end()
    assert b"".join(received) == frames
    assert upstream.requests[0].body == body
    assert (scanner.text, scanner.finish_reason, scanner.usage) == ("a b", "stop", REPORTED)
    assert scanner.error is None


async def test_raw_bytes_arrive_one_by_one(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "first", "second"))
    raw = await provider.open({"model": "m", "messages": [], "stream": True})
    stream = aiter(raw)
    assert await anext(stream) == upstream.text("first")
    go_on.set()
    rest = b"".join([data async for data in stream])
    assert rest == upstream.text("second") + upstream.end()


async def test_a_raw_json_answer_is_read_along(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.play(upstream.whole_reply("whole"))
    raw = await provider.open({"model": "m", "messages": []})
    scanner = ReplyScanner(raw)
    async for data in raw:
        scanner.feed(data)
    scanner.end()
    assert not raw.is_stream
    assert (scanner.text, scanner.finish_reason, scanner.usage) == ("whole", "stop", REPORTED)


async def test_a_raw_refusal_is_the_same_typed_error(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.play(upstream.status(429, retry_after="2"))
    with pytest.raises(errors.UpstreamRateLimited) as caught:
        await provider.open({"model": "m", "messages": []})
    assert caught.value.retry_after_seconds == 2


async def test_a_raw_stream_that_is_cut_raises_after_its_bytes(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.play(upstream.cut_after("a"))
    raw = await provider.open({"model": "m", "messages": [], "stream": True})
    stream = aiter(raw)
    assert await anext(stream) == upstream.text("a")
    with pytest.raises(errors.UpstreamUnreachable):
        await anext(stream)


async def test_reading_along_survives_what_it_cannot_read(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.play(upstream.bad_json_after("a"))
    raw = await provider.open({"model": "m", "messages": [], "stream": True})
    scanner = ReplyScanner(raw)
    async for data in raw:
        scanner.feed(data)
    scanner.end()
    assert scanner.text == "a"
    assert type(scanner.error) is errors.UpstreamProtocolError


async def test_closing_a_raw_answer_closes_the_upstream(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.play(upstream.stall_after("a"))
    raw = await provider.open({"model": "m", "messages": [], "stream": True})
    raw.close()
    await upstream.wait_for_abort()


async def test_bytes_are_read_along_before_the_end_where_they_are_many(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    size = ReplyScanner.READ_BYTES
    upstream.play(upstream.reply("x" * size, "y"))
    raw = await provider.open({"model": "m", "messages": [], "stream": True})
    scanner = ReplyScanner(raw)
    async for data in raw:
        scanner.feed(data)
    assert scanner.text.startswith("x" * size)
    scanner.end()
    assert scanner.text == "x" * size + "y"


async def test_reasoning_and_tool_calls_are_read_along(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f"}}
    upstream.play(
        upstream.chunks(chunk({"reasoning": "hm"}), chunk({"tool_calls": [call]}) + upstream.end())
    )
    raw = await provider.open({"model": "m", "messages": [], "stream": True})
    scanner = ReplyScanner(raw)
    async for data in raw:
        scanner.feed(data)
    scanner.end()
    assert (scanner.reasoning, scanner.tool_calls) == ("hm", [call])


async def test_a_raw_json_answer_that_is_no_completion_is_told_not_raised(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    for body in (b"{", {"error": {"message": "no", "code": 429}}, {"hello": 1}):
        upstream.play(whole(200, body))
        raw = await provider.open({"model": "m", "messages": []})
        scanner = ReplyScanner(raw)
        scanner.feed(await raw.read())
        scanner.end()
        assert isinstance(scanner.error, errors.UpstreamError)
