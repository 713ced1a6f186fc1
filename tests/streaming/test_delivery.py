"""What a client sees of a stream, and what happens when it looks away."""

import asyncio
import gc
import socket
import weakref

import httpx
import pytest

from tests.conftest import LiveServer
from tests.fakes.faults import FaultyUpstream
from tests.fakes.openai_upstream import OpenAIUpstream, chunk
from tests.fakes.poe_upstream import PoeUpstream, event
from tests.fakes.scripted import script, tell, wait
from tests.support.replies import (
    CONVERSATIONS,
    create,
    ended,
    engine_of,
    history,
    joining,
    provider,
    say,
    stored,
    streaming,
)


async def test_frames_arrive_while_the_upstream_is_still_writing(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    upstream.play(
        upstream.texts("a")
        + wait(first)
        + script(upstream.text("b"))
        + wait(second)
        + script(upstream.text("c"))
        + upstream.end()
    )
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            ids = await stream.frame()
            assert ids is not None
            assert set(ids) == {
                "user_message_id",
                "assistant_message_id",
                "conversation_id",
                "session_id",
            }
            await stream.until("a")
            first.set()
            await stream.until("ab")
            second.set()
            assert (await stream.rest())[-1] == {"content": "", "finish_reason": "stop"}
            assert stream.text == "abc"


async def test_the_ids_come_before_a_model_that_thinks_has_said_anything(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.texts() + wait(go_on) + script(upstream.text("x")) + upstream.end())
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            assert await stream.frame() is not None
            assert (await stored(client, stream.message_id))["status"] == "streaming"
            go_on.set()
            await stream.rest()
            assert stream.text == "x"


async def test_an_upstream_that_takes_long_to_accept_does_not_hold_back_the_ids(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    upstream.play(script(wait(go_on)) + upstream.reply("x"))
    async with live(providers=[provider(upstream)], stream_open_seconds=0.05) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            assert stream.status == 200
            assert await stream.frame() is not None
            go_on.set()
            await stream.rest()
            assert stream.text == "x"


async def test_a_quiet_stream_is_kept_open_by_comments(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "a", "b"))
    async with live(providers=[provider(upstream)], heartbeat_seconds=0.05) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("a")
            next_frame = asyncio.create_task(stream.frame())
            while stream.heartbeats < 2:
                assert not next_frame.done()
                await asyncio.sleep(0.02)
            go_on.set()
            assert await next_frame == {"content": "b"}
            await stream.rest()


async def test_reasoning_is_not_content(openai: OpenAIUpstream, live: LiveServer) -> None:
    openai.play(
        openai.chunks(
            chunk({"reasoning_content": "Let me see. "}), chunk({"content": "42"}), openai.end()
        )
    )
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            frames = await stream.rest()
        assert stream.text == "42"
        assert "".join(frame.get("reasoning", "") for frame in frames) == "Let me see. "
        message = await stored(client, stream.message_id)
        assert (message["content"], message["reasoning"]) == ("42", "Let me see. ")
        async with joining(client, stream.message_id) as again:
            frames = await again.rest()
        assert again.text == "42"
        assert "".join(frame.get("reasoning", "") for frame in frames) == "Let me see. "


REPLACED = [
    event("text", {"text": "Searching"}),
    event("replace_response", {"text": "Found"}),
    event("text", {"text": " it"}),
    event("done", {}),
]


@pytest.fixture
def poe_that_replaces(poe: PoeUpstream) -> tuple[PoeUpstream, asyncio.Event]:
    go_on = asyncio.Event()
    poe.play(poe.events(REPLACED[0]) + wait(go_on) + script(*REPLACED[1:]))
    return poe, go_on


async def test_a_replaced_text_is_told_to_a_client_that_asked_for_it(
    poe_that_replaces: tuple[PoeUpstream, asyncio.Event], live: LiveServer
) -> None:
    poe, go_on = poe_that_replaces
    async with live(providers=[provider(poe)]) as client:
        id_ = await create(client)
        async with streaming(client, id_, accept_replace=True) as stream:
            await stream.until("Searching")
            go_on.set()
            frames = await stream.rest()
        text = ""
        for frame in frames[1:]:
            text = frame["content"] if frame.get("replace") else text + frame["content"]
        assert text == "Found it"
        assert any(frame.get("replace") for frame in frames)
        assert frames[-1] == {"content": "", "finish_reason": "stop"}
        assert (await stored(client, stream.message_id))["content"] == "Found it"


async def test_a_client_that_only_appends_learns_that_the_stored_text_differs(
    poe_that_replaces: tuple[PoeUpstream, asyncio.Event], live: LiveServer
) -> None:
    poe, go_on = poe_that_replaces
    async with live(providers=[provider(poe)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("Searching")
            go_on.set()
            last = (await stream.rest())[-1]
        assert stream.text == "Searching"
        assert last == {"content": "", "finish_reason": "stop", "stored_text_differs": True}
        assert (await stored(client, stream.message_id))["content"] == "Found it"


async def test_a_replacement_that_only_adds_is_told_by_appending(
    poe: PoeUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    poe.play(
        poe.events(event("text", {"text": "Found"}))
        + wait(go_on)
        + script(event("replace_response", {"text": "Found it"}), event("done", {}))
    )
    async with live(providers=[provider(poe)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("Found")
            go_on.set()
            assert (await stream.rest())[-1] == {"content": "", "finish_reason": "stop"}
        assert stream.text == "Found it"


# Clients that leave


async def test_a_reply_goes_on_when_its_client_leaves_before_the_first_token(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.texts() + wait(go_on) + script(upstream.text("x")) + upstream.end())
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.frame()
        await no_followers(client, stream.message_id)
        go_on.set()
        await ended(client, stream.message_id)
        message = await stored(client, stream.message_id)
        assert (message["status"], message["content"]) == ("complete", "x")


async def test_a_reply_goes_on_when_its_client_leaves_mid_stream(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "a", "b"))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as stream:
            await stream.until("a")
        await no_followers(client, stream.message_id)
        go_on.set()
        await ended(client, stream.message_id)
        message = await stored(client, stream.message_id)
        assert (message["status"], message["content"]) == ("complete", "ab")


async def test_a_client_that_leaves_at_the_last_frame_changes_nothing(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.reply("a", "b"))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        async with streaming(client, id_, on_disconnect="cancel") as stream:
            await stream.until("ab")
            await stream.frame()
        message = await stored(client, stream.message_id)
        assert (message["status"], message["content"]) == ("complete", "ab")


async def test_a_reply_that_is_not_streamed_goes_on_when_its_client_leaves(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "a", "b"))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        turn = asyncio.create_task(say(client, id_))
        await upstream.wait_for_requests(1)
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        go_on.set()
        message_id = (await history(client, id_))[-1]["id"]
        await ended(client, message_id)
        message = await stored(client, message_id)
        assert (message["status"], message["content"]) == ("complete", "ab")


async def test_on_disconnect_cancel_stops_a_stream_and_keeps_the_text_so_far(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    upstream.play(upstream.stall_after("a"))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        async with streaming(client, id_, on_disconnect="cancel") as stream:
            await stream.until("a")
        await upstream.wait_for_abort()
        await ended(client, stream.message_id)
        message = await stored(client, stream.message_id)
        assert (message["status"], message["content"]) == ("stopped", "a")


async def test_on_disconnect_cancel_is_noticed_while_the_model_says_nothing(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    reached = asyncio.Event()
    upstream.play(upstream.stall_after(reached=reached))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        async with streaming(client, id_, on_disconnect="cancel") as stream:
            await stream.frame()
            await reached.wait()
        await upstream.wait_for_abort()


@pytest.mark.parametrize("stream", [False, True])
async def test_on_disconnect_cancel_is_noticed_before_the_upstream_accepts(
    upstream: FaultyUpstream, live: LiveServer, stream: bool
) -> None:
    upstream.play(upstream.stall_before_the_head())
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        turn = asyncio.create_task(say(client, id_, stream=stream, on_disconnect="cancel"))
        await upstream.wait_for_requests(1)
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        await upstream.wait_for_abort()
        message_id = (await history(client, id_))[-1]["id"]
        await ended(client, message_id)
        assert (await stored(client, message_id))["status"] == "stopped"


async def test_on_disconnect_cancel_stops_a_turn_that_is_not_streamed(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    reached = asyncio.Event()
    upstream.play(upstream.stall_after("a", reached=reached))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        turn = asyncio.create_task(say(client, id_, on_disconnect="cancel"))
        await reached.wait()
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        await upstream.wait_for_abort()
        message_id = (await history(client, id_))[-1]["id"]
        await ended(client, message_id)
        assert (await stored(client, message_id))["status"] == "stopped"


async def test_on_disconnect_cancel_does_not_take_the_reply_from_another_reader(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "a", "b"))
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        async with streaming(client, id_, on_disconnect="cancel") as stream:
            await stream.until("a")
            async with joining(client, stream.message_id) as other:
                await other.until("a")
                await stream.response.aclose()
                await no_followers(client, stream.message_id, but=1)
                go_on.set()
                await other.rest()
                assert other.text == "ab"
        assert (await stored(client, stream.message_id))["status"] == "complete"


# Readers at different paces


async def test_a_slow_reader_beside_a_fast_one_on_the_same_reply(
    upstream: FaultyUpstream, live: LiveServer
) -> None:
    """The slow one reads nothing at all until everything is over: no clock is needed."""
    text = "".join(f"{i} " for i in range(20_000))
    go_on, sent = asyncio.Event(), asyncio.Event()
    many = [
        upstream.text("".join(f"{i} " for i in range(n, n + 100))) for n in range(0, 20_000, 100)
    ]
    upstream.play(upstream.texts() + wait(go_on) + script(*many) + tell(sent) + upstream.end())
    async with live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as fast:
            await fast.frame()
            reader, writer = await slow_reader(client, fast.message_id)
            await no_followers(client, fast.message_id, but=2)
            go_on.set()
            await fast.rest()
            assert fast.text == text
            body = (await reader.read()).decode()
            writer.close()
            assert body.count("[DONE]") == 1
            assert "19999 " in body
        assert (await stored(client, fast.message_id))["content"] == text


async def slow_reader(
    client: httpx.AsyncClient, message_id: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Join a reply over a socket with small buffers, and read nothing yet."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    url = client.base_url
    await asyncio.get_running_loop().sock_connect(sock, (url.host, url.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    writer.write(
        f"GET /v1/chat/messages/{message_id}/stream HTTP/1.1\r\nhost: {url.netloc.decode()}\r\n"
        "connection: close\r\n\r\n".encode()
    )
    await writer.drain()
    return reader, writer


async def no_followers(client: httpx.AsyncClient, message_id: int, but: int = 0) -> None:
    """Return once the server has noticed who left (or came)."""
    while engine_of(client).running[message_id].followers != but:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_a_stream_carries_no_text_of_another_conversation(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(*(openai.reply(f"reply {n} ", "end") for n in range(8)))
    async with live(providers=[provider(openai)]) as client:
        ids = [await create(client) for _ in range(8)]

        async def text(id_: str) -> str:
            async with streaming(client, id_) as stream:
                await stream.rest()
                return stream.text

        texts = await asyncio.gather(*map(text, ids))
        for id_, told in zip(ids, texts, strict=True):
            assert (await history(client, id_))[-1]["content"] == told
        assert len(set(texts)) == 8


async def test_the_error_of_a_refused_stream_names_the_stored_messages(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    openai.play(openai.status(401))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        body = (await say(client, id_, stream=True)).json()
        user, reply = await history(client, id_)
        assert (body["conversation_id"], body["user_message_id"], body["assistant_message_id"]) == (
            id_,
            user["id"],
            reply["id"],
        )


async def test_an_unknown_conversation_is_a_404_before_any_frame(
    openai: OpenAIUpstream, live: LiveServer
) -> None:
    async with live(providers=[provider(openai)]) as client:
        response = await client.post(
            f"{CONVERSATIONS}/00000000-0000-4000-8000-000000000000/messages",
            json={"content": "Hi", "stream": True},
        )
        assert response.status_code == 404


@pytest.mark.parametrize("on_disconnect", ["continue", "cancel"])
async def test_a_client_that_leaves_leaves_nothing_behind_for_the_garbage_collector(
    openai: OpenAIUpstream, live: LiveServer, on_disconnect: str
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.reply_when(go_on, "a", "b"))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        gc.disable()
        try:
            async with streaming(client, id_, on_disconnect=on_disconnect) as stream:
                await stream.until("a")
                generation = weakref.ref(engine_of(client).running[stream.message_id])
            if on_disconnect == "continue":
                go_on.set()
            async with asyncio.timeout(20):
                # Its prompt and its text go with it.
                while generation() is not None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()
