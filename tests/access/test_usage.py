"""Usage: counted once however a reply ended, rolled up, and seen by its owner only."""

import asyncio
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proxy.access.usage import today
from proxy.database import Database
from proxy.documents.base import DEFAULT_OWNER
from proxy.documents.conversation import Conversation
from proxy.documents.message_page import MessagePage
from proxy.documents.usage import BUCKETS_MS, Usage, bucket_of, percentile
from proxy.setting_types import ModelSettings
from proxy.streaming.leases import recover_worker
from tests.conftest import LiveServer
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.scripted import cut, stall
from tests.support.keys import ADMIN, bearer, locked, make_key
from tests.support.replies import MODEL, create, ended, provider, say, stored, streaming


async def usage(client: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    await client.app.state.usage.flush()  # type: ignore[attr-defined]
    response = await client.get("/v1/usage", params=params)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def test_usage_is_grouped_by_day_model_project_and_key(wire: Database) -> None:
    prices = {
        "echo": ModelSettings(
            input_price_per_million_tokens=1000,
            output_price_per_million_tokens=2000,
            points_per_request=15,
        )
    }
    async with locked(wire, models=prices) as client:
        one = bearer(await make_key("ada", "one", scopes=["admin"]))
        two = bearer(await make_key("ada", "two"))
        for headers, project_id in ((one, 7), (one, 7), (two, 0)):
            response = await client.post(
                "/v1/chat/conversations", json={"project_id": project_id}, headers=headers
            )
            path = f"/v1/chat/conversations/{response.json()['conversation_id']}/messages"
            response = await client.post(path, json={"content": "12345678"}, headers=headers)
            assert response.status_code == 200
        body = {"model": "echo", "messages": [{"role": "user", "content": "12345678"}]}
        await client.post("/v1/chat/completions", json=body, headers=two)

        client.headers.update(one)
        by_day = await usage(client)
        assert by_day["from"] == (date.fromisoformat(today()) - timedelta(days=30)).isoformat()
        assert by_day["to"] == today()
        (day,) = by_day["groups"]
        assert day["group"] == today()
        assert day["requests"] == 4
        assert day["errors"] == 0
        assert day["total_tokens"] == day["prompt_tokens"] + day["completion_tokens"] > 0
        assert day["points"] == 60
        spent = day["prompt_tokens"] * 1000 / 1e6 + day["completion_tokens"] * 2000 / 1e6
        assert day["cost"] == pytest.approx(spent, abs=1e-6)
        assert day["duration_ms"]["p50"] <= day["duration_ms"]["p99"]
        assert {key: day[key] for key in by_day["total"]} == by_day["total"]

        by_project = await usage(client, group_by="project")
        assert [(g["group"], g["requests"]) for g in by_project["groups"]] == [(0, 2), (7, 2)]
        by_model = await usage(client, group_by="model")
        assert [(g["group"], g["requests"]) for g in by_model["groups"]] == [("echo/echo", 4)]
        by_key = await usage(client, group_by="key")
        assert sorted((g["name"], g["requests"]) for g in by_key["groups"]) == [
            ("one", 2),
            ("two", 2),
        ]

        client.headers.update(bearer(ADMIN))
        assert (await usage(client))["groups"] == []


async def test_each_ending_is_counted_once(live: LiveServer) -> None:
    async with OpenAIUpstream() as upstream, live(providers=[provider(upstream)]) as client:
        upstream.play(upstream.texts("Hello") + upstream.end())
        await say(client, await create(client))
        upstream.play(upstream.texts("Hel") + cut())
        await say(client, await create(client))
        upstream.play(upstream.texts("Hel") + stall())
        async with streaming(client, await create(client)) as stream:
            await stream.until("Hel")
            id_ = stream.message_id
        await client.post("/v1/chat/stop-stream", json={"session_id": str(id_)})
        await ended(client, id_)
        total = (await usage(client))["total"]
        assert (total["requests"], total["errors"]) == (3, 1)
        assert total["first_token_ms"]["p50"] is not None
        assert (await usage(client))["total"] == total


async def test_replies_of_a_dead_worker_are_counted_under_their_keys(
    wire: Database, live: LiveServer
) -> None:
    async with (
        OpenAIUpstream() as upstream,
        live(providers=[provider(upstream)], api_keys=[ADMIN]) as client,
    ):
        client.headers.update(bearer(await make_key(name="laptop")))
        upstream.play(upstream.texts("Hel") + stall())
        id_ = await create(client, project_id=7)
        async with streaming(client, id_) as one, streaming(client, id_) as two:
            await one.until("Hel")
            await two.until("Hel")
            # The copy that a broken move leaves.
            raw = await Conversation.with_tail(DEFAULT_OWNER, id_)
            page = {
                "_id": f"{id_}:000000",
                "conversation_id": id_,
                "owner": DEFAULT_OWNER,
                "number": 0,
                "first_id": one.message_id,
                "last_id": one.message_id,
                "changes": 0,
            }
            messages = [m for m in raw["messages"] if m["id"] == one.message_id]
            await MessagePage.collection().insert_one({**page, "messages": messages})
            worker = client.app.state.engine.worker_id  # type: ignore[attr-defined]
            # Several workers find out at the same time.
            await asyncio.gather(*(recover_worker(worker) for _ in range(4)))
            found = await usage(client, group_by="key")
            (group,) = found["groups"]
            assert (group["name"], group["requests"], group["errors"]) == ("laptop", 2, 2)
            (group,) = (await usage(client, group_by="project"))["groups"]
            assert (group["group"], group["requests"]) == (7, 2)
            (group,) = (await usage(client, group_by="model"))["groups"]
            assert group["group"] == f"openai/{MODEL}"
            for stream in (one, two):
                message = await stored(client, stream.message_id)
                assert message["status"] == "interrupted"
                assert "key_id" not in message


async def test_what_is_left_is_written_when_the_server_ends(
    wire: Database,
) -> None:
    async with locked(wire) as client:
        body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}
        response = await client.post("/v1/chat/completions", json=body, headers=bearer(ADMIN))
        assert response.status_code == 200
    (stored,) = [raw async for raw in Usage.collection().find({})]
    assert stored["requests"] == 1
    assert stored["owner"] == "default"


