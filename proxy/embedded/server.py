"""The embedded database server: start, wait until it answers, stop."""

import asyncio
import contextlib
import logging
import shlex
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from pymongo.errors import OperationFailure, PyMongoError

from proxy.embedded.access import check_password, drop_other_users, make_user
from proxy.embedded.certificates import Certificates
from proxy.embedded.child import (
    Child,
    News,
    is_running_on,
    record_lock_is_held,
    terminate,
    write_private,
)
from proxy.embedded.state import (
    PROGRAM,
    EmbeddedError,
    Record,
    find_program,
    flags,
    take_directory,
)
from proxy.settings import MIB, Settings

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
USER = "proxy"

START_TIMEOUT_SECONDS = 120
"""Recovery after a crash reads the journal: seconds for a small one, more for a large one."""
STOP_TIMEOUT_SECONDS = 120
"""A clean stop trims the journal; only a server that hangs this long is killed."""


class EmbeddedDatabase:
    """One database server in `settings.data_dir`, owned by this process.

    `on_died(sentence)` is called from another thread when the server ends by itself;
    `died()` awaits the same. The child is ended with SIGTERM when this process is
    killed (Linux); elsewhere the next start on the directory ends it.
    """

    def __init__(self, settings: Settings, *, on_died: Callable[[str], None] | None = None) -> None:
        self.directory = settings.data_dir.resolve()
        self.storage = self.directory / "mongodb"
        self.log_file = self.directory / "embedded.log"
        self.uri_file = self.directory / "mongodb-uri"
        self._record_file = self.directory / "embedded.json"
        self._config_file = self.directory / "embedded.toml"
        self._certificates = Certificates(self.directory / "tls")
        self._name = settings.mongodb_database
        self._restart_bytes = settings.embedded_restart_mib * MIB
        self._on_died = on_died
        self._record = Record(version="")
        self._lock: IO[str] | None = None
        self._child: Child | None = None
        self._serving: Child | None = None
        self._busy = threading.Lock()
        self._end = News()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def uri(self) -> str:
        """Where it answers, with user, password, certificates and the database's name."""
        return self._uri(f"{USER}:{self._record.password}@", f"{self._name}?authSource=admin&")

    def _uri(self, who: str = "", database: str = "?") -> str:
        return (
            f"mongodb://{who}{HOST}:{self._record.port}/{database}"
            # Retried writes slow down with age here, and after a crash can apply twice.
            f"directConnection=true&retryWrites=false&{self._certificates.uri_options}"
        )

    @property
    def shell_command(self) -> str:
        """The line that opens a Mongo shell; the password stays in the file it names."""
        return f'mongosh "$(cat {shlex.quote(str(self.uri_file))})"'

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._record.pid

    @property
    def failure(self) -> str:
        """The sentence that says how the server ended by itself; empty while all is well."""
        return self._end.text or ""

    async def start(self) -> None:
        """Start the server and return when it answers.

        Raises:
            EmbeddedError: it cannot run here, another process owns the directory,
                another version wrote the files, or it does not answer.
        """
        try:
            await asyncio.to_thread(self._start)
        except BaseException:
            # Also after a cancellation, while the thread may still be starting it.
            await asyncio.shield(self.stop())
            raise

    async def stop(self) -> None:
        """Stop the server cleanly and give up the directory; harmless when not started."""
        await asyncio.to_thread(self._stop)

    async def restart(self) -> None:
        """Stop and start on the same port: this is what trims the journal.

        Raises:
            EmbeddedError: it does not come back; `died` fires too.
        """
        await asyncio.to_thread(self._restart)

    async def died(self) -> str:
        """Wait until the server has ended by itself; the sentence that says so."""
        return await self._end.wait()

    async def size_bytes(self) -> int:
        """Size of the server's files, journal included."""
        return await asyncio.to_thread(self._size_bytes)

    async def trim_when_idle(
        self, is_idle: Callable[[], Awaitable[bool]], *, interval_seconds: float = 60
    ) -> None:
        """For ever: restart the server in an idle moment once it passes `embedded_restart_mib`.

        A restart takes about a second, in which calls fail: `is_idle` says that there are none.
        """
        while True:
            await asyncio.sleep(interval_seconds)
            if await self.size_bytes() <= self._restart_bytes or not await is_idle():
                continue
            before = await self.size_bytes()
            await self.restart()
            after = await self.size_bytes()
            log.info("embedded database trimmed: %d → %d MiB", before // MIB, after // MIB)
            if after > self._restart_bytes:
                # It holds that much: the next restart waits for as much journal again.
                self._restart_bytes = 2 * after

    def _size_bytes(self) -> int:
        total = 0
        for file in self.storage.iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += file.stat().st_size
        return total

    def _start(self) -> None:
        with self._busy:
            if self._child is not None:
                return
            program, version = find_program()
            try:
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                self.directory.chmod(0o700)
                self.storage.mkdir(mode=0o700, exist_ok=True)
                self.storage.chmod(0o700)
                self._lock = take_directory(self.directory)
                self._record = Record.read(self._record_file, version)
                self._save()
                # Named, so that it does not read one of the user's or of the machine's.
                write_private(self._config_file, "# Empty: flags set everything.\n")
                self._end_predecessor()
                self._certificates.make(HOST)
                self._open(program)
            except OSError as error:
                raise EmbeddedError(
                    f"The data directory {self.directory} cannot be used: {error.strerror}"
                ) from None

    def _stop(self) -> None:
        with self._busy:
            self._end_child()
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def _restart(self) -> None:
        with self._busy:
            if self._child is None:
                raise EmbeddedError("The embedded database is not running")
            try:
                self._end_child()
                self._open(find_program()[0])
            except EmbeddedError as error:
                self._fail(str(error))
                raise

    def _save(self) -> None:
        self._record.write(self._record_file)

    def _end_predecessor(self) -> None:
        """End a server that outlived its killed owner, or wait for one that is ending."""
        pid = self._record.pid
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        asked = False
        while record_lock_is_held(self.storage / "WiredTiger.lock"):
            ours = is_running_on(pid, self.storage)
            if not ours and record_lock_is_held(self.storage / "WiredTiger.lock"):
                raise EmbeddedError(f"Another program has the files in {self.storage} open")
            if not asked or time.monotonic() > deadline:
                terminate(pid, at_once=asked)
                asked = True
            time.sleep(0.05)

    def _open(self, program: Path) -> None:
        try:
            self._serve(program)
        except PyMongoError as error:
            raise EmbeddedError(
                f"The embedded database does not work as expected ({type(error).__name__}): "
                f"see {self.log_file}"
            ) from error

    def _serve(self, program: Path) -> None:
        if not self._record.protected:
            # There is no log-in before there is a user, and a server with --auth lets
            # nobody make the first one. Whoever has no certificate of ours stays out as well.
            self._launch(program, protected=False)
            make_user(self._uri(), USER, self._record.password)
            self._end_child()
        self._launch(program, protected=True)
        if not self._record.protected:
            drop_other_users(self.uri, USER)
            self._record.protected = True
            self._save()
        write_private(self.uri_file, self.uri + "\n")
        child = self._serving = self._child
        if child is None or child.ended:
            raise EmbeddedError("The embedded database ended as soon as it had started")

    def _launch(self, program: Path, *, protected: bool) -> None:
        """Start on the port of last time, or on a free one when that is taken."""
        for _ in range(5):
            self._record.port = _free_port(self._record.port)
            arguments = [
                str(program),
                *flags(HOST, self._record.port, self.storage, self._config_file),
                *self._certificates.server_flags,
                *(["--auth"] if protected else []),
            ]
            child = Child(arguments, self.log_file, self._child_ended)
            try:
                child.run_in_background()
            except OSError as error:
                raise EmbeddedError(f"{PROGRAM} cannot be run: {error.strerror}") from None
            self._child = child
            self._record.pid = child.pid
            self._save()
            if self._answers(child):
                if protected:
                    self._check_password()
                return
            self._child = None
            words = child.last_words()
            if "failed to bind" not in words:
                raise EmbeddedError(f"The embedded database did not start: {words}")
        raise EmbeddedError("The embedded database found no free port")

    def _answers(self, child: Child) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not child.ended:
            with contextlib.suppress(OSError):
                socket.create_connection((HOST, self._record.port), timeout=1).close()
                # Another program may have taken the port: then the child is about to end.
                if "listening on" in child.last_words():
                    return True
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"The embedded database did not answer within {START_TIMEOUT_SECONDS} seconds"
                )
            time.sleep(0.02)
        return False

    def _check_password(self) -> None:
        try:
            check_password(self.uri)
        except OperationFailure:
            raise EmbeddedError(
                f"The embedded database does not accept the password in {self._record_file}: "
                "restore that file, or delete it to have a new password made (the data stays)"
            ) from None

    def _end_child(self) -> None:
        child, self._child, self._serving = self._child, None, None
        if child is not None:
            child.stop(STOP_TIMEOUT_SECONDS)

    def _child_ended(self, child: Child, how: str) -> None:
        if child is self._serving:
            self._fail(f"The embedded database ended by itself ({how}): see {self.log_file}")

    def _fail(self, sentence: str) -> None:
        if self._end.publish(sentence) and self._on_died is not None:
            self._on_died(sentence)


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            if sys.platform != "win32":
                # A port in TIME_WAIT after a restart is free for a listener.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise EmbeddedError("There is no free port on the loopback address")
