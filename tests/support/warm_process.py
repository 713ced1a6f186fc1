"""`python -m proxy` by a fork of a process that has imported all of it already.

An import takes two seconds of a processor, which most tests of processes are not about. What is
forked has its own process group, working directory, environment, arguments and pipes, as if it
had been started; what must be there before Python begins (`PYTHONPATH`, `LD_PRELOAD`) cannot be
given to it.

    process = WarmProcess(folder, ("serve",), {"PROXY_PORT": "0"})
    process.terminate()
    out, err = process.communicate(timeout=60)
"""

import array
import atexit
import contextlib
import functools
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tests.support.network import enter

ROOT = Path(__file__).parents[2]
_REQUEST_BYTES = 1 << 20


class WarmProcess:
    """What tests use of `subprocess.Popen`, with text pipes for its output and its errors."""

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        network: str = "",
    ) -> None:
        """Start it, in the network namespace with that file if one is named."""
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        self._told, told_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asked = {
            "arguments": list(arguments),
            "folder": str(folder),
            "variables": {**environment},
            "network": network,
        }
        ends = array.array("i", [out_end, err_end, told_end.fileno()])
        try:
            socket.send_fds(_forking(), [json.dumps(asked).encode()], ends.tolist())
        finally:
            told_end.close()
            os.close(out_end)
            os.close(err_end)
        self.stdout: IO[str] = os.fdopen(out, encoding="utf-8")
        self.stderr: IO[str] = os.fdopen(err, encoding="utf-8")
        self.returncode: int | None = None
        self._waiting = threading.Lock()
        self.pid = int(self._told.recv(16))

    def poll(self) -> int | None:
        """Return how it ended, None while it runs."""
        with self._waiting:
            if self.returncode is None:
                with contextlib.suppress(BlockingIOError):
                    self._settle(self._told.recv(16, socket.MSG_DONTWAIT))
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        with self._waiting:
            if self.returncode is None:
                self._told.settimeout(timeout)
                self._settle(self._told.recv(16))
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read until nobody writes any more, then wait for its end."""
        texts: dict[str, bytes] = {"out": b"", "err": b""}
        with selectors.DefaultSelector() as waiting:
            for name, pipe in (("out", self.stdout), ("err", self.stderr)):
                waiting.register(pipe, selectors.EVENT_READ, name)
            while waiting.get_map():
                ready = waiting.select(timeout)
                assert ready, "the process goes on writing for too long"
                for key, _ in ready:
                    if data := os.read(key.fd, 65536):
                        texts[key.data] += data
                    else:
                        waiting.unregister(key.fileobj)
        self.stdout.close()
        self.stderr.close()
        self.wait(timeout)
        return texts["out"].decode(), texts["err"].decode()

    def send_signal(self, number: int) -> None:
        """Send a signal to it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self.send_signal(signal.SIGKILL)

    def _settle(self, code: bytes) -> None:
        assert code, "the process that forks has ended"
        self.returncode = int(code)
        self._told.close()


@functools.cache
def _forking() -> socket.socket:
    """Start the process that forks, once for all tests of this one; it ends with this one."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _REQUEST_BYTES)
    with its:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm_process", str(its.fileno())],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
            start_new_session=True,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _fork_for(requests: socket.socket) -> None:
    """Fork for each request until nobody can make one; tell each end to who waits for it."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    running: dict[int, int] = {}
    with selectors.DefaultSelector() as waiting:
        waiting.register(requests, selectors.EVENT_READ)
        waiting.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in waiting.select()}
            if woken in ready:
                os.read(woken, 4096)
                _tell_ends(running)
            if requests in ready:
                data, ends, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, 3)
                if not data:
                    return
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    for fd in (woken, wake, requests.fileno(), *running.values(), ends[2]):
                        os.close(fd)
                    _become(json.loads(data), ends[0], ends[1])
                    return
                running[pid] = ends[2]
                os.write(ends[2], b"%d" % pid)
                os.close(ends[0])
                os.close(ends[1])


def _tell_ends(running: dict[int, int]) -> None:
    """Say of each process that has ended how it did."""
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            told = running.pop(pid)
            with contextlib.suppress(OSError):
                os.write(told, b"%d" % os.waitstatus_to_exitcode(status))
            os.close(told)


def _become(asked: dict[str, Any], out: int, err: int) -> None:
    """Be the command that was asked for, in a session of its own."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    if asked["network"]:
        enter(asked["network"])
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["variables"])
    import proxy.__main__

    # As with `python -m proxy`: what it starts imports the same main module.
    sys.modules["__main__"] = proxy.__main__
    sys.argv = [str(proxy.__main__.__file__), *asked["arguments"]]
    sys.exit(proxy.__main__.run())


def _import_all() -> None:
    """Import what a server does until it answers."""
    import uvloop  # noqa: F401

    import proxy.app
    import proxy.commands.cli
    import proxy.commands.serve  # noqa: F401

    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _import_all()
    _fork_for(socket.socket(fileno=int(sys.argv[1])))
