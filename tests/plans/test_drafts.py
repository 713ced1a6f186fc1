"""A document that was paid for is never lost and never doubled, on however many workers."""

import asyncio
from typing import Any

import pytest

from proxy.documents.plan_document import PlanDocument
from proxy.documents.plan_draft import PlanDraft
from proxy.errors import UpstreamRateLimited
from proxy.streaming.leases import recover_worker
from tests.conftest import LiveServer
from tests.support.drafts import checkpointed, ended, generate, history, writing
from tests.support.heard_calls import HeardCalls
from tests.support.listening_model import Listener
from tests.support.outage import breakable
from tests.support.plans import DOCUMENTS, conversation, frames, latest
from tests.support.replies import engine_of

TEXT = "# 计划\n第一步"


@pytest.fixture
def listener() -> Listener:
    return Listener("# 计划\n", "第一步")


# Once


@pytest.mark.parametrize("stream", [False, True])
async def test_copies_at_the_same_moment_on_two_workers_happen_once(
    live: LiveServer, listener: Listener, stream: bool
) -> None:
    listener.gate.clear()
    settings = {"providers": [listener], "checkpoint_seconds": 0.1}
    async with live(**settings) as one, live(**settings) as other:
        copies = [
            asyncio.create_task(generate(client, "k", stream=stream)) for client in (one, other) * 6
        ]
        while not listener.requests:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        listener.gate.set()
        answers = await asyncio.gather(*copies)
        assert {answer.status_code for answer in answers} == {200}
        if stream:
            told = [frames(answer.text) for answer in answers]
            assert {each[0]["session_id"] for each in told} == {told[0][0]["session_id"]}
            for each in told:
                assert "".join(frame["content"] for frame in each[1:]) == TEXT
                assert each[-2] == {"content": "", "finish_reason": "stop"}
                assert each[-1] == told[0][-1]
        else:
            assert {answer.text for answer in answers} == {answers[0].text}
            assert answers[0].json()["content"] == TEXT
        assert [document["version"] for document in await history(one)] == [1]
    assert len(listener.requests) == 1


async def test_a_key_used_with_another_body_is_refused(
    live: LiveServer, listener: Listener
) -> None:
    async with live(providers=[listener]) as client:
        first = await generate(client, "k")
        assert (await generate(client, "k")).json() == first.json()
        response = await generate(client, "k", filename="other.md")
        assert response.status_code == 422
        assert response.json()["error"]["code"] == "idempotency_key_reused"
        assert (await generate(client, "other")).json()["version"] == 2
    assert len(listener.requests) == 2


