"""A database server of a test's own, that can be killed and comes back on the same data."""

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fakes.wire_server import FLAGS, MEMORY, find_program, free_port


class KillableServer:
    """`uri` stays the same from one life to the next."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.uri = f"mongodb://127.0.0.1:{self._port}/?directConnection=true&retryWrites=false"

    async def start(self) -> None:
        """Return once it listens."""
        program = find_program()
        assert program is not None
        self._process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            [
                program,
                *("--host", "127.0.0.1", "--port", str(self._port)),
                *("--storage-path", self._folder),
                *FLAGS.split(),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(600):
            assert self._process.poll() is None, "the database server ended at once"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
        raise AssertionError("the database server does not listen")

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None


@asynccontextmanager
async def killable_server(folder: Path | None = None) -> AsyncIterator[KillableServer]:
    """A running server; what it stored is thrown away unless a `folder` is given."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as temporary:
        server = KillableServer(str(folder or temporary))
        await server.start()
        try:
            yield server
        finally:
            server.kill()
