"""What counting costs: a request, a reply, a database command; nothing is counted a chunk.

    uv run python scripts/bench/metrics.py

Prints microseconds of CPU each, the median and the spread of several rounds. `commands.py` beside
it measures the database commands of a turn on a server.
"""

import json
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from proxy.metrics import REQUEST_SECONDS
from proxy.providers.base import Usage
from proxy.settings import Settings
from proxy.streaming.completions import Completed
from proxy.timed_motor import timed
from proxy.web.metrics import render, reply_counter

ROUNDS = 7
CALLS = 20_000


def microseconds(call: Callable[[], None]) -> dict[str, float]:
    found = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        for _ in range(CALLS):
            call()
        found.append((time.thread_time() - began) / CALLS * 1e6)
    return {
        "median": round(statistics.median(found), 2),
        "lowest": round(min(found), 2),
        "highest": round(max(found), 2),
    }


async def answered() -> None:
    """Take no time."""


def awaited(method: Callable[[], Any]) -> None:
    with suppress(StopIteration):
        method().send(None)


def main() -> None:
    count = reply_counter(Settings(_env_file=None))  # type: ignore[call-arg]
    counted = timed("find", answered)
    usage = Usage(100, 50, "reported")
    call = Completed("default", "openai", "gpt-4o-mini", usage, "complete", 0.0, 300, 2_000)
    result = {
        "request": microseconds(lambda: REQUEST_SECONDS.observe(("POST", "/v1/x", "200"), 0.13)),
        "reply": microseconds(lambda: count(call)),
        "a call, not counted": microseconds(lambda: awaited(answered)),
        "a call, counted as a database command": microseconds(lambda: awaited(counted)),
    }
    for number in range(40):
        for status in ("200", "400", "404", "422", "429", "500", "502", "503"):
            for method in ("GET", "POST"):
                REQUEST_SECONDS.observe((method, f"/v1/{number}", status), 0.1)
    began = time.thread_time()
    text, _ = render(None, "")
    milliseconds = round((time.thread_time() - began) * 1e3, 1)
    sets = sum(line.startswith(b"http") and b"_sum" in line for line in text.splitlines())
    result["rendering in a thread"] = {"milliseconds": milliseconds, "label sets": sets}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
