"""What a search costs, how long it holds the event loop, and what SQLite's FTS5 finds beside it.

    uv run python scripts/bench/search.py --messages 200000

The application runs in this process on an embedded database of its own, filled with one
owner's messages: six in ten random Chinese (common characters more often), the others Python
source. Beside it, on the same texts: a regular expression in mongosh (where it is installed)
and SQLite's FTS5 with its tokenizers `trigram` and `unicode61`, whose hits are counted against
a plain scan. Medians of the rounds, with the least and the most; CPU of both sides, which is
what remains true on a machine that others use, too.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import resource
import shutil
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import httpx
import uvicorn
from motor.motor_asyncio import AsyncIOMotorClient
from processes import cpu_seconds

from proxy.app import create_app
from proxy.database import Database
from proxy.documents.base import DEFAULT_OWNER, Raw, utc_now
from proxy.documents.conversation import Conversation
from proxy.documents.counter import Counter
from proxy.documents.message import Message
from proxy.documents.message_page import MessagePage, page_id
from proxy.embedded import EmbeddedDatabase
from proxy.providers.base import CompletionRequest, Delta, Usage
from proxy.search.fold import fold
from proxy.settings import Settings

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "search.json"
MONGOSH = HERE.parents[1] / "tests" / "mongosh" / "node_modules" / ".bin" / "mongosh"

FTS5_MESSAGES = 20_000
"""The first of the messages; `trigram` needs several times their size in memory."""

NEEDLES = {"rare, 4 characters": "冒泡排序", "rare, 2": "氘氚", "rare, 1": "鱻"}
"""Put into one message of two thousand."""

COMMON = {"common, 1": "的", "common Latin": "self", "common and rare": "的 鱻"}
NEVER = {"never": "魑魅魍魉", "never Latin": "zqxjkv"}

CHINESE = [
    "的",
    *(
        bytes((row, cell)).decode("gb2312")
        for row in range(0xB0, 0xD7)
        for cell in range(0xA1, 0xFF)
        if (row, cell) != (0xB5, 0xC4)
    ),
]
"""The 3,666 characters of GB 2312's first level, 的 first."""


class Ticking:
    """A model that writes a piece every ten milliseconds."""

    name = "ticking"

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        for _ in range(300):
            await asyncio.sleep(0.01)
            yield Delta(text="piece ")
        yield Delta(text="end", finish_reason="stop", usage=Usage(1, 1, "reported"))

    async def list_models(self) -> list[Raw]:
        return []

    async def close(self) -> None: ...


