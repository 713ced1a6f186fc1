"""Limits of keys and of the server: exact among workers and under a crowd."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack

import httpx
import pytest

from proxy.caller import CallerInfo
from proxy.database import Database
from proxy.documents.api_key import KeyActivity
from proxy.documents.rate_window import RateWindow
from proxy.streaming.leases import recover_worker
from tests.conftest import LiveServer
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.scripted import wait
from tests.support.keys import ADMIN, bearer, locked, make_key, status, two_workers
from tests.support.outage import breakable
from tests.support.replies import create, ended, provider, streaming

COMPLETION = {"model": "echo", "messages": [{"role": "user", "content": "four words of text"}]}


async def crowd(clients: Sequence[httpx.AsyncClient], key: str, count: int) -> Counter[int]:
    """How many of so many callers at once got which status."""
    tasks = [status(clients[n % len(clients)], key) for n in range(count)]
    return Counter(await asyncio.gather(*tasks))


@pytest.mark.parametrize("limit", [1, 30, 99])
async def test_requests_a_minute_are_exact_for_100_callers_of_two_workers(
    wire: Database, limit: int
) -> None:
    async with two_workers(wire) as clients:
        key = await make_key(requests_per_minute=limit)
        other = await make_key(name="other", requests_per_minute=limit)
        assert await crowd(clients, key, 100) == Counter({200: limit, 429: 100 - limit})
        assert await status(clients[0], other) == 200
        response = await clients[0].get("/v1/models", headers=bearer(key))
        assert 1 <= int(response.headers["retry-after"]) <= 60
        assert response.json()["error"]["type"] == "rate_limit_error"
        assert f"{limit} requests a minute" in response.json()["detail"]


async def test_a_key_without_limits_leaves_no_counters(wire: Database) -> None:
    async with locked(wire) as client:
        key = await make_key()
        assert await crowd([client], key, 20) == Counter({200: 20})
        assert await RateWindow.collection().count_documents({}) == 0


async def test_a_slot_comes_back_after_a_database_that_was_down(wire_uri: str) -> None:
    async with (
        breakable(wire_uri, selection_milliseconds=300) as (line, database),
        locked(database, storage_retry_seconds=60) as client,
    ):
        key = await make_key(streams=1)
        assert await status(client, key) == 200
        (activity,) = [raw async for raw in KeyActivity.collection().find({})]
        slots = client.app.state.slots  # type: ignore[attr-defined]
        slot = await slots.begin_reply(CallerInfo(key_id=activity["_id"], streams=1))
        line.cut_off()
        slots.release(slot)
        await asyncio.sleep(1.5)
        line.mend()
        engine = client.app.state.engine  # type: ignore[attr-defined]
        await asyncio.gather(*engine._tasks)
        assert await KeyActivity.take_slot(activity["_id"], "next", "w", 1)


async def test_the_servers_default_holds_for_a_key_without_its_own(wire: Database) -> None:
    async with locked(wire, key_requests_per_minute=2) as client:
        own = await make_key(name="own", requests_per_minute=0)
        default = await make_key(name="default")
        assert [await status(client, default) for _ in range(3)] == [200, 200, 429]
        assert [await status(client, own) for _ in range(3)] == [200, 200, 200]
        assert [await status(client, ADMIN) for _ in range(3)] == [200, 200, 429]


async def test_tokens_a_day_end_replies_and_nothing_else(wire: Database) -> None:
    async with locked(wire) as client:
        key = await make_key(tokens_per_day=20)
        seen = []
        for _ in range(6):
            response = await client.post(
                "/v1/chat/completions", json=COMPLETION, headers=bearer(key)
            )
            seen.append(response.status_code)
        assert seen[0] == 200
        assert seen[-1] == 429
        assert seen == sorted(seen)
        assert response.json()["error"]["code"] == "insufficient_quota"
        assert 1 <= int(response.headers["retry-after"]) <= 86_400
        assert await status(client, key) == 200
        assert (await client.post("/v1/chat/conversations", headers=bearer(key))).status_code == 200


async def test_tokens_of_another_worker_count(wire: Database) -> None:
    async with two_workers(wire) as (here, there):
        headers = bearer(await make_key(tokens_per_day=5))
        response = await here.post("/v1/chat/completions", json=COMPLETION, headers=headers)
        assert response.status_code == 200
        await here.app.state.usage.flush()  # type: ignore[attr-defined]
        response = await there.post("/v1/chat/completions", json=COMPLETION, headers=headers)
        assert response.status_code == 429


async def test_streams_of_a_key_are_exact_and_come_back(live: LiveServer, wire: Database) -> None:
    gate = asyncio.Event()
    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.texts("Hel") + wait(gate) + upstream.end())
        async with live(providers=[provider(upstream)], api_keys=[ADMIN]) as client:
            client.headers.update(bearer(await make_key(streams=3)))
            ids = [await create(client) for _ in range(10)]

            async def begin(id_: str, stack: AsyncExitStack) -> int:
                stream = await stack.enter_async_context(streaming(client, id_))
                return stream.status

            async with AsyncExitStack() as stack:
                answers = await asyncio.gather(*(begin(id_, stack) for id_ in ids))
                assert Counter(answers) == Counter({200: 3, 429: 7})
            # Whoever leaves, the replies are still being written.
            async with streaming(client, ids[0]) as stream:
                assert stream.status == 429
                assert stream.json()["error"]["code"] == "too_many_streams"
            running = list(client.app.state.engine.running)  # type: ignore[attr-defined]
            assert len(running) == 3
            gate.set()
            for message_id in running:
                await ended(client, message_id)
            for id_ in ids[:3]:
                async with streaming(client, id_) as stream:
                    assert stream.status == 200
                    await stream.rest()


async def test_a_refused_turn_gives_its_slot_back(
    live: LiveServer, wire: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = KeyActivity.free_slot

    async def free_later(key_id: str, slot_id: str) -> None:
        await asyncio.sleep(0.05)
        await free(key_id, slot_id)

    # A client that asks again at once is faster than a busy database.
    monkeypatch.setattr(KeyActivity, "free_slot", free_later)
    async with live(api_keys=[ADMIN], message_bytes=1024) as client:
        client.headers.update(bearer(await make_key(streams=1)))
        id_ = await create(client)
        path = f"/v1/chat/conversations/{id_}/messages"
        for _ in range(3):
            response = await client.post(path, json={"content": "x" * 2048})
            assert response.status_code == 413
            assert (await client.post(path, json={})).status_code == 422


async def test_a_dead_workers_slots_are_freed(wire: Database) -> None:
    async with locked(wire):
        await make_key(streams=1)
        (activity,) = [raw async for raw in KeyActivity.collection().find({})]
        key_id = activity["_id"]
        assert await KeyActivity.take_slot(key_id, "a", "dead:1", 1)
        assert not await KeyActivity.take_slot(key_id, "b", "alive:1", 1)
        await recover_worker("dead:1")
        assert await KeyActivity.take_slot(key_id, "b", "alive:1", 1)


async def test_the_server_writes_no_more_replies_than_it_may(live: LiveServer) -> None:
    gate = asyncio.Event()
    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.texts("Hel") + wait(gate) + upstream.end())
        async with live(providers=[provider(upstream)], streams=2) as client:
            ids = [await create(client) for _ in range(3)]
            async with (
                streaming(client, ids[0]) as one,
                streaming(client, ids[1]) as two,
                streaming(client, ids[2]) as three,
            ):
                assert (one.status, two.status, three.status) == (200, 200, 429)
                assert int(three.response.headers["retry-after"]) >= 1
                assert (await client.get("/v1/models")).status_code == 200
                gate.set()
                await one.rest()
                await two.rest()
            async with streaming(client, ids[2]) as three:
                assert three.status == 200
                await three.rest()


async def test_a_conversation_has_a_named_size(wire: Database) -> None:
    async with locked(wire, conversation_messages=10, tail_messages=4) as client:
        client.headers.update(bearer(ADMIN))
        path = f"/v1/chat/conversations/{await create(client, model='')}/messages"
        answers = [(await client.post(path, json={"content": "Hi"})) for _ in range(7)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [413] * 2
        assert answers[-1].json()["error"]["code"] == "conversation_full"
        assert len((await client.get(path)).json()["messages"]) == 10


async def test_a_page_of_a_list_has_a_named_size(wire: Database) -> None:
    async with locked(wire, page_messages=3) as client:
        client.headers.update(bearer(ADMIN))
        for _ in range(5):
            id_ = await create(client, model="")
        path = f"/v1/chat/conversations/{id_}/messages"
        for _ in range(3):
            await client.post(path, json={"content": "Hi"})
        for asked, given in ((2, 2), (3, 3), (9, 3)):
            page = (await client.get(path, params={"limit": asked})).json()["messages"]
            assert len(page) == given
            listed = await client.get("/v1/chat/conversations", params={"limit": asked})
            assert len(listed.json()) == given
        assert len((await client.get(path)).json()["messages"]) == 6
