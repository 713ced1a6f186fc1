"""What counting costs: a request, a reply, a database command; nothing is counted a chunk.

    uv run python scripts/bench/metrics.py

Prints microseconds of CPU each, the median and the spread of several rounds. What the driver
takes to tell of a command is on top: it makes two objects a command as soon as anybody listens.
"""

import json
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from pymongo.monitoring import _EventListeners

from proxy.database import CommandTimes
from proxy.metrics import COMMAND_DURATION, REQUEST_SECONDS
from proxy.providers.base import Usage
from proxy.settings import Settings
from proxy.streaming.engine import Completed
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


def command_told(listeners: Any) -> None:
    """Do what the driver does for its listeners around one command."""
    command = {"find": "conversations", "filter": {"_id": "x"}, "$db": "proxy"}
    address = ("127.0.0.1", 27017)
    listeners.publish_command_start(command, "proxy", 1, address, None, op_id=1)
    listeners.publish_command_success(
        timedelta(microseconds=900), {"ok": 1.0}, "find", 1, address, None, 1, database_name="proxy"
    )


def main() -> None:
    count = reply_counter(Settings(_env_file=None))  # type: ignore[call-arg]
    listeners = _EventListeners([CommandTimes()])
    usage = Usage(100, 50, "reported")
    call = Completed("default", "openai", "gpt-4o-mini", usage, "complete", 300, 2_000)
    result = {
        "request": microseconds(lambda: REQUEST_SECONDS.observe(("POST", "/v1/x", "200"), 0.13)),
        "reply": microseconds(lambda: count(call)),
        "database command": microseconds(lambda: COMMAND_DURATION.observe(("find", "ok"), 0.0009)),
        "database command, told by the driver": microseconds(lambda: command_told(listeners)),
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
