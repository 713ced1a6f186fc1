"""A small network of namespaces: a switch, and hosts whose cables can be pulled.

    async with Network(3) as network:
        network.run(1, ["python", "-m", "proxy"])     # on the host 10.x.y.2
        await network.entrance(1, 8000)                # where the test reaches it
        network.cut(1)                                 # its packets are dropped
        network.heal(1)

This machine's own network stays as it is: a browser whose page loads while an address comes or goes
gives up what it loads. So the test reaches the hosts by relays, whose sockets on that network are
those of one more host.
"""

import ctypes
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from tests.support.loopback import Relay

_CLONE_NEWNET = 0x40000000


def enter(network: str) -> None:
    """Move this thread into the namespace with that file: Python 3.12 has a function for that."""
    with open(network, "rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), network)


def is_possible() -> bool:
    """Whether this machine lets us make namespaces."""
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    return (
        subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode
        == 0
    )


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Network:
    """Hosts 0 to `count` on one switch, and one more for the sockets of this process."""

    def __init__(self, count: int) -> None:
        self._name = f"pt{random.SystemRandom().randrange(16**4):04x}"
        second, third = (random.SystemRandom().randrange(1, 255) for _ in range(2))
        self._prefix = f"10.{second}.{third}"
        self._hosts = range(count + 2)
        self._here = count + 1
        self._relays: list[Relay] = []
        # A thread is in one network at a time.
        self._thread = ThreadPoolExecutor(1)

    def address(self, host: int) -> str:
        """The address of a host."""
        return f"{self._prefix}.{host + 1}"

    async def way(self, host: int, address: str, port: int) -> str:
        """Where a host reaches another one's address; `host:port`."""
        del host
        return f"{address}:{port}"

    async def entrance(self, host: int, port: int) -> str:
        """Where the test reaches a host; `host:port`."""
        relay = Relay("127.0.0.1", (self.address(host), port), calls_from=self.new_socket)
        self._relays.append(relay)
        return await relay.start()

    async def exit(self, host: int, port: int) -> str:
        """Where a host reaches a port of this machine's own loopback address; `host:port`."""
        del host
        relay = Relay(self.address(self._here), ("127.0.0.1", port), listens_at=self.new_socket)
        self._relays.append(relay)
        return await relay.start()

    def new_socket(self) -> socket.socket:
        """A new socket of the network.

        It is of the protocol for which asyncio turns Nagle's algorithm off.
        """
        made = self._thread.submit(socket.socket, proto=socket.IPPROTO_TCP)
        return made.result()

    def _space(self, host: int | str) -> str:
        return f"{self._name}-{host}"

    async def __aenter__(self) -> Self:
        try:
            switch = self._space("switch")
            _ip("netns", "add", switch)
            _ip("-n", switch, "link", "add", "sw", "type", "bridge")
            _ip("-n", switch, "link", "set", "sw", "up")
            for host in self._hosts:
                space = self._space(host)
                cable = ("eth", "type", "veth", "peer", f"p{host}", "netns", switch)
                _ip("netns", "add", space)
                _ip("-n", space, "link", "add", *cable)
                _ip("-n", space, "address", "add", f"{self.address(host)}/24", "dev", "eth")
                for device in ("lo", "eth"):
                    _ip("-n", space, "link", "set", device, "up")
                self.heal(host)
            self._thread.submit(enter, self.file(self._here)).result()
        except BaseException:
            await self._remove()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._remove()

    async def _remove(self) -> None:
        for relay in self._relays:
            await relay.stop()
        self._thread.shutdown()
        self._delete_spaces()

    def _delete_spaces(self) -> None:
        for space in ("switch", *self._hosts):
            subprocess.run(
                ["ip", "netns", "del", self._space(space)], check=False, capture_output=True
            )

    def file(self, host: int) -> str:
        """The file of a host's network, for a process that enters it by itself."""
        return f"/run/netns/{self._space(host)}"

    def command(self, host: int, arguments: Sequence[str]) -> list[str]:
        """The command that runs another one on a host."""
        return ["ip", "netns", "exec", self._space(host), *arguments]

    def run(self, host: int, arguments: Sequence[str], **options: Any) -> "subprocess.Popen[str]":
        """Start a program on a host."""
        return subprocess.Popen(self.command(host, arguments), text=True, **options)

    def cut(self, host: int) -> None:
        """Take a host's cable out of the switch: both sides stay up, nothing passes."""
        _ip("-n", self._space("switch"), "link", "set", f"p{host}", "nomaster")

    def heal(self, host: int) -> None:
        """Plug it in again."""
        _ip("-n", self._space("switch"), "link", "set", f"p{host}", "master", "sw", "up")
