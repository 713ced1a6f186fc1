"""The proxy with a monitor of its event loop: `GAPS=FILE python watched.py serve`.

Every five milliseconds the loop should come by; the monitor keeps how late it was at worst, and
how much CPU the loop's thread used meanwhile. Late with little CPU is a machine that gave the
process no core; late with much CPU is work that held up the loop. SIGUSR1 writes both to the
file, as `[gap ms, CPU ms]`, and begins anew.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy import serving
from proxy.cli import main

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


def watched(create_app: Any, file: Path) -> Any:
    def create(*args: Any, **kwargs: Any) -> Any:
        app = create_app(*args, **kwargs)
        inner = app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[None]:
            async with inner(app):
                Monitor(file)
                yield

        app.router.lifespan_context = lifespan
        return app

    return create


if __name__ == "__main__":
    serving.create_app = watched(serving.create_app, Path(os.environ["GAPS"]))
    sys.exit(main())