def corpus(count: int) -> Iterator[str]:
    """Texts of about one kilobyte each."""
    rng = random.Random(1)
    source = "\n".join(
        path.read_text("utf-8", "ignore") for path in sorted(Path(os.__file__).parent.glob("*.py"))
    )
    weights = [1 / (rank + 3) for rank in range(len(CHINESE))]
    needles = list(NEEDLES.values())
    for number in range(count):
        if rng.random() < 0.6:
            text = "".join(rng.choices(CHINESE, weights, k=rng.randint(50, 560)))
        else:
            start = rng.randrange(len(source) - 3_000)
            text = source[start : start + rng.randint(100, 2_000)]
        if number % 2_000 == 1_000:
            place = rng.randrange(len(text))
            text = text[:place] + needles[number // 2_000 % len(needles)] + text[place:]
        yield text


async def fill(texts: Iterator[str], count: int) -> None:
    """Conversations as turns would have left them: pages of 32 messages, a tail."""
    rng, now = random.Random(2), utc_now()
    first = await Counter.reserve("messages", count)
    base = Conversation().model_dump(exclude={"id", "messages", "revision_id"})
    conversations: list[Raw] = []
    pages: list[Raw] = []
    number = 0
    while number < count:
        size = min(rng.choice([6, 20, 40, 60, 200, 1_000]), count - number)
        id_ = str(uuid4())
        messages = []
        for position in range(number, number + size):
            time_ = now - timedelta(seconds=10 * (count - position))
            message = Message(
                id=first + position,
                role="assistant" if position % 2 else "user",
                content=next(texts),
                created_at=time_,
                updated_at=time_,
                attempt=f"{first + position}:0",
            )
            messages.append(message.raw())
        number += size
        page_count = 0
        while len(messages) > 64:
            moved, messages = messages[:32], messages[32:]
            pages.append(
                {
                    "_id": page_id(id_, page_count),
                    "owner": DEFAULT_OWNER,
                    "conversation_id": id_,
                    "number": page_count,
                    "first_id": moved[0]["id"],
                    "last_id": moved[-1]["id"],
                    "changes": 0,
                    "preceding": 32 * page_count,
                    "messages": moved,
                }
            )
            page_count += 1
        conversations.append(
            {
                **base,
                "_id": id_,
                "name": f"会话 {number}",
                "messages": messages,
                "page_count": page_count,
                "last_paged_id": messages[0]["id"] - 1 if page_count else 0,
                "paged_messages": 32 * page_count,
                "updated_at": messages[-1]["updated_at"],
            }
        )
        if len(conversations) == 50 or number >= count:
            await Conversation.collection().insert_many(conversations)
            if pages:
                await MessagePage.collection().insert_many(pages)
            conversations, pages = [], []


class Gaps:
    """How long the event loop did not come back to one who sleeps a millisecond."""

    def __init__(self) -> None:
        self.milliseconds: list[float] = []

    async def __aenter__(self) -> "Gaps":
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(0.001)
            self.milliseconds.append((time.perf_counter() - asked - 0.001) * 1000)


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 2),
        "p99": round(ordered[int(len(ordered) * 0.99)], 2),
        "least": round(ordered[0], 2),
        "most": round(ordered[-1], 2),
    }


async def searched(client: httpx.AsyncClient, typed: str, sort: str) -> dict[str, float]:
    """One search to its end, or until it has its first page of results."""
    began = time.perf_counter()
    requests, results, before, first = 0, 0, "", 0.0
    while before is not None:
        response = await client.get(
            "/v1/search", params={"q": typed, "sort": sort, "in": "messages", "before": before}
        )
        body = response.raise_for_status().json()
        requests += 1
        first = first or (time.perf_counter() - began) * 1000
        results += len(body["results"])
        before = None if results >= 20 or (sort == "relevance" and results) else body["next"]
    return {
        "ms": (time.perf_counter() - began) * 1000,
        "first_answer_ms": first,
        "requests": requests,
        "results": results,
    }


async def streamed(client: httpx.AsyncClient, id_: str) -> list[float]:
    """Milliseconds between the checkpoints of a stream's pieces, as its task was woken."""
    gaps, last = [], time.perf_counter()
    async with client.stream(
        "POST", f"/v1/chat/conversations/{id_}/messages", json={"content": "go", "stream": True}
    ) as response:
        async for _ in response.aiter_lines():
            now = time.perf_counter()
            gaps.append((now - last) * 1000)
            last = now
    return gaps[5:]


async def measure(url: str, rounds: int, database_pid: int) -> dict[str, Any]:
    found: dict[str, Any] = {"searches": {}}
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        await searched(client, "warm up", "newest")
        for sort in ("newest", "relevance"):
            for name, typed in (NEEDLES | COMMON | NEVER).items():
                runs, gaps = [], []
                for _ in range(rounds):
                    ours, theirs = time.process_time(), cpu_seconds([database_pid])
                    async with Gaps() as watched:
                        runs.append(await searched(client, typed, sort))
                    runs[-1]["proxy_cpu_ms"] = (time.process_time() - ours) * 1000
                    runs[-1]["database_cpu_ms"] = (cpu_seconds([database_pid]) - theirs) * 1000
                    gaps += watched.milliseconds
                row = {
                    "query": typed,
                    "ms": spread([run["ms"] for run in runs]),
                    "first_answer_ms": spread([run["first_answer_ms"] for run in runs]),
                    "proxy_cpu_ms": spread([run["proxy_cpu_ms"] for run in runs]),
                    "database_cpu_ms": spread([run["database_cpu_ms"] for run in runs]),
                    "requests": runs[0]["requests"],
                    "results": runs[0]["results"],
                    "loop_gap_ms": spread(gaps),
                }
                found["searches"][f"{name}, {sort}"] = row
                print(f"{sort:10} {name:20} {json.dumps(row, ensure_ascii=False)}", flush=True)
        created = await client.post("/v1/chat/conversations", json={"model": "ticking/x"})
        id_ = created.json()["conversation_id"]

        async def busy() -> None:
            while True:
                await searched(client, NEVER["never"], "newest")

        found["stream_gap_ms"] = {"alone": spread(await streamed(client, id_))}
        beside = [asyncio.create_task(busy()) for _ in range(2)]
        async with Gaps() as watched:
            found["stream_gap_ms"]["beside two searches"] = spread(await streamed(client, id_))
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        found["loop_gap_beside_two_searches_ms"] = spread(watched.milliseconds)
    return found


