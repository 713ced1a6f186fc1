"""The raw bytes of an OpenAI upstream."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy import errors
from proxy.providers.openai import OpenAIProvider, RawResponse
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.providers import KEY, settings

QUESTION = {"model": "m", "messages": [], "stream": True}


@pytest.fixture
async def upstream() -> AsyncIterator[OpenAIUpstream]:
    async with OpenAIUpstream() as server:
        yield server


@pytest.fixture
async def provider(upstream: OpenAIUpstream) -> AsyncIterator[OpenAIProvider]:
    provider = OpenAIProvider(settings(), base_url=upstream.base_url, api_key=KEY)
    yield provider
    await provider.close()


async def rest_of(raw: RawResponse) -> bytes:
    parts = []
    while data := await raw.read():
        parts.append(data)
    return b"".join(parts)


async def test_raw_bytes_come_as_they_were_sent(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    frames = upstream.text("a ") + upstream.text("b") + upstream.end()
    upstream.play(upstream.chunks(frames[:30], frames[30:]))
    body = b'{ "model":"test-model","stream":true, "x":1 }'
    raw = await provider.open(body)
    assert (raw.status, raw.content_type) == (200, "text/event-stream")
    assert await rest_of(raw) == frames
    assert await raw.read() == b""
    assert upstream.requests[0].body == body


async def test_raw_bytes_arrive_one_by_one(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "first", "second"))
    raw = await provider.open(QUESTION)
    assert await raw.read() == upstream.text("first")
    go_on.set()
    assert await rest_of(raw) == upstream.text("second") + upstream.end()


async def test_a_raw_refusal_is_the_same_typed_error(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.play(upstream.status(429, retry_after="2"))
    with pytest.raises(errors.UpstreamRateLimited) as caught:
        await provider.open(QUESTION)
    assert caught.value.retry_after_seconds == 2


async def test_a_raw_stream_that_is_cut_raises_after_its_bytes(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.play(upstream.cut_after("a"))
    raw = await provider.open(QUESTION)
    assert await raw.read() == upstream.text("a")
    with pytest.raises(errors.UpstreamUnreachable):
        await raw.read()
    raw.close()


async def test_closing_a_raw_answer_closes_the_upstream(
    upstream: OpenAIUpstream, provider: OpenAIProvider
) -> None:
    upstream.play(upstream.stall_after("a"))
    raw = await provider.open(QUESTION)
    raw.close()
    await upstream.wait_for_abort()
