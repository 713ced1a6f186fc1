"""The `proxy` command as a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.fakes.wire_server import free_port
from tests.support.warm_process import WarmProcess

Process = subprocess.Popen[str] | WarmProcess

BEFORE_PYTHON = frozenset({"PYTHONPATH", "LD_PRELOAD"})
"""Variables that an interpreter must be started with."""


def command(folder: Path, *arguments: str, **variables: str) -> Process:
    """Start the command; warm, by a fork of a process that has imported it, where that will do."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PROXY_", "OPENAI_", "POE_"))
    } | variables
    if not BEFORE_PYTHON.intersection(variables):
        return WarmProcess(folder, arguments, environment)
    return subprocess.Popen(
        [sys.executable, "-m", "proxy", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@contextmanager
def running(folder: Path, *arguments: str, **variables: str) -> Iterator[tuple[str, Process]]:
    """A server that answers; ends it if the test did not."""
    port = free_port()
    process = command(folder, *arguments, PROXY_PORT=str(port), **variables)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        with httpx.Client(timeout=5, verify=False) as client:
            while True:
                try:
                    client.get(url + "/health").raise_for_status()
                    break
                except httpx.HTTPError:
                    assert process.poll() is None, process.communicate()
                    assert time.monotonic() < deadline
                    time.sleep(0.1)  # the start of another process: nothing to wait on
        yield url, process
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)