async def test_many_at_once_are_all_counted(live: LiveServer, wire: Database) -> None:
    async with live() as client:
        body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}

        async def ask() -> int:
            return (await client.post("/v1/chat/completions", json=body)).status_code

        answers = await asyncio.gather(*(ask() for _ in range(100)))
        assert set(answers) == {200}
        assert (await usage(client))["total"]["requests"] == 100


@pytest.mark.parametrize(
    "params",
    [
        {"from": "2026-02-30"},
        {"from": "yesterday"},
        {"group_by": "owner"},
        {"from": "2026-02-02", "to": "2026-02-01"},
        {"from": "2020-01-01", "to": "2026-01-01"},
        {"to": "0000-00-00"},
    ],
)
async def test_a_wrong_period_is_refused_in_one_sentence(
    client: httpx.AsyncClient, params: dict[str, str]
) -> None:
    response = await client.get("/v1/usage", params=params)
    assert response.status_code == 422
    assert isinstance(response.json()["detail"], str)


async def test_the_first_day_of_all_is_a_day(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/usage", params={"to": "0001-01-01", "from": ""})
    assert response.json()["from"] == "0001-01-01"


@hypothesis_settings(deadline=None)
@given(st.lists(st.integers(0, 1_000_000), min_size=1))
def test_a_percentile_lies_in_the_bucket_of_the_true_one(values: list[int]) -> None:
    buckets: dict[str, int] = {}
    for value in values:
        buckets[bucket_of(value)] = buckets.get(bucket_of(value), 0) + 1
    previous = 0
    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        found = percentile(buckets, share)
        assert found is not None
        assert previous <= found <= BUCKETS_MS[-1]
        previous = found
        rank = max(0, -(-int(share * 100) * len(values) // 100) - 1)
        true = sorted(values)[rank]
        assert abs(int(bucket_of(found)) - int(bucket_of(min(true, BUCKETS_MS[-1])))) <= 1


def test_nothing_has_no_percentile() -> None:
    assert percentile({}, 0.5) is None
