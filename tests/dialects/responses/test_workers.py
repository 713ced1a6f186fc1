"""A background response whose worker is killed: another worker goes on from any position."""

import asyncio
import random
import subprocess
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from proxy.database import Database, connect
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.clients import client_at
from tests.support.command import running
from tests.support.response_events import events_of, text_in, units

TEXT = "".join(f"{n} 漢😀 " for n in range(200))


@pytest.mark.slow
async def test_a_killed_workers_response_is_followed_elsewhere_and_a_week_later(
    wire_uri: str, tmp_path: Path
) -> None:
    name = f"test_{uuid4().hex[:12]}"
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

            async def start() -> tuple[httpx.AsyncClient, "subprocess.Popen[str]"]:
                starting = running(tmp_path, "serve", **variables)
                url, process = await asyncio.to_thread(servers.enter_context, starting)
                assert isinstance(process, subprocess.Popen)
                return client_at(url), process

            (one, process), (two, _) = await asyncio.gather(start(), start())
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

                database = connect(wire_uri, name)
                await _a_week_later(database, name)
                again = events_of((await two.get(f"{where}?stream=true")).text)
                assert text_in(again) == TEXT
                assert [e["sequence_number"] for e in again] == [
                    e["sequence_number"] for e in whole
                ]
                await database.client.drop_database(name)
                database.close()


async def _a_week_later(database: Database, name: str) -> None:
    """Let all that is stored be a week older."""
    conversations = database.client[name]["conversations"]
    async for raw in conversations.find({}):
        for message in raw["messages"]:
            for key in ("created_at", "updated_at", "started_at"):
                if key in message:
                    message[key] -= timedelta(days=7)
        await conversations.replace_one({"_id": raw["_id"]}, raw)
