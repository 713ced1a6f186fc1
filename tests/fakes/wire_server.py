"""A MongoDB-compatible server on a free loopback port, for tests that need a real wire."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.loopback import SocketMaker, call

_SHARED_MEMORY = "/dev/shm"
_ENOUGH_BYTES = 2 * 1024**3


def _in_memory() -> str | None:
    """Return a folder without a disk, or None where it is closed or small, as in a container."""
    if not os.access(_SHARED_MEMORY, os.W_OK):
        return None
    return _SHARED_MEMORY if shutil.disk_usage(_SHARED_MEMORY).free > _ENOUGH_BYTES else None


MEMORY = _in_memory()
"""Where a disk would be waited for after each write, for nothing that a test looks at."""

FLAGS = "--sync-on-commit --log-file-max 64MB --cache-size 256M --oplog-max-entries 1000"


def find_program() -> str | None:
    beside = Path(sys.executable).with_name("secantusd-rs")
    return str(beside) if beside.exists() else shutil.which("secantusd-rs")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def wire_server() -> Iterator[str]:
    """Yields its URI; the data is thrown away."""
    program = find_program()
    assert program is not None
    port = free_port()
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        process = subprocess.Popen(
            [
                program,
                *("--host", "127.0.0.1", "--port", str(port), "--storage-path", folder),
                *FLAGS.split(),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(port, process)
            # Each test has a client: one that polls needs a connection and a thread less.
            options = "directConnection=true&retryWrites=false&serverMonitoringMode=poll"
            yield f"mongodb://127.0.0.1:{port}/?{options}"
        finally:
            process.terminate()
            process.wait(20)


async def until_listening(host: str, port: int, calls_from: SocketMaker | None = None) -> None:
    """Return once something listens there; the test's own time-out ends a wait for nothing."""
    while True:
        try:
            _, writer = await call((host, port), calls_from)
        except OSError:
            await asyncio.sleep(0.05)  # a start-up without an event to wait for
        else:
            writer.close()
            return


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "the database server ended at once"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)  # a start-up without an event to wait for
        else:
            return
    raise AssertionError("the database server does not listen")
