"""Properties that hold for whatever a client sends: paging a history, idempotency keys."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.database import Database
from tests.conftest import client_of, make_settings, running_app

CONVERSATIONS = "/v1/chat/conversations"
TURNS = 12

many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
some = settings(many, max_examples=15)


@pytest.fixture
async def client(wire: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server whose conversations move to pages after a few messages."""
    async with running_app(wire, make_settings(tail_messages=6)) as app, client_of(app) as client:
        yield client


async def create(client: httpx.AsyncClient) -> str:
    response = await client.post(CONVERSATIONS, json={"system_prompt": "系统"})
    return f"{CONVERSATIONS}/{response.json()['conversation_id']}/messages"


@pytest.fixture
async def history(client: httpx.AsyncClient) -> tuple[str, list[int]]:
    """The path and the message ids of a conversation that lies in several pages."""
    path = await create(client)
    for number in range(TURNS):
        await client.post(path, json={"content": f"{number}"})
    return path, [message["id"] for message in (await client.get(path)).json()["messages"]]


@many
@given(limit=st.integers(1, 40))
async def test_walking_back_page_by_page_shows_every_message_once(
    client: httpx.AsyncClient, history: tuple[str, list[int]], limit: int
) -> None:
    path, ids = history
    assert len(ids) == 1 + 2 * TURNS
    seen: list[int] = []
    params: dict[str, Any] = {"limit": limit}
    while page := (await client.get(path, params=params)).json()["messages"]:
        assert len(page) == min(limit, len(ids) - len(seen))
        seen = [message["id"] for message in page] + seen
        params["before"] = page[0]["id"]
    assert seen == ids


@many
@given(before=st.integers(1, 2**63 - 1) | st.integers(1, 60), limit=st.integers(1, 10_000))
async def test_any_cursor_gives_the_last_messages_before_it(
    client: httpx.AsyncClient, history: tuple[str, list[int]], before: int, limit: int
) -> None:
    path, ids = history
    page = (await client.get(path, params={"limit": limit, "before": before})).json()["messages"]
    assert [message["id"] for message in page] == [id_ for id_ in ids if id_ < before][-limit:]


KEYS = st.sampled_from(["a", "b", "A", "x" * 255, '{"$gt": ""}', "a.b", "$where"])


@some
@given(calls=st.lists(st.tuples(KEYS, st.sampled_from(["one", "two"])), min_size=1, max_size=8))
async def test_a_key_happens_once_with_one_body_whatever_the_order(
    client: httpx.AsyncClient, calls: list[tuple[str, str]]
) -> None:
    path = await create(client)
    made: dict[str, tuple[str, Any]] = {}
    for key, content in calls:
        response = await client.post(
            path, json={"content": content}, headers={"Idempotency-Key": key}
        )
        first_content, first_body = made.setdefault(key, (content, response.json()))
        if content == first_content:
            assert response.status_code == 200
            assert response.json() == first_body
        else:
            assert response.status_code == 422
            assert isinstance(response.json()["detail"], str)
    messages = (await client.get(path)).json()["messages"]
    assert len(messages) == 1 + 2 * len(made)


@many
@given(key=st.binary(max_size=300))
async def test_no_idempotency_key_breaks_the_server(client: httpx.AsyncClient, key: bytes) -> None:
    response = await client.post(
        f"{CONVERSATIONS}/unknown/messages",
        json={"content": "Hi"},
        headers=[(b"Idempotency-Key", key)],
    )
    assert response.status_code in (404, 422)
