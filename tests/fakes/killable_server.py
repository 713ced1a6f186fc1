"""A database server of a test's own, that can be killed and comes back on the same data."""

import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.fakes.wire_server import FLAGS, MEMORY, find_program, free_port, until_listening


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
        await until_listening("127.0.0.1", self._port)

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None


@asynccontextmanager
async def killable_server() -> AsyncIterator[KillableServer]:
    """A running server; what it stored is thrown away."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        server = KillableServer(folder)
        await server.start()
        try:
            yield server
        finally:
            server.kill()
