"""How many connections a worker holds, how long each may take, and how much is logged of them."""

import asyncio
import contextlib
import logging
import math
import sys
import time
from collections import Counter
from typing import Protocol

from proxy.access.addresses import host_of, is_in
from proxy.errors import Unavailable
from proxy.settings import Settings

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""How often every open connection is looked at."""

LOG_SECONDS = 60.0
"""One line of each kind is logged within this time; the others are counted."""

RESERVED_FILES = 256
"""Open files that are not connections: the database, the log, source files."""

MANY_FILES = (65_536, 10_240)
"""What is asked for where the hard limit is none; macOS takes the second at least."""


class Watched(Protocol):
    """A connection that knows what it is waiting for."""

    def check(self, now: float) -> None:
        """End it if that has taken too long; `now` is the event loop's time in seconds."""


class Connections:
    """Count and watch the open connections of one worker.

    Each worker has its share of `connections` and counts `connections_per_address` for itself;
    a trusted reverse proxy holds those of many clients and is not counted.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._most = math.ceil(settings.connections / settings.workers)
        files = file_limit()
        # Most requests hold a connection to a model's provider, too.
        if files is not None and self._most > (most := max(64, (files - RESERVED_FILES) // 2)):
            self._most = most
            log.warning(
                "only %d connections at once, because this process may open %d files; "
                "raise that limit (ulimit -n, or LimitNOFILE in a systemd unit)",
                most,
                files,
            )
        self._per_address: Counter[str] = Counter()
        self._open: dict[Watched, str] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._logged: dict[str, tuple[float, int]] = {}

    def add(self, connection: Watched, address: str) -> Unavailable | None:
        """Count a new connection, or return the error that refuses it."""
        if len(self._open) >= self._most:
            return self._refused("all", self._most, "PROXY_CONNECTIONS")
        counted_as = ""
        if address and not is_in(address, self.settings.trusted_proxies):
            counted_as = host_of(address)
        most = self.settings.connections_per_address
        if counted_as and self._per_address[counted_as] >= most:
            return self._refused(address, most, "PROXY_CONNECTIONS_PER_ADDRESS")
        self._per_address[counted_as] += 1
        self._open[connection] = counted_as
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._check)
        return None

    def remove(self, connection: Watched) -> None:
        """Forget a connection that has ended; harmless for one that was refused."""
        counted_as = self._open.pop(connection, None)
        if counted_as is None:
            return
        self._per_address[counted_as] -= 1
        if not self._per_address[counted_as]:
            del self._per_address[counted_as]

    def hand_over(self, connection: Watched, other: Watched) -> None:
        """Count one in the place of another: it speaks another protocol from now on."""
        self._open[other] = self._open.pop(connection)

    def log_rarely(self, kind: str, sentence: str) -> None:
        """Log a warning; of one kind a line a minute, with the number of those left out."""
        now = time.monotonic()
        last, left_out = self._logged.get(kind, (-math.inf, 0))
        if now - last < LOG_SECONDS:
            self._logged[kind] = (last, left_out + 1)
            return
        self._logged[kind] = (now, 0)
        log.warning("%s%s", sentence, f" ({left_out} more such before)" if left_out else "")

    def _refused(self, of: str, most: int, setting: str) -> Unavailable:
        self.log_rarely(setting, f"connection refused: {of} has {most} open ({setting})")
        return Unavailable(
            "Too many connections are open; close some, or try again shortly",
            code="too_many_connections",
            retry_after_seconds=2,
        )

    def _check(self) -> None:
        self._timer = None
        if self._open:
            loop = asyncio.get_running_loop()
            now = loop.time()
            for connection in list(self._open):
                connection.check(now)
            self._timer = loop.call_later(CHECK_SECONDS, self._check)


class Taking:
    """Whether a client takes what waits for it; `at` is when it last took something."""

    def __init__(self, now: float) -> None:
        self.at = now
        self._unsent_bytes = 0

    def nothing_for(self, transport: asyncio.Transport, now: float, *, is_paused: bool) -> float:
        """Return for how many seconds it has taken nothing; `is_paused` of the writing."""
        unsent = transport.get_write_buffer_size()
        if unsent and is_paused:
            # The kernel's buffer empties in lumps, minutes apart for a slow reader.
            unsent += unacknowledged_bytes(transport)
        before, self._unsent_bytes = self._unsent_bytes, unsent
        if not (unsent and (unsent == before or (unsent > before and is_paused))):
            self.at = now
        return now - self.at


def unacknowledged_bytes(transport: asyncio.BaseTransport) -> int:
    """Return what the kernel has of an answer that the client has not taken; 0 if it won't say."""
    if sys.platform == "win32":
        return 0
    import fcntl  # noqa: PLC0415 (there is none on Windows)
    import termios  # noqa: PLC0415

    try:
        waiting = fcntl.ioctl(
            transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4
        )
    except OSError:
        return 0
    return int.from_bytes(waiting, sys.byteorder)


def raise_file_limit() -> None:
    """Let this process and its children open as many files as the hard limit allows."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 (there is none on Windows)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in MANY_FILES if hard == resource.RLIM_INFINITY else (hard,):
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return


def file_limit() -> int | None:
    """Return how many files this process may open, or None where there is no limit."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 (there is none on Windows)

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
