"""Mixed load for a bounded time: is memory flat, is anything lost, what holds up the loop?

    uv run python scripts/bench/soak.py --minutes 60

One server on an embedded database, one upstream that is killed now and then. Callers do turns,
streams that they leave and join again, whole histories, searches, imports, digests, log-ins
(which fail: there are no users). At the end every acknowledged turn must be there once. Prints
JSON; exit code 1 when something is lost or doubled, or when memory grew by more than 5 % after
the first fifth of the time.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from monitor import looks_of, worst
from processes import HERE, database_of, free_port, process, resident_mib

MODEL = "openai/text-30-20"
SAMPLE_SECONDS = 10
KILL_EVERY_SECONDS = 45
GROWTH = 1.05
SOURCE = HERE.parents[1] / "proxy"
ALL_CORES = f"0-{(os.cpu_count() or 1) - 1}"


class Soak:
    """The callers, and what they were told."""

    def __init__(
        self, client: httpx.AsyncClient, seed: int, source: Path, pause_seconds: float
    ) -> None:
        self.client = client
        self.pause_seconds = pause_seconds
        self.random = random.Random(seed)
        self.source = source
        self.project = 0
        self.conversations: list[str] = []
        self.acknowledged: dict[str, list[str]] = {}
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.serial = 0

    async def prepare(self, count: int) -> None:
        project = {"name": "soak", "ai_work_dir": str(self.source)}
        self.project = (await self.client.post("/v1/projects", json=project)).json()["id"]
        for number in range(count):
            body = {"name": f"soak {number}", "model": MODEL, "project_id": self.project}
            response = await self.client.post("/v1/chat/conversations", json=body)
            self.conversations.append(response.json()["conversation_id"])
            self.acknowledged[self.conversations[-1]] = []

    async def caller(self, until: float) -> None:
        actions = [
            *[self.turn] * 4,
            *[self.stream] * 3,
            *[self.leave_and_join] * 2,
            *[self.history, self.transfer, self.digest, self.search, self.log_in],
        ]
        while time.monotonic() < until:
            action = self.random.choice(actions)
            try:
                await action(self.random.choice(self.conversations))
                self.done[action.__name__] += 1
            except httpx.HTTPError as error:
                self.refused[f"{action.__name__}: {type(error).__name__}"] += 1
            await asyncio.sleep(self.random.uniform(0, 2 * self.pause_seconds))

    async def count(self, response: httpx.Response) -> None:
        """Count an answer that refuses, by its method, its first words of path and its status."""
        if response.is_error:
            request = response.request
            kind = "/".join(request.url.path.split("/")[2:4])
            self.refused[f"{request.method} {kind}: {response.status_code}"] += 1

    def _message(self, id_: str) -> tuple[str, str, dict[str, str]]:
        self.serial += 1
        text = f"冒泡 {self.serial}"
        path = f"/v1/chat/conversations/{id_}/messages"
        return path, text, {"Idempotency-Key": text.encode().hex()}

    async def turn(self, id_: str) -> None:
        path, text, headers = self._message(id_)
        response = await self.client.post(path, json={"content": text}, headers=headers)
        # Stored before the model is asked: also where that failed.
        if "user_message_id" in response.text:
            self.acknowledged[id_].append(text)

    async def stream(self, id_: str) -> None:
        path, text, headers = self._message(id_)
        body = {"content": text, "stream": True}
        async with self.client.stream("POST", path, json=body, headers=headers) as response:
            async for line in response.aiter_lines():
                if "user_message_id" in line:
                    self.acknowledged[id_].append(text)

    async def leave_and_join(self, id_: str) -> None:
        path, text, headers = self._message(id_)
        body = {"content": text, "stream": True}
        reply = 0
        async with self.client.stream("POST", path, json=body, headers=headers) as response:
            async for line in response.aiter_lines():
                if "user_message_id" in line:
                    self.acknowledged[id_].append(text)
                    reply = json.loads(line.removeprefix("data: ")).get("assistant_message_id", 0)
                    break
        if reply:
            joined = await self.client.get(f"/v1/chat/messages/{reply}/stream")
            if "[DONE]" not in joined.text:
                self.refused["join: no end"] += 1

    async def history(self, id_: str) -> None:
        await self.client.get(f"/v1/chat/conversations/{id_}/messages", params={"limit": 100})

    async def transfer(self, id_: str) -> None:
        exported = await self.client.get(f"/v1/chat/conversations/{id_}/export")
        imported = await self.client.post(
            "/v1/chat/conversations/import",
            content=exported.content,
            headers={"Content-Type": "application/json"},
        )
        for each in imported.json()["imported"] if imported.is_success else []:
            await self.client.delete(f"/v1/chat/conversations/{each['conversation_id']}")

    async def digest(self, _: str) -> None:
        await self.client.get(f"/v1/projects/{self.project}/complete-source-code")

    async def search(self, _: str) -> None:
        words = f"冒泡 {self.random.randint(1, self.serial + 1)}"
        await self.client.get("/v1/search", params={"q": words})

    async def log_in(self, _: str) -> None:
        body = {"userName": "soak", "password": "anything"}
        async with httpx.AsyncClient(base_url=self.client.base_url) as browser:
            await browser.post("/v1/auth/login", json=body)

    async def check(self) -> dict[str, int]:
        """Compare what was acknowledged with what is there."""
        found = {"acknowledged": 0, "lost": 0, "doubled": 0, "unfinished": 0}
        for id_, texts in self.acknowledged.items():
            response = await self.client.get(f"/v1/chat/conversations/{id_}/messages")
            messages = response.json()["messages"]
            there = Counter(m["content"] for m in messages if m["role"] == "user")
            found["acknowledged"] += len(texts)
            found["lost"] += sum(there[text] == 0 for text in texts)
            found["doubled"] += sum(count - 1 for count in there.values())
            found["unfinished"] += sum(m.get("status") == "streaming" for m in messages)
        return found


async def kill_upstream(port: int, until: float, kills: list[float]) -> None:
    """Run the upstream; kill it in mid-reply every now and then, and start it again."""
    while time.monotonic() < until + 5:
        upstream = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "fake_upstream.py"), str(port)
        )
        try:
            async with asyncio.timeout(KILL_EVERY_SECONDS):
                await upstream.wait()
        except TimeoutError:
            kills.append(time.monotonic())
        finally:
            with suppress(ProcessLookupError):
                upstream.kill()
            await upstream.wait()


async def watch(pid: int, data: Path, gaps: Path, until: float) -> list[dict[str, float]]:
    """Memory, loop gaps and database size, every few seconds."""
    samples = []
    while time.monotonic() < until:
        await asyncio.sleep(SAMPLE_SECONDS)
        gap, cpu, size = await asyncio.to_thread(_look, pid, data, gaps)
        database = database_of(pid)
        samples.append(
            {
                "server MiB": round(resident_mib(pid), 1),
                "database MiB": round(resident_mib(database), 1) if database else 0,
                "files MiB": round(size / 2**20, 1),
                "gap ms": round(gap, 1),
                "gap cpu ms": round(cpu, 1),
            }
        )
        print(json.dumps(samples[-1]), file=sys.stderr, flush=True)
    return samples


def _look(pid: int, data: Path, gaps: Path) -> tuple[float, float, int]:
    """Milliseconds of the worst gap, with and without CPU, and bytes of the database's files."""
    gap, cpu = worst(looks_of(pid, gaps))
    files = (file for file in (data / "mongodb").rglob("*") if file.is_file())
    return gap, cpu, sum(file.stat().st_size for file in files)


