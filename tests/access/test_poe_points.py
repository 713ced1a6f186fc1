"""Points of Poe: what a reply cost, as Poe counts it, and what is left."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from proxy import metrics
from proxy.access.poe_points import MATCH_SECONDS, Asked, matched
from proxy.database import Database
from proxy.providers.poe_account import PAGE_ENTRIES, Query
from proxy.setting_types import ModelSettings
from tests.conftest import client_of, make_settings, running_app
from tests.fakes.poe_upstream import PoeUpstream, event
from tests.support.keys import bearer, locked, make_key
from tests.support.replies import MODEL, create, provider, say, stored


def query(id_: str, at: float, points: float = 1, bot: str = "a") -> Query:
    return Query(id_, bot, at, points)


def test_the_only_query_in_reach_is_certain() -> None:
    found = matched([Asked("a", 100)], [query("x", 101), query("y", 101, bot="b")])
    assert found == {0: (query("x", 101), True)}


def test_two_that_could_be_meant_are_matched_by_time_and_not_certain() -> None:
    queries = [query("late", 104), query("early", 101)]
    found = matched([Asked("a", 100), Asked("a", 103.5)], queries)
    assert found == {0: (queries[1], False), 1: (queries[0], False)}


def test_a_query_of_another_program_makes_it_uncertain() -> None:
    found = matched([Asked("a", 100)], [query("x", 100.1), query("other", 110)])
    assert found == {0: (query("x", 100.1), False)}


def test_a_running_reply_keeps_its_own_query() -> None:
    found = matched([Asked("a", 100)], [query("x", 104)], rivals=[Asked("a", 104)])
    assert found == {}


def test_what_is_too_far_away_is_no_match() -> None:
    assert matched([Asked("a", 100)], [query("x", 101 + MATCH_SECONDS)]) == {}


async def until(look: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not look():  # noqa: ASYNC110 - what it looks at is in another process's reach
            await asyncio.sleep(0.01)


@pytest.fixture
def options() -> dict[str, Any]:
    return {"poe_points_seconds": 0.05}


async def points_of(client: httpx.AsyncClient, message_id: int) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while "points" not in (message := await stored(client, message_id)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return message


async def test_a_reply_gets_the_points_that_poe_counted(
    mock: Database, options: dict[str, Any]
) -> None:
    prices = {MODEL: ModelSettings(points_per_request=15)}
    async with PoeUpstream() as upstream:
        upstream.balance = 1_500
        upstream.play(upstream.reply("Hello"))
        async with (
            running_app(
                mock, make_settings(models=prices, **options), providers=[provider(upstream)]
            ) as app,
            client_of(app) as client,
        ):
            id_ = await create(client)
            answer = (await say(client, id_)).json()
            now = time.time()
            # An older page of another program's, and a chat in Poe's own app.
            upstream.history = [
                {**upstream.query_of("chat1", now, 9), "usage_type": "Chat"},
                upstream.query_of("mine1", now, 42, bot="Test-Model"),
                *(upstream.query_of(f"old{i}", now - 60 - i, 1) for i in range(PAGE_ENTRIES)),
            ]
            upstream.balance = 1_458
            message = await points_of(client, answer["assistant_message_id"])
            assert (message["points"], message["points_certain"]) == (42, True)
            await until(lambda: app.state.poe_points.balances()[0]["points"] == 1_458)
            await app.state.usage.flush()
            usage = (await client.get("/v1/usage")).json()
            assert usage["total"]["points"] == 42
            assert [(each["provider"], each["points"]) for each in usage["balance"]] == [
                ("poe", 1_458)
            ]
            assert metrics.POE_BALANCE.cells["poe",] == [1_458]
            await say(client, id_, "again")
            again = await client.post(f"/v1/chat/messages/{message['id']}/regenerate")
            assert again.status_code == 200
            assert "points" not in await stored(client, message["id"])


async def test_a_stateless_call_is_counted_too(mock: Database, options: dict[str, Any]) -> None:
    async with PoeUpstream() as upstream:
        upstream.balance = 7
        upstream.play(upstream.reply("Hello"))
        upstream.history = [upstream.query_of("q1", time.time(), 5)]
        async with (
            running_app(mock, make_settings(**options), providers=[provider(upstream)]) as app,
            client_of(app) as client,
        ):
            body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
            async with asyncio.timeout(20):
                while (await client.get("/v1/usage")).json()["total"]["points"] != 5:
                    await app.state.usage.flush()
                    await asyncio.sleep(0.01)


async def test_an_upstream_without_accounts_is_asked_once(
    mock: Database, options: dict[str, Any]
) -> None:
    async with PoeUpstream() as upstream:
        upstream.play(upstream.reply("Hello"))
        async with (
            running_app(mock, make_settings(**options), providers=[provider(upstream)]) as app,
            client_of(app) as client,
        ):
            answer = await say(client, await create(client))
            assert answer.json()["reply"] == "Hello"
            assert (await client.get("/v1/usage")).json()["balance"] == []


async def test_the_balance_is_for_the_operator(mock: Database) -> None:
    async with locked(mock) as client:
        for scopes, may_see in ((["chat", "plan", "project"], False), (["admin"], True)):
            key = await make_key("ada", scopes[0], scopes=scopes)
            usage = (await client.get("/v1/usage", headers=bearer(key))).json()
            assert ("balance" in usage) is may_see


async def test_suggested_replies_are_kept_and_given(mock: Database) -> None:
    async with PoeUpstream() as upstream:
        upstream.play(
            upstream.events(
                upstream.text("Hello"),
                event("suggested_reply", {"text": " Tell me more "}),
                event("suggested_reply", {"text": ["odd"]}),
                event("suggested_reply", {"text": "Stop 漢"}),
                upstream.end(),
            )
        )
        wanted = ["Tell me more", "Stop 漢"]
        async with (
            running_app(mock, make_settings(), providers=[provider(upstream)]) as app,
            client_of(app) as client,
        ):
            id_ = await create(client)
            whole = (await say(client, id_)).json()
            assert (whole["reply"], whole["suggestions"]) == ("Hello", wanted)
            message = await stored(client, whole["assistant_message_id"])
            assert (message["content"], message["suggestions"]) == ("Hello", wanted)
            streamed = await say(client, id_, stream=True)
            assert '"suggestions":["Tell me more"' in streamed.text
            body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
            answer = (await client.post("/v1/chat/completions", json=body)).json()
            assert answer["choices"][0]["message"]["suggestions"] == wanted
            answer = await client.post("/v1/chat/completions", json={**body, "stream": True})
            assert '"suggestions":["Tell me more"' in answer.text
