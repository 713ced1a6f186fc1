"""What a search costs, how long it holds the event loop, and what others find beside it.

    uv run python scripts/bench/search.py --messages 200000

The server runs on an embedded database that is filled with one owner's messages: six in ten
random Chinese (common characters more often), the others Python source. A search goes on with
`next` until it has its first results or the end. Beside it, on the same texts: a regular
expression in mongosh (where it is installed), and SQLite's FTS5 with its tokenizers `trigram`
and `unicode61`, whose hits are counted against a plain scan.

Medians of the rounds, with the least and the most. What remains true on a machine that others
use, too, is CPU: of both sides, and of the server while its event loop was late.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from monitor import Look, looks_of
from motor.motor_asyncio import AsyncIOMotorClient
from processes import HERE, cpu_seconds, free_port, peak_mib, process, resident_mib, start_peak
from search_corpus import NEEDLES, corpus, fill
from search_rivals import FTS5_MESSAGES, fts5, in_mongosh

from proxy.database import Database
from proxy.embedded import EmbeddedDatabase
from proxy.settings import Settings

RESULTS = HERE / "results" / "search.json"
ALL_CORES = f"0-{(os.cpu_count() or 1) - 1}"

COMMON = {"common, 1": "的", "common Latin": "self", "common and rare": "的 鱻"}
NEVER = {"never": "魑魅魍魉", "never Latin": "zqxjkv"}
STREAM = "openai/text-300-10"
LONG_MS = 20
"""The loop should never be held for longer."""


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 2),
        "p99": round(ordered[int(len(ordered) * 0.99)], 2),
        "least": round(ordered[0], 2),
        "most": round(ordered[-1], 2),
    }


def held(looks: list[Look]) -> dict[str, Any]:
    """Return how late the loop came by, and how much the process worked meanwhile."""
    found: dict[str, Any] = {}
    for position, name in enumerate(("wall_ms", "loop_cpu_ms", "process_cpu_ms")):
        values = [look[position] for look in looks]
        found[name] = spread(values) | {"over_20": sum(value > LONG_MS for value in values)}
        del found[name]["least"]
    return {**found, "looks": len(looks)}


class Server:
    """The server that is measured, and its database."""

    def __init__(self, pid: int, database_pid: int, gaps: Path) -> None:
        self.pid = pid
        self._database_pid = database_pid
        self._gaps = gaps

    async def looks(self) -> list[Look]:
        return await asyncio.to_thread(looks_of, self.pid, self._gaps)

    def cpu_ms(self) -> list[float]:
        return [cpu_seconds([pid]) * 1000 for pid in (self.pid, self._database_pid)]


async def searched(client: httpx.AsyncClient, typed: str, sort: str) -> dict[str, float]:
    """Search to the end, or to the first 20 results (`newest`), or to the first (`relevance`)."""
    began = time.perf_counter()
    requests, incomplete, results, before, first = 0, 0, 0, "", 0.0
    while before is not None:
        response = await client.get(
            "/v1/search", params={"q": typed, "sort": sort, "in": "messages", "before": before}
        )
        body = response.raise_for_status().json()
        requests += 1
        incomplete += not body["complete"]
        first = first or (time.perf_counter() - began) * 1000
        results += len(body["results"])
        before = None if results >= 20 or (sort == "relevance" and results) else body["next"]
    return {
        "ms": (time.perf_counter() - began) * 1000,
        "first_answer_ms": first,
        "requests": requests,
        "incomplete": incomplete,
        "results": results,
    }


async def found_of(client: httpx.AsyncClient, word: str) -> int:
    """Return how many messages a search finds, page after page."""
    count, before = 0, ""
    while before is not None:
        parameters = {"q": word, "in": "messages", "limit": "100", "before": before}
        body = (await client.get("/v1/search", params=parameters)).raise_for_status().json()
        count += len(body["results"])
        before = body["next"]
    return count


async def streamed(client: httpx.AsyncClient, id_: str) -> list[float]:
    """Return the milliseconds between the pieces of a stream that has one every 10 ms."""
    gaps, last = [], time.perf_counter()
    async with client.stream(
        "POST", f"/v1/chat/conversations/{id_}/messages", json={"content": "go", "stream": True}
    ) as response:
        async for line in response.aiter_lines():
            if line:
                now = time.perf_counter()
                gaps.append((now - last) * 1000)
                last = now
    return gaps[5:]


async def measure_searches(
    client: httpx.AsyncClient, server: Server, rounds: int
) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for sort in ("newest", "relevance"):
        for name, typed in (NEEDLES | COMMON | NEVER).items():
            runs, looks = [], []
            for _ in range(rounds):
                await server.looks()
                used = server.cpu_ms()
                run = await searched(client, typed, sort)
                looks += await server.looks()
                run["proxy_cpu_ms"], run["database_cpu_ms"] = (
                    after - before for after, before in zip(server.cpu_ms(), used, strict=True)
                )
                runs.append(run)
            measured = ("ms", "first_answer_ms", "proxy_cpu_ms", "database_cpu_ms")
            row = {
                "query": typed,
                **{name: spread([run[name] for run in runs]) for name in measured},
                **{
                    name: [run[name] for run in runs]
                    for name in ("requests", "incomplete", "results")
                },
                "loop": held(looks),
            }
            rows[f"{name}, {sort}"] = row
            print(f"{sort:10} {name:20} {json.dumps(row, ensure_ascii=False)}", flush=True)
    return rows


async def measure_stream(client: httpx.AsyncClient, server: Server, rounds: int) -> dict[str, Any]:
    """Read a stream alone, and beside two callers who search without a pause."""
    created = await client.post("/v1/chat/conversations", json={"model": STREAM})
    id_ = created.json()["conversation_id"]

    async def search_on(typed: str) -> None:
        while True:
            await searched(client, typed, "relevance")

    found: dict[str, Any] = {}
    for words in ((), tuple(NEVER.values()), ("的", "self")):
        tasks = [asyncio.create_task(search_on(word)) for word in words]
        gaps: list[float] = []
        await asyncio.sleep(0.5)
        await server.looks()
        for _ in range(rounds):
            gaps += await streamed(client, id_)
        looks = await server.looks()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        name = f"beside {words[0]} and {words[1]}" if words else "alone"
        found[name] = {"between_pieces_ms": spread(gaps), "loop": held(looks)}
        print(name, json.dumps(found[name]), flush=True)
    return found


async def measure(url: str, server: Server, count: int, rounds: int) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        await searched(client, "warm up", "newest")
        start_peak(server.pid)
        before = resident_mib(server.pid)
        found: dict[str, Any] = {
            "searches": await measure_searches(client, server, rounds),
            "stream": await measure_stream(client, server, max(1, rounds // 2)),
        }
        words = [*NEEDLES.values(), NEEDLES["rare, 4 characters"][:3]]
        true = dict.fromkeys(words, 0)
        for text in corpus(count):
            for word in words:
                true[word] += word in text
        found["found_and_true"] = {
            word: [await found_of(client, word), true[word]] for word in words
        }
        found["server_mib"] = {
            "at_rest": round(before, 1),
            "peak": round(peak_mib(server.pid), 1),
        }
    return found


async def run(count: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings(_env_file=None, data_dir=folder / "data")
        async with EmbeddedDatabase(settings) as embedded:
            client: Any = AsyncIOMotorClient(embedded.uri, w="majority", journal=True)
            database = Database(client[settings.mongodb_database])
            await database.prepare()
            began = time.perf_counter()
            size = await fill(count)
            print(f"{count} messages, {size / 1e6:.0f} MB, {time.perf_counter() - began:.0f} s")
            client.close()
            port, upstream = free_port(), free_port()
            server = process(
                [sys.executable, "watched.py", "serve"],
                ALL_CORES,
                port,
                GAPS=str(folder / "gaps"),
                GAPS_EVERY_SECONDS="0.001",
                PROXY_MONGODB_URI=embedded.uri,
                PROXY_PORT=str(port),
                PROXY_DATA_DIR=str(folder / "server"),
                OPENAI_BASE_URL=f"http://127.0.0.1:{upstream}/v1",
                OPENAI_API_KEY="sk-none",
            )
            model = process(
                [sys.executable, "fake_upstream.py", str(upstream)], ALL_CORES, upstream
            )
            with model, server as pid:
                watched = Server(pid, embedded.pid, folder / "gaps")
                found = await measure(f"http://127.0.0.1:{port}", watched, count, rounds)
            found["mongosh"] = await asyncio.to_thread(
                in_mongosh, embedded.uri, settings.mongodb_database, list(NEEDLES.values()), rounds
            )
    return {"messages": count, "bytes": size, "rounds": rounds, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    load = os.getloadavg()
    found = asyncio.run(run(arguments.messages, arguments.rounds))
    words = [*NEEDLES.values(), NEEDLES["rare, 4 characters"][:3], "的"]
    indexed = min(arguments.messages, FTS5_MESSAGES)
    found["fts5_messages"] = indexed
    found["fts5_found_and_true"] = fts5(indexed, words)
    report = {
        "machine": {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load_before": [round(value, 1) for value in load],
            "load_after": [round(value, 1) for value in os.getloadavg()],
        },
        **found,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    print(json.dumps({key: report[key] for key in report if key != "searches"}, ensure_ascii=False))


if __name__ == "__main__":
    main()
