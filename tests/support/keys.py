"""Keys and clients of the security tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from proxy.database import Database
from proxy.documents.api_key import ApiKey
from tests.conftest import client_of, make_settings, running_app

ADMIN = "an-operator-key-of-the-settings"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@asynccontextmanager
async def locked(database: Database, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client, without a key of its own, of an application that `ADMIN` opens."""
    settings = {"api_keys": [ADMIN], **settings}
    async with running_app(database, make_settings(**settings)) as app, client_of(app) as client:
        client.app = app  # type: ignore[attr-defined]
        yield client


@asynccontextmanager
async def two_workers(
    database: Database, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Clients of two applications on one database; each has its own caches and counts."""
    async with locked(database, **settings) as one, locked(database, **settings) as other:
        yield one, other


async def make_key(owner: str = "default", name: str = "test", **fields: Any) -> str:
    """A key straight into the database of the running application."""
    fields.setdefault("scopes", ["chat", "plan", "project"])
    secret, _ = await ApiKey.create_new(owner, name, **fields)
    return secret


async def status(client: httpx.AsyncClient, key: str, path: str = "/v1/models") -> int:
    return await status_of(client, path, bearer(key))


async def status_of(
    client: httpx.AsyncClient, path: str, headers: dict[str, str] | None = None
) -> int:
    return (await client.get(path, headers=headers)).status_code


async def until(answer: Callable[[], Awaitable[int]], expected: int) -> None:
    """Ask until the status is the expected one; the limit only ends a wait without an end."""
    async with asyncio.timeout(60):
        while await answer() != expected:  # noqa: ASYNC110 - only the other side knows
            await asyncio.sleep(0.05)