def fts5(count: int, words: list[str]) -> dict[str, Any]:
    """Return what each way of SQLite finds of what a plain scan finds: `[found, true]`."""
    texts = [fold(text) for text in corpus(count)]
    recall: dict[str, Any] = {}
    for tokenizer in ("trigram", "unicode61"):
        database = sqlite3.connect(":memory:")
        database.execute(f"CREATE VIRTUAL TABLE t USING fts5(x, tokenize='{tokenizer}')")
        began = time.perf_counter()
        database.executemany("INSERT INTO t VALUES (?)", ((text,) for text in texts))
        recall[tokenizer] = {"index_seconds": round(time.perf_counter() - began, 1)}
        for word in words:
            (hits,) = database.execute(
                "SELECT count(*) FROM t WHERE t MATCH ?", (f'"{word}"',)
            ).fetchone()
            recall[tokenizer][word] = [hits, sum(word in text for text in texts)]
        database.close()
    return recall


def in_mongosh(uri: str, name: str, words: list[str]) -> dict[str, Any] | None:
    """Milliseconds of a plain regular expression in a shell: on the view, on what is stored."""
    program = shutil.which("mongosh") or (str(MONGOSH) if MONGOSH.exists() else None)
    if program is None:
        return None
    parts = urlsplit(uri)
    script = """
    const out = {};
    for (const word of WORDS) {
      const timed = (work) => {
        const began = Date.now(), count = work();
        return [Date.now() - began, count];
      };
      out[word] = {
        stored: timed(() => db.conversations.countDocuments({"messages.content": {$regex: word}})
          + db.message_pages.countDocuments({"messages.content": {$regex: word}})),
        view: timed(() => db.messages.find({content: {$regex: word}}).sort({_id: -1}).limit(20)
          .toArray().length),
      };
    }
    print(JSON.stringify(out));
    """.replace("WORDS", json.dumps(words))
    done = subprocess.run(
        [
            program,
            urlunsplit(parts._replace(path=f"/{name}")),
            "--quiet",
            "--norc",
            "--eval",
            script,
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        return {"failed": (done.stdout + done.stderr).strip()[-300:]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve the application on a free loopback port, in this event loop."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            if task.done():
                raise RuntimeError("the server did not start")
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


async def run(count: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(_env_file=None, data_dir=Path(folder) / "data", lease_seconds=600)
        embedded = EmbeddedDatabase(settings)
        await embedded.start()
        try:
            client: Any = AsyncIOMotorClient(embedded.uri, w="majority", journal=True)
            database = Database(client[settings.mongodb_database])
            app = create_app(settings, database=database, providers=[Ticking()])
            async with serving(app) as url:
                began = time.perf_counter()
                await fill(corpus(count), count)
                size = sum(len(text.encode()) for text in corpus(count))
                print(
                    f"{count} messages, {size / 1e6:.0f} MB in {time.perf_counter() - began:.0f} s"
                )
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                found = await measure(url, rounds, embedded.pid)
                found |= {
                    "messages": count,
                    "bytes": size,
                    "memory_growth_mib": round(
                        (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1
                    ),
                    "mongosh_ms_and_count": await asyncio.to_thread(
                        in_mongosh, embedded.uri, settings.mongodb_database, list(NEEDLES.values())
                    ),
                }
            client.close()
        finally:
            await embedded.stop()
    return found


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
