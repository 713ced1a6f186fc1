"""Owners are walls, and a key finds what its scopes let it read."""

from typing import Any

import httpx
import pytest

from proxy.caller import Scope
from proxy.database import Database
from tests.support.keys import bearer, locked, make_key
from tests.support.replies import CONVERSATIONS
from tests.support.searching import SEARCH


async def key(owner: str, *scopes: Scope) -> dict[str, str]:
    return bearer(await make_key(owner, "+".join(scopes), scopes=list(scopes)))


async def fill(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    created = await client.post(CONVERSATIONS, json={"name": "needle"}, headers=headers)
    id_ = created.json()["conversation_id"]
    for path, body in (
        (f"{CONVERSATIONS}/{id_}/messages", {"content": "needle"}),
        ("/v1/projects", {"name": "needle"}),
        (
            "/v1/plan/documents",
            {
                "project_id": 1,
                "category_id": 2,
                "filename": "needle.md",
                "content": "needle",
                "version": 1,
                "source": "user",
            },
        ),
    ):
        response = await client.post(path, json=body, headers=headers)
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("sort", ["newest", "relevance"])
async def test_nobody_finds_what_is_somebody_elses(wire: Database, sort: str) -> None:
    async with locked(wire) as client:
        ada, bob = await key("ada", "admin"), await key("bob", "admin")
        await fill(client, ada)
        asked: dict[str, Any] = {"q": "needle", "sort": sort, "revisions": True, "versions": "all"}
        for headers, count in ((ada, {"newest": 5, "relevance": 3}[sort]), (bob, 0)):
            response = await client.get(SEARCH, params=asked, headers=headers)
            assert response.status_code == 200, response.text
            body = response.json()
            assert (len(body["results"]), body["next"], body["complete"]) == (count, None, True)
            if not count:
                assert body["scanned"] == 0


async def test_a_key_finds_what_its_scopes_let_it_read(wire: Database) -> None:
    async with locked(wire) as client:
        await fill(client, await key("ada", "admin"))

        async def kinds(headers: dict[str, str], **parameters: str) -> set[str] | int:
            response = await client.get(
                SEARCH, params={"q": "needle", **parameters}, headers=headers
            )
            if response.status_code != 200:
                assert response.json()["detail"]
                return response.status_code
            return {result["type"] for result in response.json()["results"]}

        chat, plan = await key("ada", "chat"), await key("ada", "plan")
        project = await key("ada", "project")
        assert await kinds(chat) == {"message", "conversation"}
        assert await kinds(plan) == {"document"}
        assert await kinds(project) == {"project"}
        assert await kinds(chat, **{"in": "documents"}) == 403
        assert await kinds(plan, **{"in": "documents,messages"}) == 403
        assert await kinds({}) == 401
