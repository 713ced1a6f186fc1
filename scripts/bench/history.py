"""What a turn costs in a short and in a long conversation: commands, CPU of both sides, times.

    uv run python scripts/bench/history.py

The application runs in this process on a database of its own (the embedded server, a child
process); its model answers at once. The window is small, as it is for any model that is
shorter than its history, so what is left is the storage: appending, checking, moving. The CPU
of the process that counts tokens is the proxy's. The first frame's own time is what is left of
it when no command of the database was under way. Lengths are measured in interleaved rounds,
and medians of the rounds are printed.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
from motor.motor_asyncio import AsyncIOMotorClient
from processes import children, cpu_seconds
from pymongo.monitoring import CommandListener

from proxy.app import create_app
from proxy.database import Database
from proxy.documents.base import DEFAULT_OWNER, utc_now
from proxy.documents.conversation import Conversation
from proxy.documents.counter import Counter
from proxy.embedded import EmbeddedDatabase
from proxy.providers.base import CompletionRequest, Delta, Usage
from proxy.settings import Settings

LENGTHS = (10, 100, 1_000, 10_000)
RESULTS = Path(__file__).with_name("results") / "history.json"


class Instant:
    """A model that answers at once with two hundred bytes."""

    name = "instant"

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        yield Delta()
        yield Delta(text="answer " * 30, finish_reason="stop", usage=Usage(10, 30, "reported"))

    async def list_models(self) -> list[dict[str, Any]]:
        return []

    async def close(self) -> None: ...


class Counted(CommandListener):
    """The commands of turns, and when each was under way."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.commands = 0
        self.spans: list[tuple[float, float]] = []

    def started(self, event: Any) -> None:
        self.commands += event.command.get(event.command_name) != "workers"

    def succeeded(self, event: Any) -> None:
        now = time.perf_counter()
        self.spans.append((now - event.duration_micros / 1e6, now))

    def failed(self, event: Any) -> None: ...

    def busy_seconds(self, start: float, end: float) -> float:
        """How much of a time at least one command was under way."""
        busy, reached = 0.0, start
        for began, ended in sorted(self.spans):
            busy += max(0.0, min(ended, end) - max(began, reached))
            reached = max(reached, min(ended, end))
        return busy


async def fill(id_: str, count: int) -> None:
    """Return a history as turns would have left it: pages of the older half, a tail."""
    for start in range(0, count, 50):
        size = min(50, count - start)
        first = await Counter.reserve("messages", size)
        now = utc_now()
        messages = [
            {
                "id": first + n,
                "role": "assistant" if n % 2 else "user",
                "content": f"{n} " + "words of a history " * 12,
                "created_at": now,
                "updated_at": now,
                "status": "complete",
                "revision": 0,
                "attempt": f"{first + n}:0",
            }
            for n in range(size)
        ]
        await Conversation.append(DEFAULT_OWNER, id_, messages)
        while await Conversation.move_tail(id_, max_messages=64, max_bytes=128 * 1024):
            pass


async def ask(app: Any, path: str, content: str) -> tuple[float, float]:
    """Return a streamed turn, without a network.

    When it was asked and when its first frame came.
    """
    first = 0.0
    body = json.dumps({"content": content, "stream": True}).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"host", b"127.0.0.1:8000"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    parts = iter([body])
    leaves = asyncio.Event()

    async def receive() -> dict[str, Any]:
        part = next(parts, None)
        if part is None:
            await leaves.wait()
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal first
        if message["type"] == "http.response.start":
            assert message["status"] == 200, message
        elif not first and message.get("body"):
            first = time.perf_counter()

    asked = time.perf_counter()
    await app(scope, receive, send)
    return asked, first


async def measure(
    app: Any, id_: str, turns: int, counted: Counted, database_pid: int, pause_seconds: float
) -> dict[str, float]:
    path = f"/v1/chat/conversations/{id_}/messages"
    counted.begin()
    firsts: list[tuple[float, float]] = []
    busy = total = 0.0
    ours, theirs = proxy_seconds(), cpu_seconds([database_pid])
    for number in range(turns):
        began = time.perf_counter()
        firsts.append(await ask(app, path, f"question {number}"))
        ended = time.perf_counter()
        busy += counted.busy_seconds(began, ended)
        total += ended - began
        # Older messages move to pages behind a turn; nobody asks again in the same instant.
        while app.state.engine._tasks:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(pause_seconds)
    frames = [first - asked for asked, first in firsts]
    own = [first - asked - counted.busy_seconds(asked, first) for asked, first in firsts]
    return {
        "commands": counted.commands / turns,
        "database_ms": busy / turns * 1000,
        "database_cpu_ms": (cpu_seconds([database_pid]) - theirs) / turns * 1000,
        "proxy_cpu_ms": (proxy_seconds() - ours) / turns * 1000,
        "total_ms": total / turns * 1000,
        "first_frame_ms": statistics.median(frames) * 1000,
        "first_frame_own_ms": statistics.median(own) * 1000,
    }


def proxy_seconds() -> float:
    """CPU of this process and of the one that counts tokens for it."""
    return time.process_time() + cpu_seconds(children(os.getpid(), b"python"))


async def run(
    lengths: tuple[int, ...], turns: int, rounds: int, pause_seconds: float
) -> dict[str, Any]:
    results: dict[int, list[dict[str, float]]] = {length: [] for length in lengths}
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            _env_file=None, data_dir=Path(folder) / "data", context_tokens=512, lease_seconds=600
        )
        embedded = EmbeddedDatabase(settings)
        await embedded.start()
        counted = Counted()
        motor: Any = AsyncIOMotorClient(
            embedded.uri, w="majority", journal=True, event_listeners=[counted]
        )
        app = create_app(settings, database=Database(motor["proxy"]), providers=[Instant()])
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client,
        ):
            for _ in range(rounds):
                # A fresh conversation a round: its length is what it says.
                for length in random.sample(lengths, len(lengths)):
                    created = await client.post("/v1/chat/conversations", json={"model": "m"})
                    id_ = created.json()["conversation_id"]
                    await fill(id_, length)
                    await measure(app, id_, 4, counted, embedded.pid, pause_seconds)
                    results[length].append(
                        await measure(app, id_, turns, counted, embedded.pid, pause_seconds)
                    )
        motor.close()
        await embedded.stop()
    return {
        str(length): {
            key: round(statistics.median(each[key] for each in found), 3) for key in found[0]
        }
        for length, found in results.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=30, help="of one length and round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pause-seconds", type=float, default=0.0, help="between two turns")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    medians = asyncio.run(run(LENGTHS, arguments.turns, arguments.rounds, arguments.pause_seconds))
    keys = list(next(iter(medians.values())))
    print(f"{'messages':>10}" + "".join(f"{key:>18}" for key in keys))
    for length, values in medians.items():
        print(f"{length:>10}" + "".join(f"{values[key]:>18.2f}" for key in keys))
    shortest, longest = medians[str(LENGTHS[0])], medians[str(LENGTHS[-1])]
    ratios = {key: round(longest[key] / shortest[key], 2) for key in keys if shortest[key]}
    print("  longest / shortest: " + json.dumps(ratios))
    machine = {"python": platform.python_version(), "cores": os.cpu_count()}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine, "medians": medians, "ratios": ratios}
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
