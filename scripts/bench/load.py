"""A load client that costs little, and checks every answer to the last character."""

import asyncio
import itertools
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httptools
import orjson
from fake_upstream import shape_of, text_of
from monitor import looks_of, worst
from processes import cpu_seconds, resident_mib, with_workers

KEY = "sk-bench-0123456789"
COMPLETIONS = "/v1/chat/completions"
CONVERSATIONS = "/v1/chat/conversations"
QUESTION = "Write a short reply about load tests."
TURNS_A_CONVERSATION = 10


@dataclass
class Target:
    """A server under load; `gaps` is the file of its event loop's monitor."""

    name: str
    port: int
    pid: int
    gaps: Path | None = None


class Client(asyncio.Protocol):
    """One kept connection; one request at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.body: list[bytes] = []
        self.times: list[float] = []

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body.append(body)
        self.times.append(time.perf_counter())

    def on_message_complete(self) -> None:
        self.done.set_result(self.parser.get_status_code())

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError("closed in the middle of an answer"))

    async def ask(self, request: bytes) -> tuple[bytes, list[float]]:
        """Return the body, and when each part of it came."""
        self.body, self.times = [], []
        self.parser = httptools.HttpResponseParser(self)
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        status = await asyncio.wait_for(self.done, 120)
        body = b"".join(self.body)
        if status != 200:
            raise RuntimeError(f"status {status}: {body[:200]!r}")
        return body, self.times


async def connect(target: Target) -> Client:
    loop = asyncio.get_running_loop()
    return (await loop.create_connection(Client, "127.0.0.1", target.port))[1]


def post(path: str, body: dict[str, Any]) -> bytes:
    raw = orjson.dumps(body)
    return (
        b"POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"content-type: application/json\r\nauthorization: Bearer %s\r\n"
        b"content-length: %d\r\n\r\n%s" % (path.encode(), KEY.encode(), len(raw), raw)
    )


def completion(model: str, stream: bool) -> bytes:
    messages = [{"role": "user", "content": QUESTION}]
    return post(COMPLETIONS, {"model": model, "messages": messages, "stream": stream})


async def turn(client: Client, model: str, stream: bool) -> bytes:
    """Return a turn in a new conversation of its own."""
    body, _ = await client.ask(post(CONVERSATIONS, {"model": model}))
    path = f"{CONVERSATIONS}/{orjson.loads(body)['conversation_id']}/messages"
    return post(path, {"content": QUESTION, "stream": stream})


def said(body: bytes, stream: bool) -> str:
    """Return the text of an answer of either API."""
    if not stream:
        whole = orjson.loads(body)
        return str(
            whole["reply"] if "reply" in whole else whole["choices"][0]["message"]["content"]
        )
    text = ""
    for frame in body.split(b"\n\n"):
        if frame.startswith(b"data: ") and frame != b"data: [DONE]":
            payload = orjson.loads(frame[6:])
            text += payload.get("content", "")
            for choice in payload.get("choices", ()):
                text += choice["delta"].get("content") or ""
    return text


def check(target: Target, body: bytes, model: str, stream: bool) -> None:
    if said(body, stream) != text_of(model):
        raise RuntimeError(f"{target.name} changed a reply")


def worst_gap(target: Target) -> list[float] | None:
    """`[gap ms, CPU ms]` of the event loop since the last call."""
    if target.gaps is None:
        return None
    return worst(looks_of(target.pid, target.gaps))


async def load(
    target: Target,
    model: str,
    *,
    stream: bool,
    connections: int,
    seconds: float,
    turns: bool = False,
) -> dict[str, Any]:
    """Each connection asks again when its answer is complete; every answer is checked.

    `turns` are those of conversations, each connection's its own, ten a conversation; else
    chat completions.
    """
    clients = [await connect(target) for _ in range(connections)]
    requests = [
        await turn(client, model, stream) if turns else completion(model, stream)
        for client in clients
    ]
    await clients[0].ask(requests[0])
    bodies: set[bytes] = set()
    latencies: list[float] = []
    first: list[float] = []
    worst_gap(target)
    deadline = time.perf_counter() + seconds

    async def work(client: Client, request: bytes) -> None:
        for number in itertools.count(2):
            began = time.perf_counter()
            if began > deadline:
                break
            body, times = await client.ask(request)
            latencies.append(times[-1] - began)
            first.append(times[0] - began)
            if body in bodies:
                continue
            if turns:
                # No two are alike: their ids differ.
                check(target, body, model, stream)
                if number % TURNS_A_CONVERSATION == 0:
                    request = await turn(client, model, stream)
            else:
                bodies.add(body)

    pids = with_workers(target.pid)
    cpu, began = cpu_seconds(pids), time.perf_counter()
    await asyncio.gather(*map(work, clients, requests))
    elapsed, cpu = time.perf_counter() - began, cpu_seconds(pids) - cpu
    gap = worst_gap(target)
    for client in clients:
        client.transport.close()
    for body in bodies:
        check(target, body, model, stream)
    chunks = shape_of(model)[0]
    return {
        "requests": len(latencies),
        "requests_per_second": len(latencies) / elapsed,
        "chunks_per_second": len(latencies) * chunks / elapsed,
        "cpu_ms_per_request": cpu / len(latencies) * 1e3,
        "cpu_us_per_chunk": cpu / len(latencies) / chunks * 1e6,
        "p50_ms": statistics.median(latencies) * 1e3,
        "first_byte_p50_ms": statistics.median(first) * 1e3,
        **({"worst_gap_ms": gap[0], "worst_gap_cpu_ms": gap[1]} if gap else {}),
    }


async def crowd(target: Target, streams: int, *, turns: bool = False) -> dict[str, Any]:
    """So many streams at one chunk a second: memory, and how late chunks are.

    They begin within a second, not at one instant: so many people do not ask in step. A
    chunk's time is held against its stream's first.
    """
    model = "text-10-1000"
    late: list[float] = []

    async def one(number: int) -> None:
        await asyncio.sleep(number / streams)
        client = await connect(target)
        request = await turn(client, model, True) if turns else completion(model, True)
        body, times = await client.ask(request)
        # The first part may come ahead of the text: the upstream paces what follows it.
        late.extend(times[i] - times[1] - (i - 1) for i in range(2, min(len(times), 11)))
        client.transport.close()
        check(target, body, model, True)

    worst_gap(target)
    tasks = [asyncio.ensure_future(one(number)) for number in range(streams)]
    await asyncio.sleep(7)
    memory = resident_mib(target.pid)
    await asyncio.gather(*tasks)
    gap = worst_gap(target)
    late.sort()
    return {
        "streams": streams,
        "resident_mib": memory,
        "p50_late_ms": late[len(late) // 2] * 1e3,
        "p99_late_ms": late[int(len(late) * 0.99)] * 1e3,
        **({"worst_gap_ms": gap[0], "worst_gap_cpu_ms": gap[1]} if gap else {}),
    }


async def deaf(target: Target, readers: int, seconds: float) -> dict[str, Any]:
    """Clients that ask for a long stream and read nothing: what that costs in memory."""
    model = "text-50000-0"
    before = resident_mib(target.pid)
    sockets = []
    for _ in range(readers):
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port, limit=1024)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(completion(model, True))
        sockets.append(writer)
    await asyncio.sleep(seconds)
    after = resident_mib(target.pid)
    for writer in sockets:
        writer.close()
    return {"readers": readers, "mib_a_reader": (after - before) / readers}
