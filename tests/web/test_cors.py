"""Web pages of other origins: which may read our answers, and what a preflight says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from proxy.database import Database
from tests.conftest import client_of, make_settings, running_app

LIST = "/v1/chat/conversations"
PAGE = "http://localhost:5173"
LISTED = "https://chat.example"


@asynccontextmanager
async def server(database: Database, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with running_app(database, make_settings(**settings)) as app, client_of(app) as client:
        yield client


def preflight(origin: str, method: str = "PUT") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,x-conversation-id",
    }


@pytest.mark.parametrize("origin", [PAGE, "http://127.0.0.1:3000", "http://[::1]:80"])
async def test_without_keys_any_page_of_this_machine_may_read(mock: Database, origin: str) -> None:
    async with server(mock) as client:
        asked = await client.options(LIST, headers=preflight(origin))
        answer = await client.get(LIST, headers={"Origin": origin})
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == origin
    assert "PUT" in asked.headers["access-control-allow-methods"]
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]


async def test_a_page_from_elsewhere_may_not(mock: Database) -> None:
    async with server(mock) as client:
        asked = await client.options(LIST, headers=preflight("https://attacker.example"))
        answer = await client.get(LIST, headers={"Origin": "https://attacker.example"})
    for response in (asked, answer):
        assert response.status_code == 403
        assert "PROXY_CORS_ORIGINS" in response.json()["detail"]
        assert "access-control-allow-origin" not in response.headers


async def test_with_keys_only_listed_pages_may_read(mock: Database) -> None:
    key = {"Authorization": "Bearer sk-1"}
    async with server(mock, api_keys="sk-1", cors_origins=f"{LISTED}/") as client:
        asked = await client.options(LIST, headers=preflight(LISTED))
        answer = await client.get(LIST, headers={"Origin": LISTED, **key})
        elsewhere = "https://elsewhere.example"
        other = await client.get(LIST, headers={"Origin": elsewhere, **key})
        other_asked = await client.options(LIST, headers=preflight(elsewhere))
    assert asked.headers["access-control-allow-origin"] == LISTED
    assert answer.headers["access-control-allow-origin"] == LISTED
    assert other_asked.status_code == 403
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("origin", [PAGE, "http://127.0.0.1:3000"])
async def test_with_keys_a_page_of_this_machine_may_still_send_one(
    mock: Database, origin: str
) -> None:
    async with server(mock, api_keys="sk-1") as client:
        asked = await client.options(LIST, headers=preflight(origin))
        refused = await client.get(LIST, headers={"Origin": origin})
        key = {"Origin": origin, "Authorization": "Bearer sk-1"}
        answer = await client.get(LIST, headers=key)
    assert (asked.status_code, refused.status_code, answer.status_code) == (200, 401, 200)
    for response in (asked, refused, answer):
        assert response.headers["access-control-allow-origin"] == origin
        assert response.headers["access-control-allow-credentials"] == "true"


async def test_a_page_reads_errors_too(mock: Database) -> None:
    async with server(mock, api_keys="sk-1", cors_origins=LISTED) as client:
        refused = await client.get(LIST, headers={"Origin": LISTED})
        missing = await client.get(
            f"{LIST}/none", headers={"Origin": LISTED, "Authorization": "Bearer sk-1"}
        )
    assert (refused.status_code, missing.status_code) == (401, 404)
    for response in (refused, missing):
        assert response.headers["access-control-allow-origin"] == LISTED
        assert response.headers["x-request-id"]


async def test_everybodys_page_never_asks_as_the_person_logged_in(mock: Database) -> None:
    async with server(mock, api_keys="sk-1", cors_origins="*") as client:
        answer = await client.get(
            LIST, headers={"Origin": "https://x.example", "Authorization": "Bearer sk-1"}
        )
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


async def test_without_an_origin_nothing_is_added(mock: Database) -> None:
    async with server(mock) as client:
        answer = await client.get(LIST)
    assert not [name for name in answer.headers if name.startswith("access-control")]
