"""A plan document while a model writes it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from proxy.documents.base import Raw
from proxy.documents.plan_draft import PlanDraft
from tests.support.plans import DOCUMENTS, GENERATE
from tests.support.replies import engine_of

BODY: Raw = {"filename": "计划.md", "category_id": 5, "content": "需求"}


async def generate(client: httpx.AsyncClient, key: str = "", **fields: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await client.post(GENERATE, json={**BODY, **fields}, headers=headers)


async def history(client: httpx.AsyncClient) -> list[Raw]:
    response = await client.get(f"{DOCUMENTS}/history?project_id=0")
    found: list[Raw] = response.json()
    return found


@asynccontextmanager
async def writing(client: httpx.AsyncClient, key: str = "", **fields: Any) -> AsyncIterator[str]:
    """A streamed document of which the first line has come; its session id."""
    body = {**BODY, "stream": True, **fields}
    headers = {"Idempotency-Key": key} if key else {}
    async with client.stream("POST", GENERATE, json=body, headers=headers) as response:
        received = b""
        async for chunk in response.aiter_raw():
            received += chunk
            if "计划".encode() in received:
                break
        yield str(json.loads(received.split(b"\n\n")[0][6:])["session_id"])


async def checkpointed(session: str) -> None:
    while not (await PlanDraft.collection().find_one({"_id": int(session)}))["content"]:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def ended(client: httpx.AsyncClient) -> None:
    for generation in list(engine_of(client).running.values()):
        await generation.ended.wait()
