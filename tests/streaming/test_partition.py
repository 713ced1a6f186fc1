"""Three servers with addresses of their own on one database, one of them cut off in mid-reply.

Its packets are dropped, its process goes on: it does not know, and neither do the others.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.scripted import script, wait
from tests.fakes.wire_server import FLAGS, MEMORY, find_program, until_listening
from tests.support import loopback, network
from tests.support.command import Process
from tests.support.loopback import Loopback, Relay
from tests.support.network import Network
from tests.support.replies import create, history, joining, say, streaming
from tests.support.warm_process import WarmProcess

IN_NAMESPACES = os.environ.get("TEST_NETWORK") != "loopback" and network.is_possible()
"""Whether the hosts are namespaces; `TEST_NETWORK=loopback` has them on loopback addresses."""


def of_processes(test: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a test that runs servers on hosts of their own."""
    for mark in (
        pytest.mark.slow,
        pytest.mark.skipif(not loopback.is_possible(), reason="one loopback address only"),
        pytest.mark.skipif(find_program() is None, reason="no database server to run"),
        pytest.mark.timeout(300),
    ):
        test = mark(test)
    return test


KEY = "k" * 40
LEASE_SECONDS = 4
ASK = """
import sys, time, urllib.request

url, wanted = sys.argv[1:]
while True:
    try:
        answer = urllib.request.urlopen(url, timeout=9).read().decode()
    except OSError:
        answer = ""
    if wanted in ("anything", "success" if answer else "failure"):
        print(answer)
        break
    time.sleep(0.1)
"""
"""Asks until the answer is of the wanted kind, in one process: a server's start takes seconds."""


@dataclass
class Cluster:
    """Hosts: 0 is the database, 1 to 3 are servers."""

    network: Network | Loopback
    clients: list[httpx.AsyncClient]

    async def asked_from_itself(self, host: int, path: str, wanted: str = "anything") -> Any:
        """What a server answers on its own machine, cut off or not; None without a success."""
        url = f"http://{self.network.address(host)}:8000{path}"
        command = self.network.command(host, [sys.executable, "-c", ASK, url, wanted])
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout) if done.stdout.strip() else None

    async def until_ready(self, host: int, ready: bool = True) -> None:
        """Wait until a server says that it is, or is not, ready."""
        await self.asked_from_itself(host, "/readyz", "success" if ready else "failure")


@asynccontextmanager
async def cluster(
    upstream: OpenAIUpstream, folder: Path, *, in_namespaces: bool
) -> AsyncIterator[Cluster]:
    program = find_program()
    assert program is not None
    processes: list[Process] = []
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    upstream_port = int(upstream.origin.rpartition(":")[2])
    async with AsyncExitStack() as stack:
        interfaces = socket.if_nameindex()
        hosts: Network | Loopback = Network(3) if in_namespaces else Loopback(3)
        await stack.enter_async_context(hosts)
        assert socket.if_nameindex() == interfaces, "a browser would give up what it loads"
        try:
            storage = ["--host", hosts.address(0), "--port", "27017"]
            data = stack.enter_context(TemporaryDirectory(dir=MEMORY))
            storage += ["--storage-path", data, *FLAGS.split()]
            processes.append(hosts.run(0, [program, *storage], **quiet))
            # Servers wait for it some seconds only, on a busy machine not long enough.
            await until_listening(hosts.address(0), 27017, hosts.new_socket)
            clients = []
            for host in (1, 2, 3):
                database = await hosts.way(host, hosts.address(0), 27017)
                variables = {
                    "PROXY_HOST": hosts.address(host),
                    "PROXY_MONGODB_URI": f"mongodb://{database}/"
                    "?directConnection=true&retryWrites=false",
                    "PROXY_API_KEYS": KEY,
                    "PROXY_LEASE_SECONDS": str(LEASE_SECONDS),
                    "PROXY_CHECKPOINT_SECONDS": "0.1",
                    "PROXY_SHUTDOWN_GRACE_SECONDS": "0",
                    "PROXY_STORAGE_RETRY_SECONDS": "60",
                    "OPENAI_BASE_URL": f"http://{await hosts.exit(host, upstream_port)}/v1",
                    "OPENAI_API_KEY": "sk-test",
                }
                environment = {**os.environ, **variables}
                processes.append(
                    WarmProcess(folder, ["serve"], environment, network=hosts.file(host))
                )
                clients.append(
                    httpx.AsyncClient(
                        base_url=f"http://{await hosts.entrance(host, 8000)}",
                        timeout=60,
                        headers={"authorization": f"Bearer {KEY}"},
                    )
                )
            found = Cluster(hosts, clients)
            await asyncio.gather(*(found.until_ready(host) for host in (1, 2, 3)))
            yield found
            for client in clients:
                await client.aclose()
        finally:
            # A server that ends without its database first waits for it.
            for ending in (processes[1:], processes[:1]):
                for process in ending:
                    process.terminate()
                for process in ending:
                    await asyncio.to_thread(process.communicate, timeout=60)


