"""A child process that ends with its parent, and files that only their owner reads."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

# PR_SET_PDEATHSIG survives the exec; between the fork and the call the parent may have died.
_TIED = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


# What a loader or a library may need; neither keys nor SECANTUS_* switches are passed on.
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "TEMP", "TMPDIR")


class News:
    """A text that any thread publishes once and any event loop waits for."""

    def __init__(self) -> None:
        self.text: str | None = None
        self._guard = threading.Lock()
        self._readers: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[str]]] = []

    def publish(self, text: str) -> bool:
        """Wake every reader; false when there had been a text before."""
        with self._guard:
            if self.text is not None:
                return False
            self.text = text
        for loop, future in self._readers:
            with contextlib.suppress(RuntimeError):  # that loop has closed
                loop.call_soon_threadsafe(_resolve, future, text)
        return True

    async def wait(self) -> str:
        """Return the text, at once when it is there."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        with self._guard:
            if self.text is not None:
                return self.text
            self._readers.append((loop, future))
        return await future


def _resolve(future: asyncio.Future[str], text: str) -> None:
    if not future.done():
        future.set_result(text)


class Child(threading.Thread):
    """A program run by a thread that waits for it all its life.

    Linux ends the child when the thread that forked it ends, so this thread must be the
    one that stays. The child has a session of its own: a Ctrl-C in the terminal reaches
    the parent only, which then stops the child in order.

    `on_end(child, how)` is called from that thread (`how` is "signal 9" or "exit code 1"),
    unless the child was stopped.
    """

    def __init__(
        self, arguments: Sequence[str], log_file: Path, on_end: Callable[["Child", str], None]
    ) -> None:
        super().__init__(name=Path(arguments[0]).name, daemon=True)
        self.arguments = list(arguments)
        self.log_file = log_file
        self.pid = 0
        self.ended = False
        self._on_end = on_end
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._begun = threading.Event()
        self._error: OSError | None = None

    def run_in_background(self) -> None:
        """Start the program and return when it has a pid.

        Raises:
            OSError: it cannot be run.
        """
        self.start()
        self._begun.wait()
        if self._error is not None:
            raise self._error

    def run(self) -> None:
        """Wait for the program; `run_in_background` calls this."""
        try:
            self._process = self._spawn()
        except OSError as error:
            self._error = error
            return
        finally:
            self._begun.set()
        code = self._process.wait()
        self.ended = True
        if not self._stopping:
            self._on_end(self, f"signal {-code}" if code < 0 else f"exit code {code}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = self.arguments
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *command]
        with open(self.log_file, "wb", opener=private) as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.log_file.parent,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                start_new_session=sys.platform != "win32",
                umask=0o077 if sys.platform != "win32" else -1,
            )
        self.pid = process.pid
        return process

    def last_words(self) -> str:
        """Return the last line of what it said."""
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self, timeout_seconds: float) -> None:
        """SIGTERM and wait; SIGKILL for one that is still there after the time-out."""
        self._stopping = True
        if self._process is None:
            return
        self._process.terminate()
        self.join(timeout_seconds)
        if self.is_alive():
            self._process.kill()
            self.join()


def is_running_on(pid: int, directory: Path) -> bool:
    """Whether that process exists and was started on that directory."""
    if pid <= 0:
        return False
    if sys.platform == "linux":
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        return os.fsencode(directory) in command.split(b"\0")
    listing = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False
    )
    return os.fsencode(directory) in listing.stdout


def terminate(pid: int, *, at_once: bool = False) -> None:
    """End a process that is not our child: in order, or at once."""
    with contextlib.suppress(ProcessLookupError):
        if at_once and sys.platform != "win32":
            os.kill(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGTERM)


def lock_file(file: IO[str]) -> bool:
    """Lock an open file until it is closed or this process ends; false when another has it."""
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415

            # Far behind the content, which another process still wants to read.
            file.seek(1 << 20)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def record_lock_is_held(path: Path) -> bool:
    """Whether another process holds a POSIX record lock on the file (as WiredTiger does)."""
    if sys.platform == "win32":
        return False  # there the file itself cannot be opened twice, and the server says so
    import fcntl  # noqa: PLC0415

    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.lockf(file, fcntl.LOCK_UN)
        return False


def write_private(path: Path, text: str) -> None:
    """Replace a file with one of mode 600, whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(new, "w", encoding="utf-8", opener=private) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def private(path: str, flags: int) -> int:
    """Open a file, for `open(opener=…)`; a new one has mode 600."""
    return os.open(path, flags, 0o600)
