"""Leave and come back: joining a reply from any character, on any worker."""

import asyncio

import pytest

from tests.conftest import LiveServer
from tests.fakes.faults import FaultyUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.poe_upstream import PoeUpstream, event
from tests.fakes.scripted import script, wait
from tests.support.replies import MESSAGES, create, ended, joining, provider, say, stored, streaming

WORKER_SETTINGS = {"checkpoint_seconds": 0.1}


async def test_a_running_reply_is_joined_from_any_character_by_any_number_of_readers(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "0123456789", "abcdef"))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("0123456789")
        message_id = stream.message_id

        async def join(after: int) -> tuple[dict[str, int], str, dict[str, str]]:
            async with joining(client, message_id, after=after) as joined:
                await joined.until("0123456789"[after:])
                ready.release()
                frames = await joined.rest()
                return frames[0], joined.text, frames[-1]

        ready = asyncio.Semaphore(0)
        positions = [0, 1, 5, 9, 10]
        readers = [asyncio.create_task(join(after)) for after in positions]
        for _ in readers:
            await ready.acquire()
        go_on.set()
        for after, (first, text, last) in zip(
            positions, await asyncio.gather(*readers), strict=True
        ):
            assert first == stream.seen[0]
            assert text == "0123456789abcdef"[after:]
            assert last == {"content": "", "finish_reason": "stop"}


async def test_a_finished_reply_is_answered_at_once(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.reply("漢字😀", "abc"))
    async with live(providers=[provider(upstream)]) as client:
        turn = (await say(client, await create(client))).json()
        for after, rest in ((0, "漢字😀abc"), (1, "字😀abc"), (3, "abc"), (6, ""), (60, "")):
            async with joining(client, turn["assistant_message_id"], after=after) as joined:
                first, *content, last = await joined.rest()
            assert first == {
                "user_message_id": turn["user_message_id"],
                "assistant_message_id": turn["assistant_message_id"],
                "conversation_id": turn["conversation_id"],
                "session_id": str(turn["assistant_message_id"]),
            }
            assert [frame["content"] for frame in content] == ([rest] if rest else [])
            assert last == {"content": "", "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("ending", "error"), [("cut", "upstream_unreachable"), ("end", "truncated")]
)
async def test_a_reply_that_ended_badly_says_so_to_who_comes_later(
    upstream: FaultyUpstream, live: LiveServer, ending: str, error: str
) -> None:
    bad = upstream.cut_after("Hel") if ending == "cut" else upstream.ends_without_finish("Hel")
    upstream.play(bad)
    async with live(providers=[provider(upstream)]) as client:
        turn = (await say(client, await create(client))).json()
        async with joining(client, turn["assistant_message_id"]) as joined:
            last = (await joined.rest())[-1]
        assert joined.text == "Hel"
        assert last["error"]["type"] == error


async def test_a_reader_that_claims_more_than_there_is_gets_only_what_is_new(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.reply_when(go_on, "0123", "456789"))
    async with (
        live(providers=[provider(openai)]) as client,
        streaming(client, await create(client)) as stream,
    ):
        await stream.until("0123")
        async with joining(client, stream.message_id, after=6) as joined:
            await joined.frame()
            go_on.set()
            await joined.rest()
        assert joined.text == "6789"


async def test_what_cannot_be_joined_is_a_404(openai: OpenAIUpstream, live: LiveServer) -> None:
    openai.play(openai.reply("x"))
    async with live(providers=[provider(openai)]) as client:
        turn = (await say(client, await create(client))).json()
        for message_id in (turn["user_message_id"], 10**15):
            response = await client.get(f"{MESSAGES}/{message_id}/stream")
            assert response.status_code == 404
            assert isinstance(response.json()["detail"], str)
        for query in ("after=-1", "after=x", f"after={2**63}"):
            path = f"{MESSAGES}/{turn['assistant_message_id']}/stream?{query}"
            assert (await client.get(path)).status_code == 422


