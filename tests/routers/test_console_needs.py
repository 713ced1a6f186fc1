"""What the console asks for and every other client may: costs before sending, what runs, users."""

import asyncio
from typing import Any

import httpx
import pytest

from proxy.database import Database
from tests.conftest import LiveServer, client_of, make_settings, running_app
from tests.fakes.openai_upstream import OpenAIUpstream

ADMIN = {"Authorization": "Bearer sk-operator-0123456789"}


async def begin(client: httpx.AsyncClient, **fields: Any) -> str:
    answer = await client.post("/v1/chat/conversations", json=fields)
    return str(answer.json()["conversation_id"])


async def test_what_a_message_would_send_is_counted_and_nothing_is_stored(
    client: httpx.AsyncClient,
) -> None:
    id_ = await begin(client, system_prompt="Be short")
    await client.post(f"/v1/chat/conversations/{id_}/messages", json={"content": "Hello"})
    before = (await client.get(f"/v1/chat/conversations/{id_}/messages")).json()
    document = await client.post(
        "/v1/plan/documents", json={"category_id": 5, "filename": "a.md", "content": "word " * 50}
    )
    path = f"/v1/chat/conversations/{id_}/input-tokens"
    plain = (await client.post(path, json={"content": "And now?"})).json()
    assert plain["model"] == "echo"
    assert plain["context_tokens"] == 128_000
    assert plain["tokens"]["documents"] == plain["tokens"]["source_code"] == 0
    assert plain["tokens"]["system_prompt"] == 2
    assert plain["tokens"]["history"] > 20
    with_document = (
        await client.post(path, json={"content": "And now?", "documents": [document.json()["id"]]})
    ).json()
    assert with_document["tokens"]["documents"] >= 50
    more = with_document["input_tokens"] - plain["input_tokens"]
    assert abs(more - with_document["tokens"]["documents"]) <= 4
    after = (await client.get(f"/v1/chat/conversations/{id_}/messages")).json()
    assert after == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"content": " "}, 422),
        ({"content": "x", "documents": [999]}, 404),
        ({"content": "x", "attach": {"source_code": {}}}, 409),
    ],
)
async def test_what_cannot_be_sent_cannot_be_counted(
    client: httpx.AsyncClient, body: Any, status: int
) -> None:
    id_ = await begin(client)
    answer = await client.post(f"/v1/chat/conversations/{id_}/input-tokens", json=body)
    assert answer.status_code == status
    unknown = await client.post("/v1/chat/conversations/none/input-tokens", json={"content": "x"})
    assert unknown.status_code == 404


async def test_messages_after_one_are_listed_across_pages(database: Database) -> None:
    settings = make_settings(tail_messages=4)
    async with running_app(database, settings) as app, client_of(app) as client:
        id_ = await begin(client, system_prompt="Be short")
        path = f"/v1/chat/conversations/{id_}/messages"
        for number in range(12):
            await client.post(path, json={"content": f"number {number}"})
        listed = (await client.get(path)).json()["messages"]
        for at, message in enumerate(listed):
            for limit in (1, 3, 100):
                found = await client.get(path, params={"after": message["id"], "limit": limit})
                expected = listed[at + 1 :][:limit]
                assert [m["id"] for m in found.json()["messages"]] == [m["id"] for m in expected]
        both = await client.get(path, params={"after": 1, "before": 2})
        assert both.status_code == 422


