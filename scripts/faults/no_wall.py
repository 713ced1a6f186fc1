"""Fill one conversation while the database is killed in the middle of page moves; lose nothing.

    uv run python scripts/faults/no_wall.py --messages 50000 --kills 30

Everything runs on this machine, on a throw-away database. Writers append turns of some 800
bytes a message to one conversation, a mover takes its older half to pages, and at random steps
of a move, or in the middle of one, the database gets `kill -9`. In the end the whole history is
read and held against what was acknowledged: nothing lost, nothing doubled, the order intact. A
turn that was under way when the database died may be there or not, but never half of it.
"""

import argparse
import asyncio
import contextlib
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError

from proxy.database import connect
from proxy.documents.base import DEFAULT_OWNER, Raw, utc_now
from proxy.documents.conversation import Conversation
from proxy.documents.counter import Counter
from proxy.documents.message_page import MessagePage
from proxy.embedded.state import find_program, flags

WRITERS = 4
TAIL_MESSAGES = 64
TAIL_BYTES = 128 * 1024


@dataclass
class Report:
    """What was told and what was found."""

    messages: int = 0
    megabytes: float = 0
    pages: int = 0
    kills: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    changed: int = 0
    unknown: int = 0
    """Messages that nobody sent."""
    unacknowledged_and_there: int = 0
    torn: int = 0
    """Turns of which one message is there and one is not."""
    is_in_order: bool = True
    paging_agrees: bool = True
    append_ms_first: float = 0
    append_ms_last: float = 0
    read_seconds: float = 0
    read_memory_mib: float = 0
    seconds: float = 0


