"""A small network of namespaces: a switch, and hosts whose cables can be pulled.

    with Network(3) as network:
        network.run(1, ["python", "-m", "proxy"])     # on the host 10.x.y.1
        network.cut(1)                                 # its packets are dropped
        network.heal(1)

The test itself is a host of it as well (`network.here`), so is whatever runs with `run(0, …)`.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self


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
    """Hosts 0 to `count` on one switch, and this process as host 254."""

    def __init__(self, count: int) -> None:
        self._name = f"pt{random.SystemRandom().randrange(16**4):04x}"
        second, third = (random.SystemRandom().randrange(1, 255) for _ in range(2))
        self._prefix = f"10.{second}.{third}"
        self._hosts = range(count + 1)
        self.here = f"{self._prefix}.254"

    def address(self, host: int) -> str:
        """The address of a host."""
        return f"{self._prefix}.{host + 1}"

    async def way(self, host: int, address: str, port: int) -> str:
        """Where a host reaches an address, or where others reach it; `host:port`."""
        del host
        return f"{address}:{port}"

    def _space(self, host: int | str) -> str:
        return f"{self._name}-{host}"

    def __enter__(self) -> Self:
        try:
            switch = self._space("switch")
            _ip("netns", "add", switch)
            _ip("-n", switch, "link", "add", "sw", "type", "bridge")
            _ip("-n", switch, "link", "set", "sw", "up")
            for host in self._hosts:
                space = self._space(host)
                _ip("netns", "add", space)
                _ip(
                    "-n",
                    space,
                    "link",
                    "add",
                    "eth",
                    "type",
                    "veth",
                    "peer",
                    f"p{host}",
                    "netns",
                    switch,
                )
                _ip("-n", space, "address", "add", f"{self.address(host)}/24", "dev", "eth")
                for device in ("lo", "eth"):
                    _ip("-n", space, "link", "set", device, "up")
                self.heal(host)
            _ip("link", "add", self._name, "type", "veth", "peer", "here", "netns", switch)
            _ip("address", "add", f"{self.here}/24", "dev", self._name)
            _ip("link", "set", self._name, "up")
            _ip("-n", switch, "link", "set", "here", "master", "sw", "up")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for space in ("switch", *self._hosts):
            subprocess.run(
                ["ip", "netns", "del", self._space(space)], check=False, capture_output=True
            )
        subprocess.run(["ip", "link", "del", self._name], check=False, capture_output=True)

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
