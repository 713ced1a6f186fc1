"""Servers on cores of their own, and what the kernel says of them (Linux)."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def process(
    command: list[str], cores: str, port: int, seconds: float = 60, **environment: str
) -> Iterator[int]:
    """Yield a server on its cores, once its port answers; gives its pid."""
    printed = tempfile.TemporaryFile()  # noqa: SIM115 - the process writes to it to its end
    running = subprocess.Popen(
        ["taskset", "-c", cores, *command],
        cwd=HERE,
        env={**os.environ, **environment},
        stdout=printed,
        stderr=printed,
        start_new_session=True,
    )
    deadline = time.monotonic() + seconds
    try:
        while not answers(port):
            if running.poll() is not None or time.monotonic() > deadline:
                printed.seek(0)
                said = printed.read().decode(errors="replace")[-500:]
                raise RuntimeError(f"{command[0]} did not start: {said}")
            time.sleep(0.02)
        yield running.pid
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGTERM)
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)


def answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def with_workers(pid: int) -> list[int]:
    """Return a server and its worker processes; a database that it started is none of them."""
    return [pid, *(worker for child in children(pid, b"python") for worker in with_workers(child))]


def database_of(pid: int) -> int | None:
    """Return the process of the embedded database that a server started."""
    return next(iter(children(pid, b"secantusd")), None)


def children(pid: int, name: bytes) -> list[int]:
    """Child processes whose program has this in its name."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
        if name in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0].rpartition(b"/")[2]
    ]


def move(pid: int, core: str) -> None:
    """Put a process and all its threads on another core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {int(core)})


def cpu_seconds(pids: list[int]) -> float:
    """CPU of all threads of these processes, in nanoseconds' precision."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue
    return total / 1e9


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def start_peak(pid: int) -> None:
    """Let the peak of a process's memory begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mib(pid: int) -> float:
    """Return the most memory that a process has had since `start_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0