@dataclass
class Filling:
    """One conversation and what its writers were told."""

    id: str
    target: int
    rng: random.Random
    acknowledged: dict[int, str] = field(default_factory=dict)
    pending: dict[int, str] = field(default_factory=dict)
    turns: list[set[int]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    kill_at: list[int] = field(default_factory=list)


class Daemon:
    """The database, killed and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"mongodb://127.0.0.1:{self.port}/?directConnection=true&retryWrites=false"
        configuration = folder / "empty.conf"
        configuration.write_text("")
        program, _ = find_program()
        self._command = [
            str(program),
            *flags("127.0.0.1", self.port, folder / "db", configuration),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.up = asyncio.Event()

    async def start(self) -> None:
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            self._command, stdout=quiet, stderr=quiet
        )
        for _ in range(1200):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                self.up.set()
                return
            if self._process.poll() is not None:
                raise SystemExit("the database ended at once")
            await asyncio.sleep(0.05)
        raise SystemExit("the database does not listen")

    def kill(self) -> None:
        self.up.clear()
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None


class Steps:
    """The conversations as a mover sees them; the database dies at a random step of a move."""

    def __init__(self, filling: Filling, daemon: Daemon, report: Report) -> None:
        self._filling, self._daemon, self._report = filling, daemon, report
        self._collection = Conversation.collection()

    async def find_one(self, *args: Any, **kwargs: Any) -> Any:
        return await self._collection.find_one(*args, **kwargs)

    async def find_one_and_update(self, *args: Any, **kwargs: Any) -> Any:
        result = await self._collection.find_one_and_update(*args, **kwargs)
        await self._maybe_die(0.3)
        return result

    async def update_one(self, *args: Any, **kwargs: Any) -> Any:
        await self._maybe_die(0.3)
        # The update that moves the messages takes some milliseconds.
        dying = asyncio.create_task(self._maybe_die(0.5, self._filling.rng.uniform(0, 0.005)))
        try:
            return await self._collection.update_one(*args, **kwargs)
        finally:
            await dying
            await self._maybe_die(1)

    async def _maybe_die(self, probability: float, after_seconds: float = 0) -> None:
        await asyncio.sleep(after_seconds)
        due, rng = self._filling.kill_at, self._filling.rng
        enough = due and len(self._filling.acknowledged) >= due[0]
        if enough and self._daemon.up.is_set() and rng.random() < probability:
            due.pop(0)
            self._daemon.kill()
            self._report.kills += 1
            await self._daemon.start()


def message(id_: int, number: int) -> Raw:
    now = utc_now()
    return {
        "id": id_,
        "role": "user" if number % 2 == 0 else "assistant",
        "content": f"{id_} " + "字x" * 200,
        "created_at": now,
        "updated_at": now,
        "status": "complete",
        "revision": 0,
        "attempt": f"{id_}:0",
    }


async def write(filling: Filling, daemon: Daemon) -> None:
    """Append turns until there are enough; what fails is not acknowledged."""
    while len(filling.acknowledged) < filling.target:
        await daemon.up.wait()
        try:
            first = await Counter.reserve("messages", 2)
        except PyMongoError:
            continue
        turn = [message(first, 0), message(first + 1, 1)]
        texts = {m["id"]: m["content"] for m in turn}
        filling.pending |= texts
        filling.turns.append(set(texts))
        began = time.perf_counter()
        try:
            stored = await Conversation.append(DEFAULT_OWNER, filling.id, turn)
        except PyMongoError:
            continue
        filling.times.append((time.perf_counter() - began) * 1000)
        for id_ in texts:
            del filling.pending[id_]
        if stored:
            filling.acknowledged |= texts


async def move(filling: Filling, daemon: Daemon, report: Report, done: asyncio.Event) -> None:
    """Take the older half of the tail away whenever it is too large."""
    while not done.is_set():
        await daemon.up.wait()
        with contextlib.suppress(PyMongoError):
            moved = await MessagePage.take_from(
                Steps(filling, daemon, report),
                filling.id,
                max_messages=TAIL_MESSAGES,
                max_bytes=TAIL_BYTES,
            )
            if moved:
                continue
        await asyncio.sleep(0.01)


async def check(filling: Filling, report: Report) -> None:
    """Read the whole history, a part at a time, and hold it against what was told."""
    before = memory_mib(reset_peak=True)
    began = time.perf_counter()
    seen: set[int] = set()
    last, size = 0, 0
    async for part in Conversation.history(DEFAULT_OWNER, filling.id):
        for found in part:
            id_, content = found["id"], found["content"]
            report.doubled += id_ in seen
            report.is_in_order &= id_ > last
            seen.add(id_)
            last = id_
            size += len(content.encode())
            told = filling.acknowledged.get(id_)
            if told is None:
                told = filling.pending.get(id_)
                report.unacknowledged_and_there += told is not None
                report.unknown += told is None
            report.changed += told is not None and told != content
    report.read_seconds = round(time.perf_counter() - began, 2)
    report.read_memory_mib = round(memory_mib() - before, 1)
    report.messages, report.megabytes = len(seen), round(size / 1e6, 1)
    report.lost = len(filling.acknowledged.keys() - seen)
    report.torn = sum(len(turn & seen) == 1 for turn in filling.turns)
    await check_paging(filling, sorted(seen), report)


async def check_paging(filling: Filling, ids: list[int], report: Report) -> None:
    """`limit` and `before` at random places give what the whole history has there."""
    for _ in range(20):
        position, limit = filling.rng.randrange(len(ids)), filling.rng.randint(1, 200)
        part = await Conversation.history_before(
            DEFAULT_OWNER, filling.id, before=ids[position], limit=limit
        )
        expected = ids[max(0, position - limit) : position]
        report.paging_agrees &= [m["id"] for m in part] == expected


async def run(messages: int, kills: int, seed: int) -> Report:
    rng, report = random.Random(seed), Report()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(Path(folder))
        await daemon.start()
        try:
            database = connect(daemon.uri, "proxy")
            await database.prepare()
            conversation = Conversation()
            await conversation.create()
            filling = Filling(conversation.id, messages, rng)
            filling.kill_at = sorted(rng.randrange(TAIL_MESSAGES, messages) for _ in range(kills))
            done = asyncio.Event()
            mover = asyncio.create_task(move(filling, daemon, report, done))
            await asyncio.gather(*(write(filling, daemon) for _ in range(WRITERS)))
            done.set()
            await mover
            await daemon.up.wait()
            raw = await Conversation.with_tail(DEFAULT_OWNER, filling.id)
            report.pages = raw["page_count"]
            report.acknowledged = len(filling.acknowledged)
            tenth = max(1, len(filling.times) // 10)
            report.append_ms_first = _median(filling.times[:tenth])
            report.append_ms_last = _median(filling.times[-tenth:])
            await check(filling, report)
            database.close()
        finally:
            daemon.kill()
    report.seconds = round(time.monotonic() - began, 1)
    return report


def memory_mib(*, reset_peak: bool = False) -> float:
    """Return the most memory that this process had at once since `reset_peak`.

    0 where Linux is not.
    """
    if not Path("/proc/self/clear_refs").exists():
        return 0
    if reset_peak:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _median(values: list[float]) -> float:
    return round(sorted(values)[len(values) // 2], 2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report = asyncio.run(run(arguments.messages, arguments.kills, arguments.seed))
    print(json.dumps(vars(report), indent=2))
    wrong = report.lost or report.doubled or report.changed or report.unknown or report.torn
    right = report.is_in_order and report.paging_agrees
    return 1 if wrong or not right else 0


if __name__ == "__main__":
    sys.exit(main())
