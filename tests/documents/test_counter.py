"""Ids under load, on a real wire server."""

import asyncio

from proxy.database import Database
from proxy.documents.counter import Counter
from proxy.documents.worker import Worker


async def test_racing_callers_never_get_the_same_id(wire: Database) -> None:
    await wire.prepare()
    firsts = await asyncio.gather(*(Counter.reserve("messages", 2) for _ in range(500)))
    first = min(firsts)
    assert sorted(firsts) == list(range(first, first + 1000, 2))


async def test_a_stop_request_between_reading_and_emptying_the_list_is_kept(
    wire: Database,
) -> None:
    await wire.prepare()
    await Worker.register("w")
    await Worker.ask_to_stop("w", "1:0")
    answered = await Worker.stop_requests("w")
    await Worker.ask_to_stop("w", "2:0")
    await Worker.beat("w", answered)
    assert await Worker.stop_requests("w") == ["2:0"]