async def test_a_relay_that_is_cut_holds_all_and_closes_nothing() -> None:
    closed = asyncio.Event()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        closed.set()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        relay = Relay("127.0.0.1", server.sockets[0].getsockname()[:2])
        host, _, port = (await relay.start()).partition(":")
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"a")
        assert await reader.read(9) == b"a"
        relay.cut()
        writer.write(b"b")
        held = asyncio.create_task(reader.read(9))
        # A connection that is made now, and one that ends: nobody there hears of either.
        other_reader, other_writer = await asyncio.open_connection(host, port)
        other_writer.write(b"c")
        late = asyncio.create_task(other_reader.read(9))
        writer.write_eof()
        await asyncio.wait((held, late), timeout=0.05)
        assert [held.done(), late.done(), closed.is_set()] == [False] * 3
        relay.heal()
        assert [await held, await late] == [b"b", b"c"]
        assert await reader.read(9) == b""
        assert closed.is_set()
        for each in (writer, other_writer):
            each.close()
        await relay.stop()


@of_processes
async def test_a_server_that_is_cut_off_in_mid_reply_loses_and_doubles_nothing(
    openai: OpenAIUpstream, tmp_path: Path
) -> None:
    go_on = asyncio.Event()
    answered: list[int] = []
    held = openai.texts("so ") + script(wait(go_on), openai.text("far")) + openai.end()
    openai.play(held, openai.reply("quick"))
    async with cluster(openai, tmp_path, in_namespaces=IN_NAMESPACES) as found:
        one, two, three = found.clients
        id_ = await create(one)
        async with streaming(one, id_, "first", key="k1") as stream:
            await stream.until("so ")
            async with joining(two, stream.message_id) as joined:
                await joined.until("so ")

                found.network.cut(1)
                # The others go on, in the same conversation as well.
                for client in (two, three):
                    answer = await say(client, id_, "meanwhile", key=f"k{len(answered)} b")
                    assert answer.status_code == 200, answer.text
                    answered.append(answer.json()["assistant_message_id"])
                # Whoever follows elsewhere is told that its writer is gone, and keeps the text.
                frames = await joined.rest()
                assert frames[-1]["error"]["type"] == "interrupted"
                assert joined.text == "so "
                # The one that is cut off knows that it should get no requests.
                await found.until_ready(1, ready=False)
                assert await found.asked_from_itself(1, "/livez") == {"status": "alive"}

                found.network.heal(1)
                await found.until_ready(1)
                go_on.set()
        # The same request again, to each of them: the turn exists once.
        for client in (one, two, three):
            again = await say(client, id_, "first", key="k1", stream=True)
            assert again.status_code in (200, 409, 502, 503), again.text
        histories = [await history(client, id_) for client in (one, two, three)]
        contents = [message["content"] for message in histories[0]]
        while histories[0][1]["status"] == "streaming":
            histories = [await history(client, id_) for client in (one, two, three)]
        assert contents.count("first") == 1
        assert contents.count("meanwhile") == len(answered) == 2
        for each in histories:
            assert [m["id"] for m in each] == [m["id"] for m in histories[0]]
        ids = [message["id"] for message in histories[0]]
        assert len(set(ids)) == len(ids) == 6
        replies = {m["id"]: m for m in histories[0] if m["role"] == "assistant"}
        for message_id in answered:
            assert (replies[message_id]["status"], replies[message_id]["content"]) == (
                "complete",
                "quick",
            )
        # Ended honestly: as far as it was stored, or whole where its writer came back in time.
        cut = replies[stream.message_id]
        assert (cut["status"], cut["content"]) in {
            ("interrupted", "so "),
            ("complete", "so far"),
            ("failed", "so "),
            ("truncated", "so "),
        }
        assert [request.json["messages"][-1]["content"] for request in openai.requests].count(
            "first"
        ) == 1


@of_processes
async def test_stops_and_joins_work_from_any_server(openai: OpenAIUpstream, tmp_path: Path) -> None:
    openai.play(openai.stall_after("so far"))
    # Nobody is cut off: this one shows that the other kind of network works as well.
    async with cluster(openai, tmp_path, in_namespaces=False) as found:
        one, two, three = found.clients
        id_ = await create(one)
        async with streaming(one, id_) as stream:
            await stream.until("so far")
            async with joining(two, stream.message_id) as joined:
                await joined.until("so far")
                stopped = await three.post(f"/v1/chat/messages/{stream.message_id}/stop")
                assert stopped.status_code == 200, stopped.text
                for each in (stream, joined):
                    assert (await each.rest())[-1] == {"content": "", "finish_reason": "stop"}
        for client in found.clients:
            _, reply = await history(client, id_)
            assert (reply["status"], reply["content"]) == ("stopped", "so far")
