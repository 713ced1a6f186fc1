"""What `/v1/responses` costs beside `/v1/chat/completions`, and beside a bare pass-through.

    uv run python scripts/bench/responses.py --rounds 5

CPU of the server alone, read from the kernel; the rounds of all rows are interleaved. The table
shows the median and the lowest and highest of the rounds.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from processes import HERE, cpu_seconds, free_port, process, with_workers

KEY = "sk-bench-0123456789"
CHUNKS = 400
TURN = 10
"""Requests of a row before the next row has its turn: what else the machine does is in all."""
SHORT, LONG = "text-20-0", f"text-{CHUNKS}-0"


def chat(model: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    messages = [{"role": "user", "content": "x"}]
    return "/v1/chat/completions", {"model": model, "messages": messages, "stream": stream}


def response(model: str, *, stream: bool, store: bool = False) -> tuple[str, dict[str, Any]]:
    return "/v1/responses", {"model": model, "input": "x", "stream": stream, "store": store}


REQUESTS = {
    "bare pass-through": ("bare", response(SHORT, stream=False)),
    "a completion": ("proxy", chat(SHORT, stream=False)),
    "a native response": ("native", response(SHORT, stream=False)),
}
KEPT = "a completion, kept"
STREAMS = {
    "a completion": ("proxy", chat(LONG, stream=True)),
    KEPT: ("proxy", chat(LONG, stream=True)),
    "a response, not kept": ("proxy", response(LONG, stream=True)),
    "a response, kept": ("proxy", response(LONG, stream=True, store=True)),
    "a native response, not kept": ("native", response(LONG, stream=True)),
    "a native response, kept": ("native", response(LONG, stream=True, store=True)),
}


def ask(client: httpx.Client, path: str, body: dict[str, Any]) -> None:
    with client.stream("POST", path, json=body) as answer:
        size = sum(map(len, answer.iter_bytes()))
        assert answer.status_code == 200, answer.status_code
        assert size > 200


PAIRS = [
    ("a native response", "a completion"),
    ("a response, not kept", "a completion"),
    ("a native response, not kept", "a completion"),
    ("a response, kept", KEPT),
    ("a native response, kept", KEPT),
]
"""Rows that are compared round by round, so that what else the machine does is in both."""


def spread(values: list[float]) -> str:
    """Return the median and the range of the rounds."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def new_conversation(client: httpx.Client) -> str:
    """Return the id of one: a completion that is kept goes on in one that is there."""
    return str(
        client.post("/v1/conversations", json={}).raise_for_status().json()["id"]
    ).removeprefix("conv_")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--streams", type=int, default=8)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    with ExitStack() as stack:
        up, ports = free_port(), {name: free_port() for name in ("bare", "proxy", "native")}
        upstream = f"http://127.0.0.1:{up}"
        stack.enter_context(process([sys.executable, "fake_upstream.py", str(up)], "1", up))
        uvicorn = [sys.executable, "-m", "uvicorn", "--no-access-log", "--log-level", "error"]
        bare = [*uvicorn, "bare_gateway:app", "--port", str(ports["bare"])]
        pids = {
            "bare": stack.enter_context(
                process(bare, "0", ports["bare"], UPSTREAM=upstream, ENDPOINT="/v1/responses")
            )
        }
        for name in ("proxy", "native"):
            protocol = "native" if name == "native" else "chat"
            environment = {
                "OPENAI_BASE_URL": f"{upstream}/v1",
                "OPENAI_API_KEY": "sk-none",
                "PROXY_PORT": str(ports[name]),
                "PROXY_API_KEYS": KEY,
                "PROXY_DATA_DIR": str(folder / name),
                "PROXY_LOG_LEVEL": "error",
                "PROXY_MODELS": json.dumps({"text-*": {"responses": protocol}}),
                "PYTHONPATH": os.environ.get("PYTHONPATH", str(HERE.parents[1])),
            }
            command = [sys.executable, "-m", "proxy", "serve"]
            pids[name] = stack.enter_context(process(command, "0", ports[name], **environment))
        clients = {
            name: stack.enter_context(
                httpx.Client(
                    base_url=f"http://127.0.0.1:{port}",
                    headers={"authorization": f"Bearer {KEY}"},
                    timeout=120,
                )
            )
            for name, port in ports.items()
        }
        for title, rows, turns, calls, unit in (
            ("CPU ms a request", REQUESTS, options.requests // TURN, TURN, 1e3),
            ("CPU µs a chunk", STREAMS, options.streams, 1, 1e6 / CHUNKS),
        ):
            found: dict[str, list[float]] = {row: [] for row in rows}
            for number in range(options.rounds + 1):
                spent = dict.fromkeys(rows, 0.0)
                for _ in range(turns):
                    for row, (server, (path, body)) in rows.items():
                        client = clients[server]
                        more = {"conversation": new_conversation(client)} if row == KEPT else {}
                        watched = with_workers(pids[server])
                        began = cpu_seconds(watched)
                        for _ in range(calls):
                            ask(client, path, body | more)
                        spent[row] += cpu_seconds(watched) - began
                if number:
                    # The first round warms up.
                    for row in rows:
                        found[row].append(spent[row] / turns / calls * unit)
            print(f"| | {title}: median (lowest to highest) |\n|---|---|")
            for row, values in found.items():
                print(f"| {row} | {spread(values)} |", flush=True)
            for row, other in PAIRS:
                if row in found:
                    pairs = list(zip(found[row], found[other], strict=True))
                    ratio = spread([one / two for one, two in pairs])
                    more = spread([one - two for one, two in pairs])
                    print(f"{row}: {ratio} x {other}, {more} more")


if __name__ == "__main__":
    main()
