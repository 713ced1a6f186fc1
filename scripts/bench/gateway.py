"""The proxy's `/v1/chat/completions` beside other gateways, in front of the same fake upstream.

    uv run python scripts/bench/gateway.py --rounds 5
    uv run python scripts/bench/gateway.py --litellm          (installs it into a throw-away folder)
    uv run python scripts/bench/gateway.py --many 2000        (that many streams at once)

The gateway has one core, the load and the upstream share another one. Rounds are interleaved,
so that what else the machine does meets all alike; the table shows medians. Every reply is
compared with what the upstream said. CPU is the gateway's own process, read from the kernel:
it holds on a busy machine, where requests a second do not.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httptools
import orjson
import uvloop
from fake_upstream import shape_of, text_of

HERE = Path(__file__).parent
KEY = "sk-bench-0123456789"
GATEWAY_CORE, LOAD_CORE = 0, 1

SCENARIOS = {
    "one": ("text-20-0", False, 1),
    "requests": ("text-20-0", False, 16),
    "chunks": ("text-500-0", True, 64),
    "paced": ("text-100-10", True, 64),
}
"""Name → model, stream, connections."""


@dataclass
class Target:
    name: str
    port: int
    pid: int


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def process(
    command: list[str], core: int, port: int, seconds: float = 60, **environment: str
) -> Iterator[int]:
    """A server on a core of its own, once its port answers; gives its pid."""
    printed = tempfile.TemporaryFile()  # noqa: SIM115 - the process writes to it to its end
    running = subprocess.Popen(
        ["taskset", "-c", str(core), *command],
        cwd=HERE,
        env={**os.environ, **environment},
        stdout=printed,
        stderr=printed,
        start_new_session=True,
    )
    deadline = time.monotonic() + seconds
    try:
        while True:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if running.poll() is not None or time.monotonic() > deadline:
                printed.seek(0)
                said = printed.read().decode(errors="replace")[-500:]
                raise RuntimeError(f"{command[0]} did not start: {said}")
            time.sleep(0.1)
        yield running.pid
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGTERM)
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)


def cpu_seconds(pid: int) -> float:
    """CPU of all threads of one process."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return total / 1e9


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


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
        self.body, self.times = [], []
        self.parser = httptools.HttpResponseParser(self)
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        status = await asyncio.wait_for(self.done, 120)
        body = b"".join(self.body)
        if status != 200:
            raise RuntimeError(f"status {status}: {body[:200]!r}")
        return body, self.times


def request_of(model: str, stream: bool) -> bytes:
    body = orjson.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": "Write a short reply about load tests."}],
            "stream": stream,
        }
    )
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"content-type: application/json\r\nauthorization: Bearer %s\r\n"
        b"content-length: %d\r\n\r\n%s" % (KEY.encode(), len(body), body)
    )


def said(body: bytes, stream: bool) -> str:
    if not stream:
        return str(orjson.loads(body)["choices"][0]["message"]["content"])
    text = ""
    for frame in body.split(b"\n\n"):
        if frame.startswith(b"data: ") and frame != b"data: [DONE]":
            for choice in orjson.loads(frame[6:]).get("choices", ()):
                text += choice["delta"].get("content") or ""
    return text


async def load(target: Target, model: str, stream: bool, connections: int, seconds: float) -> Any:
    """Each connection asks again when its answer is complete; every answer is checked."""
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(Client, "127.0.0.1", target.port))[1]
        for _ in range(connections)
    ]
    request = request_of(model, stream)
    await clients[0].ask(request)
    bodies: set[bytes] = set()
    latencies: list[float] = []
    deadline = time.perf_counter() + seconds

    async def work(client: Client) -> None:
        while time.perf_counter() < deadline:
            began = time.perf_counter()
            body, times = await client.ask(request)
            latencies.append(times[-1] - began)
            bodies.add(body)

    cpu, began = cpu_seconds(target.pid), time.perf_counter()
    await asyncio.gather(*map(work, clients))
    elapsed, cpu = time.perf_counter() - began, cpu_seconds(target.pid) - cpu
    for client in clients:
        client.transport.close()
    for body in bodies:
        if said(body, stream) != text_of(model):
            raise RuntimeError(f"{target.name} changed a reply")
    chunks = shape_of(model)[0]
    return {
        "requests": len(latencies),
        "requests_per_second": len(latencies) / elapsed,
        "chunks_per_second": len(latencies) * chunks / elapsed,
        "cpu_ms_per_request": cpu / len(latencies) * 1e3,
        "cpu_us_per_chunk": cpu / len(latencies) / chunks * 1e6,
        "p50_ms": statistics.median(latencies) * 1e3,
    }


