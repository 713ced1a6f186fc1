"""Poe's events, scripted: errors, replacements, placeholders, thinking."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy import errors
from proxy.providers.base import Delta
from proxy.providers.poe import PoeProvider
from tests.fakes.poe_upstream import PoeUpstream, event
from tests.fakes.scripted import wait
from tests.support.providers import KEY, deltas, joined, request, settings


@pytest.fixture
async def upstream() -> AsyncIterator[PoeUpstream]:
    async with PoeUpstream() as server:
        yield server


@pytest.fixture
async def provider(upstream: PoeUpstream) -> AsyncIterator[PoeProvider]:
    provider = PoeProvider(settings(), base_url=upstream.base_url, api_key=KEY)
    yield provider
    await provider.close()


@pytest.mark.parametrize(
    ("payload", "kind", "retryable"),
    [
        ({"allow_retry": True, "text": "Internal server error"}, errors.UpstreamError, True),
        ({"allow_retry": False, "text": "no"}, errors.UpstreamError, False),
        ({}, errors.UpstreamError, True),
        ({"allow_retry": True, "text": "Access denied"}, errors.UpstreamRejectedKey, False),
        ({"text": "Bot Nobody does not exist."}, errors.ModelNotFound, False),
        ({"error_type": "from_the_future"}, errors.UpstreamError, True),
    ],
)
async def test_error_events(
    upstream: PoeUpstream,
    provider: PoeProvider,
    payload: dict[str, Any],
    kind: type[errors.UpstreamError],
    retryable: bool,
) -> None:
    upstream.play(upstream.events(event("error", payload)))
    with pytest.raises(errors.UpstreamError) as caught:
        await deltas(provider)
    assert type(caught.value) is kind
    assert caught.value.retryable is retryable


@pytest.mark.parametrize(
    "broken",
    [
        event("text", {"txt": "a"}),
        event("text", {"text": 7}),
        event("text", "a"),
        event("replace_response", {}),
        event("file", {"name": "x"}),
        event("json", [1]),
        b"event: text\n\n",
    ],
)
async def test_a_stream_of_nothing_but_odd_events_is_a_protocol_error(
    upstream: PoeUpstream, provider: PoeProvider, broken: bytes
) -> None:
    upstream.play(upstream.events(broken, upstream.end()))
    with pytest.raises(errors.UpstreamProtocolError):
        await deltas(provider)


async def test_done_needs_no_data_and_ends_the_stream(
    upstream: PoeUpstream, provider: PoeProvider
) -> None:
    upstream.play(upstream.events(upstream.text("a") + b"event: done\n\n" + upstream.text("b")))
    received = await deltas(provider)
    assert joined(received) == "a"
    assert received[-1].finish_reason == "stop"


def text(text: str) -> bytes:
    return event("text", {"text": text})


def replace(text: str) -> bytes:
    return event("replace_response", {"text": text})


async def stream_of(upstream: PoeUpstream, provider: PoeProvider, *events: bytes) -> list[Delta]:
    upstream.play(upstream.events(*events, upstream.end()))
    return await deltas(provider)


async def test_a_replacement_leads_to_the_right_text(
    upstream: PoeUpstream, provider: PoeProvider
) -> None:
    received = await stream_of(upstream, provider, text("first"), replace("second "), text("half"))
    assert joined(received) == "second half"


async def test_a_replacement_that_arrives_with_what_it_replaces_is_plain_text(
    upstream: PoeUpstream, provider: PoeProvider
) -> None:
    received = await stream_of(upstream, provider, text("first") + replace("second"))
    assert received[1].text == "second"
    assert not received[1].replace


async def test_a_replacement_of_given_text_is_marked(
    upstream: PoeUpstream, provider: PoeProvider
) -> None:
    go_on = asyncio.Event()
    upstream.play(
        upstream.events(text("first")) + wait(go_on) + replace("") + text("x") + upstream.end()
    )
    stream = provider.stream(request())
    await anext(stream)
    assert (await anext(stream)).text == "first"
    go_on.set()
    rest = [delta async for delta in stream]
    assert rest[0].replace
    assert joined([Delta(text="first"), *rest]) == "x"


@pytest.mark.parametrize(
    "events",
    [
        [text("Thinking... (1s elapsed)"), replace("Thinking... (2s elapsed)"), replace("Yes")],
        [replace("Thinking... (1s elapsed)"), replace(""), text("Y"), text("es")],
        [text("Thinking... (1s elapsed)"), text("Thinking... (2s elapsed)"), text("Yes")],
        [text("Thinking..."), replace("Yes")],
        [text(""), text("Thinking..."), replace("Thinking... (1s elapsed)"), replace("Yes")],
        [text("Generating image (12s elapsed)\n"), replace("Yes")],
    ],
)
async def test_placeholders_are_never_text(
    upstream: PoeUpstream, provider: PoeProvider, events: list[bytes]
) -> None:
    received = await stream_of(upstream, provider, *events)
    assert joined(received) == "Yes"
    assert not any(delta.replace for delta in received)
    assert "".join(delta.reasoning for delta in received) in (
        "Thinking...\n",
        "Generating image\n",
    )


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([text("Thinking..."), text(" of you")], "Thinking... of you"),
        ([text("Thinking...")], "Thinking..."),
        ([text("Thinking...") + text("Thinking...")], "Thinking...Thinking..."),
        ([text("Yes. "), text("Thinking... (3s elapsed)")], "Yes. Thinking... (3s elapsed)"),
        ([text("Thinking... (3s elapsed)")], "Thinking... (3s elapsed)"),
        ([text("*Thinking...*"), text("\n\nplain")], "*Thinking...*\n\nplain"),
    ],
)
async def test_an_answer_that_looks_like_a_placeholder_is_text(
    upstream: PoeUpstream, provider: PoeProvider, events: list[bytes], expected: str
) -> None:
    assert joined(await stream_of(upstream, provider, *events)) == expected


async def test_quoted_thinking_goes_to_the_reasoning(
    upstream: PoeUpstream, provider: PoeProvider
) -> None:
    pieces = ["*Think", "ing...*\n\n> **Plan**\n> \n> do", " it\n\n", "Done", " so."]
    received = await stream_of(upstream, provider, *map(text, pieces))
    assert joined(received) == "Done so."
    assert "".join(delta.reasoning for delta in received) == "**Plan**\n\ndo it\n"


async def test_reasoning_that_replacements_repeat_is_told_once(
    upstream: PoeUpstream, provider: PoeProvider
) -> None:
    steps = [
        "*Thinking...*\n\n> a",
        "*Thinking...*\n\n> a\n> b",
        "*Thinking...*\n\n> a\n> b\n\nYes",
        "*Thinking...*\n\n> a\n> b\n\nYes, sir",
    ]
    received = await stream_of(upstream, provider, *map(replace, steps))
    assert joined(received) == "Yes, sir"
    assert "".join(delta.reasoning for delta in received) == "a\nb\n"


async def test_text_held_back_is_given_when_the_stream_is_cut(
    upstream: PoeUpstream, provider: PoeProvider
) -> None:
    upstream.play(upstream.cut_after("*Thinking"))
    stream = provider.stream(request())
    assert await anext(stream) == Delta()
    assert (await anext(stream)).text == "*Thinking"
    with pytest.raises(errors.UpstreamUnreachable):
        await anext(stream)
