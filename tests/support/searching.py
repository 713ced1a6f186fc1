"""A client that searches, and conversations that are made in one go."""

from typing import Any

import httpx

from tests.support.replies import CONVERSATIONS

SEARCH = "/v1/search"


async def found(
    client: httpx.AsyncClient, q: str, *, before: str | None = "", **parameters: Any
) -> list[dict[str, Any]]:
    """All results of a search, page after page."""
    results: list[dict[str, Any]] = []
    while before is not None:
        response = await client.get(SEARCH, params={"q": q, **parameters, "before": before})
        assert response.status_code == 200, response.text
        body = response.json()
        results += body["results"]
        before = body["next"]
    return results


async def message_ids(client: httpx.AsyncClient, q: str, **parameters: Any) -> list[int]:
    """The ids of the messages among them."""
    results = await found(client, q, **{"in": "messages", **parameters})
    return [result["message_id"] for result in results]


async def conversation(client: httpx.AsyncClient, texts: list[str], **fields: Any) -> list[int]:
    """The ids of a user's messages in a new conversation; the echo's replies follow them."""
    response = await client.post(CONVERSATIONS, json=fields)
    id_ = response.json()["conversation_id"]
    ids = []
    for text in texts:
        said = await client.post(f"{CONVERSATIONS}/{id_}/messages", json={"content": text})
        assert said.status_code == 200, said.text
        ids.append(said.json()["user_message_id"])
    return ids