async def many(target: Target, streams: int) -> Any:
    """So many streams at one chunk a second: memory, and how late chunks are."""
    model = "text-10-1000"
    request = request_of(model, True)
    loop = asyncio.get_running_loop()
    late: list[float] = []

    async def one() -> None:
        _, client = await loop.create_connection(Client, "127.0.0.1", target.port)
        body, times = await client.ask(request)
        late.extend(times[i + 1] - times[0] - (i + 1) for i in range(min(len(times) - 1, 10)))
        client.transport.close()
        if said(body, True) != text_of(model):
            raise RuntimeError(f"{target.name} changed a reply")

    tasks = [asyncio.ensure_future(one()) for _ in range(streams)]
    await asyncio.sleep(6)
    memory = resident_mib(target.pid)
    await asyncio.gather(*tasks)
    late.sort()
    return {
        "streams": streams,
        "resident_mib": memory,
        "p99_late_ms": late[int(len(late) * 0.99)] * 1e3,
    }


def litellm_command(folder: Path, upstream: str, port: int) -> list[str]:
    """Install LiteLLM where nothing else lives, and say how it is started."""
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        (folder / "venv").parent.mkdir(exist_ok=True)
        subprocess.run(["uv", "venv", "-q", str(folder / "venv")], check=True)
        install = ["uv", "pip", "install", "-q", "-p", str(python), "litellm[proxy]"]
        # Elsewhere, so that our own pyproject.toml has no say in it.
        subprocess.run(install, check=True, cwd=folder)
    models = sorted({model for model, _, _ in SCENARIOS.values()})
    entries = [
        {
            "model_name": model,
            "litellm_params": {
                "model": f"openai/{model}",
                "api_base": f"{upstream}/v1",
                "api_key": "x",
            },
        }
        for model in models
    ]
    config = {
        "model_list": entries,
        "litellm_settings": {"telemetry": False},
        "general_settings": {"master_key": KEY},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    start = [str(folder / "venv" / "bin" / "litellm"), "--config", str(folder / "config.yaml")]
    return [*start, "--host", "127.0.0.1", "--port", str(port)]


def start_targets(stack: ExitStack, options: argparse.Namespace, folder: Path) -> list[Target]:
    port = free_port()
    upstream = f"http://127.0.0.1:{port}"
    command = [sys.executable, "fake_upstream.py", str(port)]
    targets = [Target("direct", port, stack.enter_context(process(command, LOAD_CORE, port)))]

    port = free_port()
    uvicorn = [sys.executable, "-m", "uvicorn", "--no-access-log", "--log-level", "error"]
    command = [*uvicorn, "bare_gateway:app", "--port", str(port)]
    pid = stack.enter_context(process(command, GATEWAY_CORE, port, UPSTREAM=upstream))
    targets.append(Target("bare pass-through", port, pid))

    port = free_port()
    environment = {
        "OPENAI_BASE_URL": f"{upstream}/v1",
        "OPENAI_API_KEY": "sk-none",
        "PROXY_PORT": str(port),
        "PROXY_API_KEYS": KEY,
        "PROXY_DATA_DIR": str(folder / "data"),
        "PROXY_LOG_LEVEL": "error",
        "PROXY_STREAMS": "10000",
    }
    command = [sys.executable, "-m", "proxy"]
    pid = stack.enter_context(process(command, GATEWAY_CORE, port, **environment))
    targets.append(Target("this proxy", port, pid))

    if options.litellm:
        port = free_port()
        command = litellm_command(folder / "litellm", upstream, port)
        pid = stack.enter_context(
            process(
                command,
                GATEWAY_CORE,
                port,
                seconds=180,
                LITELLM_LOCAL_MODEL_COST_MAP="True",
                LITELLM_LOG="ERROR",
            )
        )
        targets.append(Target("LiteLLM", port, pid))
    return targets


def median(runs: list[dict[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def table(results: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    rows = [
        "| | req/s, 16 connections | CPU ms a request | added p50 ms, 1 connection "
        "| chunks/s, 64 streams | CPU µs a chunk at 10 ms pace |",
        "|---|---|---|---|---|---|",
    ]
    floor = median(results["direct"]["one"], "p50_ms")
    for name, found in results.items():
        is_direct = name == "direct"
        cells = [
            f"{median(found['requests'], 'requests_per_second'):,.0f}",
            "–" if is_direct else f"{median(found['requests'], 'cpu_ms_per_request'):.2f}",
            "–" if is_direct else f"{median(found['one'], 'p50_ms') - floor:.2f}",
            f"{median(found['chunks'], 'chunks_per_second'):,.0f}",
            "–" if is_direct else f"{median(found['paced'], 'cpu_us_per_chunk'):.0f}",
        ]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


async def measure(targets: list[Target], options: argparse.Namespace) -> dict[str, Any]:
    results: dict[str, Any] = {target.name: {name: [] for name in SCENARIOS} for target in targets}
    for number in range(options.rounds):
        for scenario, (model, stream, connections) in SCENARIOS.items():
            for target in targets:
                found = await load(target, model, stream, connections, options.seconds)
                results[target.name][scenario].append(found)
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--litellm", action="store_true")
    parser.add_argument("--many", type=int, default=0)
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        targets = start_targets(stack, options, Path(name))
        results = uvloop.run(measure(targets, options))
        print(table(results))
        crowd = None
        if options.many:
            crowd = uvloop.run(many(targets[2], options.many))
            print(json.dumps(crowd))
    record = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "results": results,
        "many": crowd,
    }
    path = HERE / "results" / "gateway.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
