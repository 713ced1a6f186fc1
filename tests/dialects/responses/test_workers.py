"""A background response whose worker is killed: another worker goes on from any position."""

import asyncio
import random
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from proxy.database import connect
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.clients import client_at
from tests.support.clock import later
from tests.support.command import Process, running
from tests.support.response_events import events_of, text_in, units

TEXT = "".join(f"{n} 漢😀 " for n in range(200))


@pytest.mark.slow
async def test_a_killed_workers_response_is_followed_elsewhere_and_a_week_later(
    wire_uri: str, tmp_path: Path
) -> None:
    name = f"test_{uuid4().hex[:12]}"
    a_week_later = later(days=7)
    pieces = [TEXT[i : i + 9] for i in range(0, len(TEXT), 9)]
    with ExitStack() as servers:
        async with OpenAIUpstream() as upstream:
            upstream.play(upstream.stall_after(*pieces))
            variables = {
                "PROXY_MONGODB_URI": wire_uri,
                "PROXY_MONGODB_DATABASE": name,
                "OPENAI_BASE_URL": upstream.base_url,
                "OPENAI_API_KEY": "sk-test",
                "PROXY_CHECKPOINT_SECONDS": "0.1",
                "PROXY_LEASE_SECONDS": "2",
            }

            async def start(**clock: str) -> tuple[httpx.AsyncClient, Process]:
                starting = running(tmp_path, "serve", **variables, **clock)
                url, process = await asyncio.to_thread(servers.enter_context, starting)
                return client_at(url), process

            (one, process), (two, other) = await asyncio.gather(start(), start())
            async with one, two:
                body = {"model": "test-model", "input": "x", "background": True}
                made = (await one.post("/v1/responses", json=body)).json()
                where = f"/v1/responses/{made['id']}"
                while True:
                    found = (await two.get(where)).json()
                    if found["output"] and found["output"][0]["content"][0]["text"] == TEXT:
                        break
                    await asyncio.sleep(0.05)
                position = random.Random(8).randrange(len(TEXT))
                following = asyncio.create_task(
                    two.get(f"{where}?stream=true&starting_after={position}")
                )
                process.kill()
                await asyncio.to_thread(process.communicate)
                events = events_of((await following).text)
                assert events[0]["sequence_number"] > position
                assert events[-1]["type"] == "response.failed"
                whole = events_of((await two.get(f"{where}?stream=true")).text)
                assert text_in(whole) == TEXT
                expected = {n: what for n, what in units(whole).items() if n > position}
                # Its first event was said while the response was running.
                assert units(events).keys() == expected.keys()
                assert text_in(events) == TEXT[len(TEXT) - len(text_in(events)) :]

                other.terminate()
                await asyncio.to_thread(other.communicate)
                three, _ = await start(**a_week_later)
                async with three:
                    await _is_the_same(three, where, whole, events, position)
        database = connect(wire_uri, name)
        await database.client.drop_database(name)
        database.close()


async def _is_the_same(
    client: httpx.AsyncClient, where: str, whole: list[Any], rest: list[Any], position: int
) -> None:
    """A server that was started a week later says what was said before, and keeps it going."""
    said = await client.get(f"{where}?stream=true")
    ahead = parsedate_to_datetime(said.headers["date"]) - datetime.now(UTC)
    assert timedelta(days=6) < ahead < timedelta(days=8)
    again = events_of(said.text)
    assert text_in(again) == TEXT
    assert [each["sequence_number"] for each in again] == [
        each["sequence_number"] for each in whole
    ]
    resumed = await client.get(f"{where}?stream=true&starting_after={position}")
    assert units(events_of(resumed.text)).keys() == units(rest).keys()
    id_ = where.rpartition("/")[2]
    body = {"model": "test-model", "input": "y", "previous_response_id": id_, "background": True}
    made = (await client.post("/v1/responses", json=body)).json()
    assert made["previous_response_id"] == id_
    assert made["created_at"] - whole[-1]["response"]["created_at"] > 6 * 86400
