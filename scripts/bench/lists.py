"""What compressing a list costs and saves: 300 conversations with long system prompts.

    uv run --group dev python scripts/bench/lists.py

The application runs in this process on a database in memory; each prompt is a part of this
repository's own source, as of a project that is attached. The ways to ask take turns; printed are
the bytes of a body, and the median and the range of this process's CPU for a whole request (the
database and the client included, which are the same for all ways).
"""

import asyncio
import json
import platform
import statistics
import time
from pathlib import Path

import httpx
from mongomock_motor import AsyncMongoMockClient

from proxy.app import create_app
from proxy.database import Database
from proxy.documents.conversation import Conversation
from proxy.settings import Settings

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results") / "lists.json"
CONVERSATIONS, PROMPT_CHARACTERS, ROUNDS = 300, 9_000, 15
LIST = "/v1/chat/conversations"
WAYS = {
    "whole": (LIST, "identity"),
    "whole, gzip": (LIST, "gzip"),
    "fields=id,name,updated_at": (f"{LIST}?fields=id,name,updated_at", "identity"),
    "fields=id,name,updated_at, gzip": (f"{LIST}?fields=id,name,updated_at", "gzip"),
}


class InMemory(Database):
    """Says that it is no motor."""


async def fill() -> None:
    files = sorted((ROOT / "proxy").rglob("*.py"))
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    step = (len(source) - PROMPT_CHARACTERS) // CONVERSATIONS
    for number in range(CONVERSATIONS):
        prompt = source[number * step : number * step + PROMPT_CHARACTERS]
        await Conversation(owner="default", name=f"Talk {number}", system_prompt=prompt).create()


async def main() -> None:
    database = InMemory(AsyncMongoMockClient()["bench"])
    app = create_app(Settings(_env_file=None), database=database, create_indexes=False)
    milliseconds: dict[str, list[float]] = {way: [] for way in WAYS}
    sizes: dict[str, int] = {}
    async with app.router.lifespan_context(app):
        await fill()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for _ in range(ROUNDS):
                for way, (path, encoding) in WAYS.items():
                    began = time.process_time()
                    headers = {"Accept-Encoding": encoding}
                    async with client.stream("GET", path, headers=headers) as answer:
                        size = sum([len(part) async for part in answer.aiter_raw()])
                    milliseconds[way].append((time.process_time() - began) * 1000)
                    assert answer.status_code == 200, answer.status_code
                    sizes[way] = size
    found = {
        way: {
            "bytes": sizes[way],
            "cpu_ms": round(statistics.median(times), 1),
            "cpu_ms_range": [round(min(times), 1), round(max(times), 1)],
        }
        for way, times in milliseconds.items()
    }
    for way, numbers in found.items():
        print(f"{way:34}", numbers)
    about = {"python": platform.python_version(), "machine": platform.machine(), "rounds": ROUNDS}
    RESULTS.write_text(json.dumps({**about, "ways": found}, indent=1) + "\n")


asyncio.run(main())
