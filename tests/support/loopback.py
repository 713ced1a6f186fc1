"""A network of loopback addresses, where no namespaces can be had: each way is a relay of ours.

    async with Loopback(3) as network:
        network.run(1, ["python", "-m", "proxy"])     # on the host 127.x.y.2
        await network.way(1, network.address(0), 27017)  # where host 1 reaches host 0
        await network.entrance(1, 8000)                # where the test reaches host 1
        network.cut(1)                                 # nothing passes, nothing is closed
        network.heal(1)                                # what was held arrives

What goes past the relays is not cut: whoever is to be cut off gets its ways from `way`. A real
network drops the first packet of a new connection, too; here it is accepted and then silent.
"""

import asyncio
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self


def is_possible() -> bool:
    """Whether every address that begins with 127 is this machine."""
    return sys.platform == "linux"


SocketMaker = Callable[[], socket.socket]
"""Makes the sockets of another network than this thread's."""


async def call(
    target: tuple[str, int], calls_from: SocketMaker | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to an address, of another network if its sockets are given."""
    if calls_from is None:
        return await asyncio.open_connection(*target)
    caller = calls_from()
    caller.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(caller, target)
        return await asyncio.open_connection(sock=caller)
    except BaseException:
        caller.close()
        raise


class Relay:
    """Passes connections on to an address, except while it is cut."""

    def __init__(
        self,
        address: str,
        target: tuple[str, int],
        *,
        listens_at: SocketMaker | None = None,
        calls_from: SocketMaker | None = None,
    ) -> None:
        self._address = address
        self._target = target
        self._listens_at = listens_at
        self._calls_from = calls_from
        self._port = 0
        self._passes = asyncio.Event()
        self._passes.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Listen, again where it did before; `host:port`."""
        if self._listens_at is None:
            server = await asyncio.start_server(self._accept, self._address, self._port)
        else:
            listener = self._listens_at()
            listener.bind((self._address, self._port))
            server = await asyncio.start_server(self._accept, sock=listener)
        self._server = server
        self._port = server.sockets[0].getsockname()[1]
        return f"{self._address}:{self._port}"

    def cut(self) -> None:
        """Hold everything from now on: bytes, ends and new connections."""
        self._passes.clear()

    def heal(self) -> None:
        """Pass on what was held, and what comes."""
        self._passes.set()

    async def stop(self) -> None:
        """Close all connections."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self._passes.wait()
            there, back = await call(self._target, self._calls_from)
        except OSError:
            writer.close()
            return
        except asyncio.CancelledError:
            # A server's own task may not end cancelled: asyncio would print it.
            writer.close()
            return
        try:
            await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))
        except asyncio.CancelledError:
            pass
        finally:
            back.close()
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
        await self._passes.wait()
        # uvloop raises the second for a connection that has broken.
        with suppress(OSError, RuntimeError):
            writer.write_eof()


class Loopback:
    """Hosts 0 to `count`, each with an address of its own."""

    def __init__(self, count: int) -> None:
        second, third = (random.SystemRandom().randrange(1, 255) for _ in range(2))
        self._prefix = f"127.{second}.{third}"
        self._ways: dict[int, list[Relay]] = {host: [] for host in range(count + 1)}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for relays in self._ways.values():
            for relay in relays:
                await relay.stop()

    def address(self, host: int) -> str:
        """The address of a host."""
        return f"{self._prefix}.{host + 1}"

    async def way(self, host: int, address: str, port: int) -> str:
        """Where a host reaches an address; `host:port`."""
        relay = Relay(f"{self._prefix}.{host + 101}", (address, port))
        self._ways[host].append(relay)
        return await relay.start()

    async def entrance(self, host: int, port: int) -> str:
        """Where the test reaches a host; `host:port`."""
        return await self.way(host, self.address(host), port)

    async def exit(self, host: int, port: int) -> str:
        """Where a host reaches a port of this machine's own loopback address; `host:port`."""
        return await self.way(host, "127.0.0.1", port)

    new_socket = None
    """The hosts are on this thread's own network."""

    def file(self, host: int) -> str:
        """The file of a host's network: none of its own."""
        del host
        return ""

    def command(self, host: int, arguments: Sequence[str]) -> list[str]:
        """The command that runs another one on a host."""
        del host
        return list(arguments)

    def run(self, host: int, arguments: Sequence[str], **options: Any) -> "subprocess.Popen[str]":
        """Start a program on a host."""
        return subprocess.Popen(self.command(host, arguments), text=True, **options)

    def cut(self, host: int) -> None:
        """Hold what goes to and from a host."""
        for relay in self._ways[host]:
            relay.cut()

    def heal(self, host: int) -> None:
        """Let it pass again."""
        for relay in self._ways[host]:
            relay.heal()