async def test_running_replies_are_listed_until_they_end(live: LiveServer) -> None:
    async with OpenAIUpstream() as upstream:
        go_on = asyncio.Event()
        upstream.play(upstream.reply_when(go_on, "half", " done"))
        async with live(openai_base_url=upstream.base_url) as client:
            id_ = await begin(client, name="Slow", model="m")
            path = f"/v1/chat/conversations/{id_}/messages"
            body = {"content": "Hi", "stream": True}
            async with client.stream("POST", path, json=body) as streamed:
                lines = streamed.aiter_lines()
                await anext(lines)
                (running,) = (await client.get("/v1/chat/running-replies")).json()
                assert running["conversation_id"] == id_
                assert running["conversation_name"] == "Slow"
                assert (running["provider"], running["model"]) == ("openai", "m")
                go_on.set()
                async for _ in lines:
                    pass
            assert (await client.get("/v1/chat/running-replies")).json() == []
            status = (await client.get("/v1/status")).json()
            (provider,) = status["providers"]
            assert provider["last_answer"]["status"] == "complete"
            assert status["database"]["conversations"] == 1
            assert [worker["id"] for worker in status["workers"]] == [running["worker"]]


async def test_the_default_model_and_what_is_configured_of_models_are_listed(
    mock: Database,
) -> None:
    table = {"fast": {"route": ["echo/echo"], "context_tokens": 9_000, "points_per_request": 7}}
    async with running_app(mock, make_settings(models=table)) as app, client_of(app) as client:
        listed = (await client.get("/v1/models")).json()
        assert listed["default_model"] == "echo"
        fast = next(model for model in listed["data"] if model["id"] == "fast")
        assert (fast["context_tokens"], fast["points_per_request"]) == (9_000, 7)
        assert "route" not in fast
        assert (await client.get("/v1/models/fast")).json() == fast


async def test_users_are_made_changed_and_removed(wire: Database) -> None:
    settings = make_settings(api_keys="sk-operator-0123456789")
    async with running_app(wire, settings) as app, client_of(app) as client:
        body = {"name": "Wang", "password": "a long sentence", "owner": "wang"}
        made = (await client.post("/v1/users", json=body, headers=ADMIN)).json()
        assert (made["name"], made["owner"]) == ("Wang", "wang")
        assert "password" not in str(made)
        twice = await client.post("/v1/users", json=body, headers=ADMIN)
        assert twice.status_code == 409
        short = await client.post("/v1/users", json={**body, "password": "x"}, headers=ADMIN)
        assert short.status_code == 422
        login = {"userName": "wang", "password": "a long sentence"}
        assert (await client.post("/v1/auth/login", json=login)).status_code == 200
        assert (await client.get("/v1/users")).status_code == 403
        path = f"/v1/users/{made['id']}"
        new = {"password": "another long sentence"}
        changed = await client.put(path, json=new, headers=ADMIN)
        assert changed.json() == {"message": "User updated"}
        assert (await client.get("/v1/auth/me")).status_code == 401
        assert (await client.post("/v1/auth/login", json=login)).status_code == 401
        assert (await client.delete(path, headers=ADMIN)).json() == {"message": "User deleted"}
        assert (await client.get("/v1/users", headers=ADMIN)).json() == []
        assert (await client.delete(path, headers=ADMIN)).status_code == 404


async def test_an_admin_sees_and_makes_users_of_the_same_owner_only(mock: Database) -> None:
    settings = make_settings(api_keys="sk-operator-0123456789")
    async with running_app(mock, settings) as app, client_of(app) as client:
        for owner in ("ada", "eve"):
            body = {"name": owner, "password": "a long sentence", "owner": owner}
            await client.post("/v1/users", json=body, headers=ADMIN)
        key = {"name": "k", "owner": "ada", "scopes": ["admin"]}
        made = (await client.post("/v1/keys", json=key, headers=ADMIN)).json()
        ada = {"Authorization": f"Bearer {made['key']}"}
        listed = (await client.get("/v1/users", headers=ada)).json()
        assert [user["name"] for user in listed] == ["ada"]
        all_users = (await client.get("/v1/users", headers=ADMIN)).json()
        eve = next(user for user in all_users if user["name"] == "eve")
        foreign = await client.delete(f"/v1/users/{eve['id']}", headers=ada)
        assert foreign.status_code == 404
        body = {"name": "x", "password": "a long sentence", "owner": "eve"}
        refused = await client.post("/v1/users", json=body, headers=ada)
        assert refused.status_code == 403
