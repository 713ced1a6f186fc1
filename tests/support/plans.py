"""Plan documents as a client writes and reads them."""

import json
from typing import Any

import httpx

from proxy.documents.base import Raw

DOCUMENTS = "/v1/plan/documents"


async def save(client: httpx.AsyncClient, filename: str = "a.md", **fields: Any) -> Raw:
    body = {"project_id": 1, "category_id": 2, "content": "x", "filename": filename, **fields}
    response = await client.post(DOCUMENTS, json=body)
    assert response.status_code == 200, response.text
    document: Raw = response.json()
    return document


async def latest(client: httpx.AsyncClient, **params: Any) -> Raw:
    response = await client.get(f"{DOCUMENTS}/latest", params=params)
    assert response.status_code == 200, response.text
    page: Raw = response.json()
    return page


PROJECT = "/v1/projects/1/document-references"


async def conversation(client: httpx.AsyncClient, **fields: Any) -> str:
    response = await client.post("/v1/chat/conversations", json=fields)
    return f"/v1/chat/conversations/{response.json()['conversation_id']}"


async def refer(client: httpx.AsyncClient, url: str, *ids: int) -> Raw:
    response = await client.post(url, json={"document_ids": ids})
    assert response.status_code == 200, response.text
    answer: Raw = response.json()
    return answer


GENERATE = f"{DOCUMENTS}/generate"


def frames(body: str) -> list[Any]:
    blocks = [block for block in body.split("\n\n") if block and not block.startswith(":")]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    assert blocks[-1] == "data: [DONE]"
    return [json.loads(block[6:]) for block in blocks[:-1]]
