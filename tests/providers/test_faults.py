"""The fault matrix at the provider: what each upstream fault becomes, for both protocols."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy import errors
from proxy.providers.base import Delta, Provider
from tests.fakes.faults import CHARACTER, FaultyUpstream
from tests.support.providers import KEY, deltas, joined, provider_for, refusal, request


async def collect(stream: AsyncIterator[Delta], received: list[Delta]) -> None:
    async for delta in stream:
        received.append(delta)


async def broken(provider: Provider) -> tuple[str, errors.UpstreamError]:
    """The text that arrived, and the error that ended the stream."""
    received: list[Delta] = []
    with pytest.raises(errors.UpstreamError) as caught:
        await collect(provider.stream(request()), received)
    assert "secret" not in str(caught.value.body())
    assert KEY not in str(caught.value.body())
    return joined(received), caught.value


async def test_a_good_reply_begins_with_an_empty_delta_and_ends_with_its_finish_reason(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    upstream.play(upstream.reply("Hel", "lo"))
    received = await deltas(provider)
    assert received[0] == Delta()
    assert joined(received) == "Hello"
    assert [delta.finish_reason for delta in received if delta.finish_reason] == ["stop"]
    assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_deltas_arrive_while_the_upstream_is_still_writing(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "first ", "second"))
    stream = provider.stream(request())
    assert await anext(stream) == Delta()
    assert (await anext(stream)).text == "first "
    go_on.set()
    assert joined([delta async for delta in stream]) == "second"


async def test_one_connection_serves_replies_one_after_the_other(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    upstream.play(upstream.reply("x"))
    for _ in range(10):
        assert joined(await deltas(provider)) == "x"
        # The end of the chunked body may come in a packet of its own.
        await asyncio.sleep(0)
    assert upstream.connections <= 2


async def test_many_replies_run_at_once_without_a_pool_limit(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "a", "b"))
    running = [asyncio.create_task(deltas(provider)) for _ in range(150)]
    await upstream.wait_for_requests(150)
    go_on.set()
    assert {joined(received) for received in await asyncio.gather(*running)} == {"ab"}


async def test_success_that_is_not_a_stream(upstream: FaultyUpstream, provider: Provider) -> None:
    upstream.play(upstream.not_a_stream())
    assert type(await refusal(provider)) is errors.UpstreamProtocolError


async def test_connection_cut_before_the_answer(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    upstream.play(upstream.cut_before_the_head())
    assert type(await refusal(provider)) is errors.UpstreamUnreachable


async def test_connection_cut_before_the_first_token(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    upstream.play(upstream.cut_before_the_first_token())
    text, error = await broken(provider)
    assert (text, type(error)) == ("", errors.UpstreamUnreachable)


async def test_connection_cut_mid_stream_keeps_what_had_arrived(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    upstream.play(upstream.cut_after("one ", "two"))
    text, error = await broken(provider)
    assert (text, type(error)) == ("one two", errors.UpstreamUnreachable)


async def test_text_that_arrived_together_with_the_cut_is_given_first(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    upstream.play(upstream.cut_after("one ", "two"))
    stream = provider.stream(request())
    assert await anext(stream) == Delta()
    # Everything, the cut included, is in before the next read.
    await asyncio.sleep(0.05)
    received: list[Delta] = []
    with pytest.raises(errors.UpstreamUnreachable):
        await collect(stream, received)
    assert joined(received) == "one two"


async def test_connection_reset_mid_stream(upstream: FaultyUpstream, provider: Provider) -> None:
    upstream.play(upstream.reset_after("one "))
    _, error = await broken(provider)
    assert type(error) is errors.UpstreamUnreachable


async def test_silence_before_the_answer_is_a_timeout(upstream: FaultyUpstream) -> None:
    provider = provider_for(upstream, read_timeout_seconds=0.25)
    upstream.play(upstream.stall_before_the_head())
    assert type(await refusal(provider)) is errors.UpstreamTimeout
    await upstream.wait_for_abort()
    await provider.close()


async def test_silence_mid_stream_is_a_timeout(upstream: FaultyUpstream) -> None:
    provider = provider_for(upstream, read_timeout_seconds=0.25)
    upstream.play(upstream.stall_after("one "))
    text, error = await broken(provider)
    assert (text, type(error)) == ("one ", errors.UpstreamTimeout)
    await upstream.wait_for_abort()
    await provider.close()


async def test_an_end_without_finish_just_ends(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    upstream.play(upstream.ends_without_finish("one ", "two"))
    received = await deltas(provider)
    assert joined(received) == "one two"
    assert not any(delta.finish_reason for delta in received)


async def test_broken_json_mid_stream_costs_one_frame(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    upstream.play(
        upstream.texts("one ") + upstream.bad_json() + upstream.text("two") + upstream.end()
    )
    received = await deltas(provider)
    assert joined(received) == "one two"
    assert received[-1].finish_reason == "stop"


async def test_an_error_frame_mid_stream(upstream: FaultyUpstream, provider: Provider) -> None:
    upstream.play(upstream.error_after("one "))
    text, error = await broken(provider)
    assert (text, type(error)) == ("one ", errors.UpstreamError)


async def test_an_error_frame_in_the_same_write_as_text_keeps_the_text(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    upstream.play(upstream.texts() + (upstream.text("one ") + upstream.failure()))
    text, error = await broken(provider)
    assert (text, type(error)) == ("one ", errors.UpstreamError)


async def test_a_frame_split_inside_a_character(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    upstream.play(upstream.split_inside_a_character())
    assert joined(await deltas(provider)) == CHARACTER


async def test_line_separators_in_the_text(upstream: FaultyUpstream, provider: Provider) -> None:
    upstream.play(upstream.line_separators())
    assert joined(await deltas(provider)) == "a\u2028b\u2029c\u0085d"


async def test_an_empty_reply(upstream: FaultyUpstream, provider: Provider) -> None:
    upstream.play(upstream.empty_reply())
    received = await deltas(provider)
    assert joined(received) == ""
    assert received[-1].finish_reason == "stop" or received[-2].finish_reason == "stop"


async def test_one_delta_of_a_megabyte(upstream: FaultyUpstream, provider: Provider) -> None:
    upstream.play(upstream.one_large_delta(1024 * 1024))
    assert joined(await deltas(provider)) == "x" * 1024 * 1024


async def test_fifty_thousand_tiny_deltas(upstream: FaultyUpstream, provider: Provider) -> None:
    upstream.play(upstream.many_deltas(50_000))
    received = await deltas(provider)
    assert joined(received) == "".join(f"{i} " for i in range(50_000))
    assert len(received) < 5_000, "frames that arrive together are one delta"


async def test_a_cancelled_reader_closes_the_upstream(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    reached = asyncio.Event()
    upstream.play(upstream.stall_after("one ", reached=reached))
    task = asyncio.create_task(deltas(provider))
    await reached.wait()
    task.cancel()
    await upstream.wait_for_abort()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_closed_iterator_closes_the_upstream(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    upstream.play(upstream.stall_after("one "))
    stream = provider.stream(request())
    await anext(stream)
    assert (await anext(stream)).text == "one "
    await stream.aclose()
    await upstream.wait_for_abort()


async def test_a_cancelled_request_closes_the_upstream_before_its_answer(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    upstream.play(upstream.stall_before_the_head())
    task = asyncio.create_task(deltas(provider))
    await upstream.wait_for_requests(1)
    task.cancel()
    await upstream.wait_for_abort()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_half_characters_in_two_frames_are_joined(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    halves = [upstream.text("@@").replace(b"@@", half) for half in (rb"a\ud83d", rb"\ude00b\ud83d")]
    upstream.play(upstream.texts() + halves[0] + halves[1] + upstream.text("!") + upstream.end())
    text = joined(await deltas(provider))
    assert text == "a😀b\N{REPLACEMENT CHARACTER}!"