async def test_a_failure_is_answered_again_under_its_key(
    live: LiveServer, listener: Listener
) -> None:
    listener.failure = UpstreamRateLimited
    listener.pieces = ("x",)
    async with live(providers=[listener]) as client:
        answers = [await generate(client, "k") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [429, 429]
        assert answers[0].json()["error"]["type"] == "rate_limit_error"
        assert answers[1].json()["error"]["type"] == "rate_limit_error"
        streamed = [await generate(client, "s", stream=True) for _ in range(2)]
        assert frames(streamed[0].text)[-1]["error"]["type"] == "rate_limit_error"
        # Nothing has begun: what is known before the stream begins is an HTTP error.
        assert streamed[1].status_code == 429
        assert await history(client) == []
    assert len(listener.requests) == 2


async def test_the_key_of_a_document_that_was_deleted_can_be_sent_again(
    live: LiveServer, listener: Listener
) -> None:
    async with live(providers=[listener]) as client:
        first = (await generate(client, "k")).json()
        await client.delete(f"{DOCUMENTS}/{first['id']}")
        second = (await generate(client, "k")).json()
        assert second["id"] > first["id"]
        assert second["content"] == TEXT
    assert len(listener.requests) == 2


# Stop and leave


async def test_a_stop_from_another_worker(live: LiveServer, listener: Listener) -> None:
    listener.gate.clear()
    async with live(providers=[listener]) as one, live(providers=[listener]) as other:
        async with writing(one) as session:
            body = {"session_id": session}
            stop = await other.post("/v1/chat/stop-stream", json=body)
            assert stop.status_code == 200
            (document,) = await history(other)
            assert document["content"] == "# 计划\n"
            assert document["provenance"]["status"] == "stopped"
        assert (await other.post("/v1/chat/stop-stream", json=body)).status_code == 404


@pytest.mark.parametrize("stream", [False, True])
async def test_on_disconnect_cancel_stops_the_model_and_keeps_the_text_so_far(
    live: LiveServer, listener: Listener, stream: bool
) -> None:
    listener.gate.clear()
    async with live(providers=[listener]) as client:
        turn = asyncio.create_task(generate(client, stream=stream, on_disconnect="cancel"))
        while not any(g.has_begun for g in engine_of(client).running.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        await ended(client)
        (document,) = await history(client)
        assert document["provenance"]["status"] == "stopped"


async def test_a_document_outlives_the_conversation_it_is_made_of(
    live: LiveServer, listener: Listener
) -> None:
    async with live(providers=[listener]) as client:
        base = await conversation(client)
        await client.post(f"{base}/messages", json={"content": "需求"})
        listener.gate.clear()
        source: dict[str, Any] = {"content": None, "conversation_id": base.rpartition("/")[2]}
        async with writing(client, **source):
            assert (await client.delete(base)).status_code == 200
            listener.gate.set()
            await ended(client)
        (document,) = await history(client)
        assert document["content"] == TEXT
        assert "status" not in document["provenance"]


async def test_its_tokens_are_counted_for_its_project(live: LiveServer, listener: Listener) -> None:
    async with live(providers=[listener]) as client:
        calls = HeardCalls(engine_of(client).completions)
        await generate(client, project_id=7)
    assert [call.project_id for call in calls] == [7]


# Crashes


async def test_the_text_of_a_dead_worker_becomes_a_version_that_says_so(
    live: LiveServer, listener: Listener
) -> None:
    listener.gate.clear()
    settings = {"providers": [listener], "checkpoint_seconds": 0.1}
    async with live(**settings) as one, live(**settings) as other:
        async with writing(one) as session:
            await checkpointed(session)
            await asyncio.gather(*(recover_worker(engine_of(one).worker_id) for _ in range(4)))
            used = (await other.get("/v1/usage")).json()["total"]
            assert (used["requests"], used["errors"]) == (1, 1)
            (document,) = await history(other)
            assert document["content"] == "# 计划\n"
            assert document["provenance"] == {
                "category_id": 5,
                "model": "m",
                "provider": "listener",
                "status": "interrupted",
            }
            # It was taken for dead by mistake: the whole text comes beside the part.
            listener.gate.set()
            await ended(one)
        whole, part = await history(other)
        assert (whole["content"], part["content"]) == (TEXT, "# 计划\n")
        assert "status" not in whole["provenance"]
        assert (await latest(other))["items"][0]["id"] == whole["id"]


async def test_a_copy_of_what_a_crash_cut_is_told_so(live: LiveServer, listener: Listener) -> None:
    listener.gate.clear()
    settings = {"providers": [listener], "checkpoint_seconds": 0.1}
    async with live(**settings) as one, live(**settings) as other:
        turn = asyncio.create_task(generate(one, "k"))
        while not engine_of(one).running:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        (session,) = engine_of(one).running
        await checkpointed(str(session))
        await recover_worker(engine_of(one).worker_id)
        answer = await generate(other, "k")
        assert answer.status_code == 503
        (document,) = await history(other)
        assert answer.json()["document_id"] == document["id"]
        listener.gate.set()
        await turn


async def test_a_crash_between_the_version_and_its_draft_makes_no_second_version(
    live: LiveServer, listener: Listener
) -> None:
    async with live(providers=[listener]) as client:
        document = (await generate(client, "k")).json()
        await PlanDraft.collection().update_one(
            {"document_id": document["id"]},
            {
                "$set": {
                    "status": "streaming",
                    "worker": "dead",
                    "content": "# 计",
                    "file": {"project_id": 0, "category_id": 5, "filename": "计划.md"},
                    "provenance": {},
                    "is_stored": False,
                }
            },
        )
        await recover_worker("dead")
        assert [each["id"] for each in await history(client)] == [document["id"]]
        assert (await generate(client, "k")).json()["content"] == TEXT
    assert len(listener.requests) == 1


async def test_a_shutdown_stores_what_had_arrived(live: LiveServer, listener: Listener) -> None:
    listener.gate.clear()
    async with live(providers=[listener], shutdown_grace_seconds=0) as client:
        async with writing(client):
            await engine_of(client).shutdown()
        (document,) = await history(client)
        assert document["content"] == "# 计划\n"
        assert document["provenance"]["status"] == "interrupted"
        assert (await generate(client)).status_code == 503


async def test_a_database_that_is_down_at_the_end_does_not_cost_the_document(
    live: LiveServer, listener: Listener, wire_uri: str
) -> None:
    listener.gate.clear()
    async with breakable(wire_uri) as (line, own):
        settings = {"storage_retry_seconds": 60, "lease_seconds": 120}
        async with live(providers=[listener], database=own, **settings) as client:
            turn = asyncio.create_task(generate(client))
            while not listener.requests:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            line.cut_off()
            listener.gate.set()
            await asyncio.sleep(0.2)
            line.mend()
            assert (await turn).json()["content"] == TEXT
            (document,) = await history(client)
            assert document["content"] == TEXT
            assert await PlanDocument.collection().count_documents({}) == 1