def median(samples: list[dict[str, float]], name: str) -> float:
    values = sorted(sample[name] for sample in samples)
    return values[len(values) // 2]


def by_minute(samples: list[dict[str, float]], name: str) -> list[float]:
    size = 60 // SAMPLE_SECONDS
    return [median(samples[at : at + size], name) for at in range(0, len(samples), size)]


async def soak(arguments: argparse.Namespace, folder: Path, port: int, upstream: int) -> int:
    data, gaps = folder / "data", folder / "gaps"
    server = process(
        [sys.executable, str(HERE / "watched.py"), "serve"],
        ALL_CORES,
        port,
        seconds=300,
        GAPS=str(gaps),
        PROXY_PORT=str(port),
        PROXY_DATA_DIR=str(data),
        OPENAI_BASE_URL=f"http://127.0.0.1:{upstream}/v1",
        OPENAI_API_KEY="sk-soak",
        PROXY_SOURCE_ROOTS=str(SOURCE),
        PROXY_RETRY_BUDGET_SECONDS="5",
    )
    kills: list[float] = []
    with server as pid:
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, timeout=60) as client:
            run = Soak(client, arguments.seed, SOURCE, arguments.pause)
            client.event_hooks["response"].append(run.count)
            await run.prepare(arguments.conversations)
            until = time.monotonic() + arguments.minutes * 60
            killing = asyncio.create_task(kill_upstream(upstream, until, kills))
            watching = asyncio.create_task(watch(pid, data, gaps, until))
            await asyncio.gather(*(run.caller(until) for _ in range(arguments.callers)))
            samples = await watching
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
            found = await run.check()
    fifth = max(1, len(samples) // 5)
    early, late = samples[fifth : 2 * fifth] or samples, samples[-fifth:]
    growth = median(late, "server MiB") / median(early, "server MiB")
    report: dict[str, Any] = {
        "minutes": arguments.minutes,
        "callers": arguments.callers,
        "pause seconds": arguments.pause,
        "upstream kills": len(kills),
        "done": dict(run.done),
        "refused": dict(run.refused),
        "server MiB": [median(early, "server MiB"), median(late, "server MiB")],
        "server MiB by minute": by_minute(samples, "server MiB"),
        "database MiB": [median(early, "database MiB"), median(late, "database MiB")],
        "files MiB": [samples[0]["files MiB"], samples[-1]["files MiB"]],
        "loop gap ms": {
            "median": median(samples, "gap ms"),
            "worst": max(sample["gap ms"] for sample in samples),
            "worst cpu": max(sample["gap cpu ms"] for sample in samples),
        },
        **found,
    }
    print(json.dumps(report, indent=1, ensure_ascii=False))
    wrong = found["lost"] or found["doubled"] or found["unfinished"] or growth > GROWTH
    return 1 if wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--conversations", type=int, default=30)
    parser.add_argument("--pause", type=float, default=0, help="seconds between two calls, mean")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(soak(arguments, Path(folder), free_port(), free_port()))


if __name__ == "__main__":
    sys.exit(main())
