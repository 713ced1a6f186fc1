"""Two server processes on one database: what a key may do holds over both."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from proxy.database import Database
from tests.support.clients import client_at
from tests.support.command import running
from tests.support.keys import ADMIN, bearer, status, until

pytestmark = pytest.mark.slow


async def test_a_keys_limits_and_life_hold_over_two_processes(
    tmp_path: Path, wire: Database, wire_uri: str
) -> None:
    variables = {
        "PROXY_MONGODB_URI": wire_uri,
        "PROXY_MONGODB_DATABASE": wire.database.name,
        "PROXY_API_KEYS": ADMIN,
    }
    with (
        running(tmp_path, **variables) as (one, _),
        running(tmp_path, **variables) as (other, _),
    ):
        async with (
            client_at(one) as here,
            client_at(other) as there,
        ):
            body = {"name": "laptop", "requests_per_minute": 40}
            created = (await here.post("/v1/keys", json=body, headers=bearer(ADMIN))).json()
            key, path = created["key"], f"/v1/keys/{created['id']}"
            answers = [status((here, there)[n % 2], key) for n in range(100)]
            assert Counter(await asyncio.gather(*answers)) == Counter({200: 40, 429: 60})

            rotated = (await there.post(f"{path}/rotate", headers=bearer(ADMIN))).json()["key"]
            assert await status(there, key) == 401
            await until(lambda: status(here, key), 401)
            assert {await status(here, rotated), await status(there, rotated)} <= {200, 429}

            await here.delete(path, headers=bearer(ADMIN))
            assert await status(here, rotated) == 401
            await until(lambda: status(there, rotated), 401)
