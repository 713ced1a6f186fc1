"""How long anything held up an event loop.

Every five milliseconds the loop should come by; the monitor keeps how late it was at worst, and
how much CPU the loop's thread used meanwhile. Late with little CPU is a machine that gave the
process no core; late with much CPU is work that held up the loop. SIGUSR1 writes both to the
file, as `[gap ms, CPU ms]`, and begins anew.
"""

import asyncio
import json
import signal
import time
from pathlib import Path

EVERY_SECONDS = 0.005


class Monitor:
    """The worst gap between two looks of a loop."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._gap = self._cpu = 0.0
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGUSR1, self._report)
        self._look_again()

    def _look_again(self) -> None:
        self._at, self._used = time.perf_counter(), time.thread_time()
        self._loop.call_later(EVERY_SECONDS, self._look)

    def _look(self) -> None:
        gap = time.perf_counter() - self._at - EVERY_SECONDS
        self._gap = max(self._gap, gap)
        self._cpu = max(self._cpu, min(gap, time.thread_time() - self._used))
        self._look_again()

    def _report(self) -> None:
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps([self._gap * 1e3, self._cpu * 1e3]))
        part.rename(self._file)
        self._gap = self._cpu = 0.0
