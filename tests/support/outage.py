"""A database on a line that breaks: to its client it looks as if the server had ended.

A server that really ends takes a second of a processor to start again; tests of what a restart
finds on disk have `killable_server`.

    async with breakable(wire_uri) as (line, database):
        line.cut_off()
        line.mend()
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

from proxy.database import Database, connect
from tests.support.loopback import Relay


class Line:
    """The only way to a database; in a thread, because its client blocks the loop when it closes.

    `address` is `host:port`.
    """

    def __init__(self, host: str, port: int) -> None:
        self._relay = Relay("127.0.0.1", (host, port))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.address = ""

    def mend(self) -> None:
        """Let connections come again, at the same address."""
        start = self._relay.start()
        self.address = asyncio.run_coroutine_threadsafe(start, self._loop).result()

    def cut_off(self) -> None:
        """Close all connections and refuse new ones."""
        asyncio.run_coroutine_threadsafe(self._relay.stop(), self._loop).result()

    def end(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def _line(host: str, port: int) -> Iterator[Line]:
    line = Line(host, port)
    line.mend()
    try:
        yield line
    finally:
        line.cut_off()
        line.end()


@asynccontextmanager
async def breakable(
    uri: str, *, selection_milliseconds: int = 5_000
) -> AsyncIterator[tuple[Line, Database]]:
    """Yield a new database of a server, and the line to it.

    At its end the line has to be mended: the database is dropped.
    """
    address = urlsplit(uri)
    user = address.netloc.rpartition("@")[0]
    with _line(address.hostname or "", address.port or 27017) as line:
        options = dict(parse_qsl(address.query)) | {
            # Only by the line, whatever the server says of itself.
            "directConnection": "true",
            "serverSelectionTimeoutMS": str(selection_milliseconds),
            # As a server's own client watches it.
            "serverMonitoringMode": "auto",
        }
        netloc = f"{user}@{line.address}" if user else line.address
        way = address._replace(netloc=netloc, path="/", query=urlencode(options))
        name = f"test_{uuid4().hex[:12]}"
        database = connect(way.geturl(), name)
        yield line, database
        await database.client.drop_database(name)
        database.close()