async def test_another_worker_follows_the_checkpoints(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    more, end = asyncio.Event(), asyncio.Event()
    upstream.play(
        upstream.texts("abc")
        + wait(more)
        + script(upstream.text("def"))
        + wait(end)
        + script(upstream.text("ghi"))
        + upstream.end()
    )
    async with (
        live(providers=[provider(upstream)], **WORKER_SETTINGS) as one,
        live(providers=[provider(upstream)], **WORKER_SETTINGS) as other,
    ):
        async with streaming(one, await create(one)) as stream:
            await stream.until("abc")
            async with (
                joining(other, stream.message_id) as joined,
                joining(other, stream.message_id, after=2) as later,
            ):
                await joined.until("abc")
                more.set()
                await joined.until("abcdef")
                await later.until("cdef")
                end.set()
                assert (await joined.rest())[-1] == {"content": "", "finish_reason": "stop"}
                await later.rest()
        assert joined.text == "abcdefghi"
        assert joined.seen[0] == stream.seen[0]
        assert later.text == "cdefghi"
    assert len(upstream.requests) == 1


async def test_another_worker_gives_nothing_twice_to_a_reader_ahead_of_the_checkpoints(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.reply_when(go_on, "0123", "456789"))
    async with (
        live(providers=[provider(openai)], **WORKER_SETTINGS) as one,
        live(providers=[provider(openai)], **WORKER_SETTINGS) as other,
    ):
        async with streaming(one, await create(one)) as stream:
            await stream.until("0123")
            async with joining(other, stream.message_id, after=6) as joined:
                await joined.frame()
                go_on.set()
                await joined.rest()
        assert joined.text == "6789"


@pytest.mark.parametrize("accept_replace", [False, True])
async def test_another_worker_tells_of_a_replaced_text(
    poe: PoeUpstream, live: LiveServer, accept_replace: bool
) -> None:
    go_on = asyncio.Event()
    poe.play(
        poe.events(event("text", {"text": "Searching"}))
        + wait(go_on)
        + script(event("replace_response", {"text": "Found"}), event("done", {}))
    )
    async with (
        live(providers=[provider(poe)], **WORKER_SETTINGS) as one,
        live(providers=[provider(poe)], **WORKER_SETTINGS) as other,
        streaming(one, await create(one)) as stream,
    ):
        await stream.until("Searching")
        async with joining(other, stream.message_id, accept_replace=accept_replace) as joined:
            await joined.until("Searching")
            go_on.set()
            frames = await joined.rest()
    if accept_replace:
        assert {"content": "Found", "replace": True} in frames
        assert "stored_text_differs" not in frames[-1]
    else:
        assert joined.text == "Searching"
        assert frames[-1]["stored_text_differs"] is True


async def test_another_worker_keeps_a_quiet_stream_open(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.reply_when(go_on, "a", "b"))
    settings = {**WORKER_SETTINGS, "heartbeat_seconds": 0.1}
    async with (
        live(providers=[provider(openai)], **settings) as one,
        live(providers=[provider(openai)], **settings) as other,
        streaming(one, await create(one)) as stream,
    ):
        await stream.until("a")
        async with joining(other, stream.message_id) as joined:
            await joined.until("a")
            next_frame = asyncio.create_task(joined.frame())
            while not joined.heartbeats:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            go_on.set()
            assert await next_frame == {"content": "b"}
            await joined.rest()


async def test_a_reply_that_was_left_and_ended_is_there_on_every_worker(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.reply_when(go_on, "a", "b"))
    async with (
        live(providers=[provider(openai)]) as one,
        live(providers=[provider(openai)]) as other,
    ):
        async with streaming(one, await create(one)) as stream:
            await stream.until("a")
        go_on.set()
        await ended(one, stream.message_id)
        async with joining(other, stream.message_id, after=1) as joined:
            await joined.rest()
        assert joined.text == "b"
        assert (await stored(other, stream.message_id))["status"] == "complete"


async def test_a_reply_deleted_while_another_worker_follows_it_ends_there_too(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.stall_after("a"))
    async with (
        live(providers=[provider(openai)], **WORKER_SETTINGS) as one,
        live(providers=[provider(openai)], **WORKER_SETTINGS) as other,
        streaming(one, await create(one)) as stream,
    ):
        await stream.until("a")
        async with joining(other, stream.message_id) as joined:
            await joined.until("a")
            await one.post(f"{MESSAGES}/delete", json={"message_ids": [stream.message_id]})
            last = (await joined.rest())[-1]
            assert last["error"]["type"] == "not_found_error"
        await stream.rest()
