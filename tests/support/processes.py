"""Processes and clients for the tests of the embedded database."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pymongo import MongoClient

import proxy
from proxy.embedded.state import find_program, flags
from proxy.settings import Settings

OWNER = """
import asyncio, pathlib, sys
import proxy.__main__
from proxy.embedded import EmbeddedDatabase
from proxy.settings import Settings

async def main():
    database = EmbeddedDatabase(Settings(_env_file=None, data_dir=pathlib.Path(sys.argv[1])))
    await database.start()
    print(database.pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


def client_of(uri: str) -> MongoClient[dict[str, Any]]:
    """A client whose writes are in the journal when they return."""
    return MongoClient(uri, serverSelectionTimeoutMS=5_000, w="majority", journal=True)


def record_of(settings: Settings) -> dict[str, Any]:
    """What the data directory remembers."""
    record: dict[str, Any] = json.loads((settings.data_dir / "embedded.json").read_text())
    return record


def remember(settings: Settings, **fields: Any) -> None:
    """Change what it remembers."""
    record = {**record_of(settings), **fields}
    (settings.data_dir / "embedded.json").write_text(json.dumps(record))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for another process; the test's own time-out ends a wait that has no end."""

    def poll() -> None:
        while not condition():
            time.sleep(0.01)

    await asyncio.to_thread(poll)


def gone(pid: int) -> bool:
    """Whether the process has ended, reaped or not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    if sys.platform == "linux":
        try:
            return ") Z" in Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True
    return False


def has_mapped(pid: int, name: str) -> bool:
    """Whether a process has a file with that in its path in its memory (Linux)."""
    return name in Path(f"/proc/{pid}/maps").read_text()


def start_owner(directory: Path) -> tuple["subprocess.Popen[str]", int]:
    """Another process that owns the directory's server, and the server's pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(proxy.__file__).parent.parent,
    )
    assert process.stdout is not None
    with process.stdout:
        return process, int(process.stdout.readline())


def start_bare_server(storage: Path) -> "subprocess.Popen[bytes]":
    """The server's program on a directory, with nobody who owns it."""
    process = subprocess.Popen(
        [
            str(find_program()[0]),
            *flags("127.0.0.1", 0, storage, storage.with_name("embedded.toml")),
            "--auth",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
    return process


def end(process: "subprocess.Popen[Any]", *, at_once: bool = False) -> int:
    """Stop or kill a process; its exit code."""
    if at_once:
        process.kill()
    else:
        process.terminate()
    return process.wait()
