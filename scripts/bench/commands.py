"""What counting the database commands of a turn costs: by the driver's events, or around the calls.

    uv run --group dev python scripts/bench/commands.py

Four commands on an embedded server as a turn asks them, in interleaved rounds. Prints
microseconds of CPU (of all threads) a turn, and how much more each way takes than not counting.
"""

import asyncio
import json
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

import uvloop
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.monitoring import CommandListener

from proxy.metrics import COMMAND_DURATION
from proxy.timed_motor import TimedDatabase

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fakes.wire_server import wire_server

ROUNDS = 21
TURNS = 1_000


class Told(CommandListener):
    """Counts what the driver tells of."""

    def __init__(self) -> None:
        self._guard = threading.Lock()

    def started(self, event: Any) -> None: ...

    def succeeded(self, event: Any) -> None:
        with self._guard:
            COMMAND_DURATION.observe((event.command_name, "ok"), event.duration_micros / 1e6)

    def failed(self, event: Any) -> None: ...


async def tail(rows: Any) -> list[Any]:
    return [row async for row in rows.find({"_id": 1}, {"v": 1}).hint("_id_").limit(1)]


async def reserved(rows: Any) -> Any:
    return await rows.find_one_and_update({"_id": 2}, {"$inc": {"v": 1}})


async def microseconds(rows: Any) -> float:
    began = time.process_time()
    for number in range(TURNS):
        await asyncio.gather(tail(rows), reserved(rows))
        await rows.update_one({"_id": 1}, {"$set": {"v": number}})
        await rows.update_one({"_id": 1}, {"$set": {"w": number}})
    return (time.process_time() - began) / TURNS * 1e6


async def measure(uri: str) -> dict[str, Any]:
    plain: Any = AsyncIOMotorClient(uri, w=1)
    telling: Any = AsyncIOMotorClient(uri, w=1, event_listeners=[Told()])
    ways = {
        "not counted": plain["bench"]["rows"],
        "told by the driver": telling["bench"]["rows"],
        "counted around the calls": TimedDatabase(plain, "bench")["rows"],
    }
    await ways["not counted"].insert_many([{"_id": 1}, {"_id": 2}])
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, rows in ways.items():
            found[way].append(await microseconds(rows))
    result = {}
    for way, values in found.items():
        more = [value - base for value, base in zip(values, found["not counted"], strict=True)]
        result[way] = {
            "median": round(statistics.median(values)),
            "lowest": round(min(values)),
            "more, quartiles": [round(part) for part in statistics.quantiles(more, n=4)],
        }
    return result


if __name__ == "__main__":
    with wire_server() as address:
        print(json.dumps(uvloop.run(measure(address)), indent=1))
