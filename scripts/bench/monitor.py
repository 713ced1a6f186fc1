"""How long anything held up an event loop.

Every few milliseconds the loop should come by; the monitor keeps how late it was, how much CPU
the loop's thread used meanwhile, and how much all threads of the process. Late with little CPU
is a machine that gave the process no core; late with much CPU of the loop's thread is work in
the loop; late with much CPU of the process is that, or a thread that kept the interpreter to
itself. SIGUSR1 writes the looks to the file and begins anew.
"""

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

EVERY_SECONDS = 0.005


class Look(NamedTuple):
    """Milliseconds: how late the loop came by; CPU of its thread, of the process, in that time."""

    gap: float
    cpu: float
    process_cpu: float


class Monitor:
    """What each look at a loop found."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._every = float(os.environ.get("GAPS_EVERY_SECONDS", EVERY_SECONDS))
        self._looks: list[Look] = []
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGUSR1, self._report)
        self._look_again()

    def _look_again(self) -> None:
        self._at = time.perf_counter()
        self._used, self._used_by_all = time.thread_time(), time.process_time()
        self._next = self._loop.call_later(self._every, self._look)

    def _look(self) -> None:
        gap = max(0.0, time.perf_counter() - self._at - self._every)
        cpu = min(gap, time.thread_time() - self._used)
        process_cpu = min(gap, time.process_time() - self._used_by_all)
        self._looks.append(Look(gap * 1e3, cpu * 1e3, process_cpu * 1e3))
        self._look_again()

    def _report(self) -> None:
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(self._looks))
        part.rename(self._file)
        self._looks = []
        # Writing them holds up the loop, too.
        self._next.cancel()
        self._look_again()


def looks_of(pid: int, file: Path) -> list[Look]:
    """Return what the monitor of a server saw since the last call."""
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + 5
    while not file.exists():
        if time.monotonic() > deadline:
            raise RuntimeError("the monitor of the event loop does not answer")
        time.sleep(0.005)
    return [Look(*look) for look in json.loads(file.read_text())]


def worst(looks: list[Look]) -> list[float]:
    """Return `[gap ms, CPU ms]`: the most there was of each."""
    return [max((look[part] for look in looks), default=0.0) for part in (0, 1)]
