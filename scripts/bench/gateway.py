"""The proxy beside other gateways, in front of the same fake upstream.

    uv run python scripts/bench/gateway.py --rounds 5
    uv run python scripts/bench/gateway.py --litellm          (installs it into a throw-away folder)
    uv run python scripts/bench/gateway.py --only two         (two workers beside one)
    uv run python scripts/bench/gateway.py --only versions --before ../v0.1.0
                                (another checkout with a .venv of its own, round by round)

The gateway has one core; the load, the upstream and the database share another one, and the
database writes to memory: what is measured is the proxy, not this machine's disk. Rounds are
interleaved, so that what else the machine does meets all alike; the tables show medians. Every
reply is compared with what the upstream said. CPU is the gateway's own, its workers' included, read
from the kernel: it holds on a busy machine, where requests a second do not.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop
from load import KEY, Target, crowd, deaf, load
from processes import HERE, database_of, free_port, move, process, resident_mib

from proxy.embedded.server import EmbeddedDatabase
from proxy.settings import Settings

GATEWAY_CORE, LOAD_CORE = "0", "1"
BOTH_CORES = "0,1"
MEMORY = "/dev/shm"

SCENARIOS: dict[str, dict[str, Any]] = {
    "one": {"model": "text-20-0", "stream": False, "connections": 1},
    "requests": {"model": "text-20-0", "stream": False, "connections": 16},
    "chunks": {"model": "text-500-0", "stream": True, "connections": 64},
    "paced": {"model": "text-100-10", "stream": True, "connections": 64},
}
TURNS: dict[str, dict[str, Any]] = {
    "chunks": {**SCENARIOS["chunks"], "turns": True},
    "paced": {**SCENARIOS["paced"], "turns": True},
    "one": {**SCENARIOS["one"], "turns": True},
}
"""The same as turns of conversations: stored, checkpointed, resumable."""

Runs = dict[str, dict[str, list[dict[str, float]]]]


class Machine:
    """What is started for a benchmark; all of it ends with the stack."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._database: EmbeddedDatabase | None = None
        port = free_port()
        self.upstream = f"http://127.0.0.1:{port}"
        self.direct = self._start(
            "direct", [sys.executable, "fake_upstream.py", str(port)], LOAD_CORE, port
        )

    def _start(
        self, name: str, command: list[str], cores: str, port: int, **options: Any
    ) -> Target:
        gaps = Path(options["GAPS"]) if "GAPS" in options else None
        pid = self._stack.enter_context(process(command, cores, port, **options))
        return Target(name, port, pid, gaps)

    def bare(self) -> Target:
        port = free_port()
        uvicorn = [sys.executable, "-m", "uvicorn", "--no-access-log", "--log-level", "error"]
        command = [*uvicorn, "bare_gateway:app", "--port", str(port)]
        gaps = str(self._folder / "gaps of the bare gateway")
        environment = {"UPSTREAM": self.upstream, "GAPS": gaps}
        return self._start("bare pass-through", command, GATEWAY_CORE, port, **environment)

    def proxy(
        self,
        name: str,
        *,
        workers: int = 1,
        cores: str = GATEWAY_CORE,
        checkout: Path | None = None,
    ) -> Target:
        port = free_port()
        environment = self.environment(port, self._folder / f"data of {name}")
        python = str(checkout / ".venv/bin/python") if checkout else sys.executable
        if workers > 1 or checkout:
            command = [python, "-m", "proxy", "serve", "--workers", str(workers)]
        else:
            command = [python, "watched.py", "serve"]
            environment["GAPS"] = str(self._folder / f"gaps of {name}")
        if self._database is not None:
            environment["PROXY_MONGODB_URI"] = self._database.uri
            environment["PROXY_MONGODB_DATABASE"] = f"{name}_{port}"
        target = self._start(name, command, cores, port, **environment)
        wait_until_healthy(port)
        database = database_of(target.pid)
        if database is not None and cores == GATEWAY_CORE:
            move(database, LOAD_CORE)
        return target

    def share_a_database(self) -> None:
        """Let every proxy from now on ask one database, instead of starting its own."""
        database = EmbeddedDatabase(Settings(data_dir=self._folder / "shared database"))
        asyncio.run(database.start())
        self._stack.callback(lambda: asyncio.run(database.stop()))
        move(database.pid, LOAD_CORE)
        self._database = database

    def environment(self, port: int, data: Path) -> dict[str, str]:
        return {
            "OPENAI_BASE_URL": f"{self.upstream}/v1",
            "OPENAI_API_KEY": "sk-none",
            "PROXY_PORT": str(port),
            "PROXY_API_KEYS": KEY,
            "PROXY_DATA_DIR": str(data),
            "PROXY_LOG_LEVEL": "error",
            "PROXY_STREAMS": "10000",
            "PROXY_CONNECTIONS": "20000",
            "PROXY_CONNECTIONS_PER_ADDRESS": "20000",
        }

    def litellm(self) -> Target:
        """Install LiteLLM where nothing else lives, and start it."""
        port = free_port()
        python = self._folder / "venv" / "bin" / "python"
        subprocess.run(["uv", "venv", "-q", str(self._folder / "venv")], check=True)
        install = ["uv", "pip", "install", "-q", "-p", str(python), "litellm[proxy]"]
        # Elsewhere, so that our own pyproject.toml has no say in it.
        subprocess.run(install, check=True, cwd=self._folder)
        entries = [
            {
                "model_name": model,
                "litellm_params": {
                    "model": f"openai/{model}",
                    "api_base": f"{self.upstream}/v1",
                    "api_key": "x",
                },
            }
            for model in sorted({scenario["model"] for scenario in SCENARIOS.values()})
        ]
        config = self._folder / "litellm.yaml"
        config.write_text(
            json.dumps(
                {
                    "model_list": entries,
                    "litellm_settings": {"telemetry": False},
                    "general_settings": {"master_key": KEY},
                }
            )
        )
        start = [str(self._folder / "venv" / "bin" / "litellm"), "--config", str(config)]
        return self._start(
            "LiteLLM",
            [*start, "--host", "127.0.0.1", "--port", str(port)],
            GATEWAY_CORE,
            port,
            seconds=180,
            LITELLM_LOCAL_MODEL_COST_MAP="True",
            LITELLM_LOG="ERROR",
        )


def wait_until_healthy(port: int) -> None:
    """Return the port is there before the database answers; a request waits for both."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
        answer.read()


async def measure(
    targets: dict[str, tuple[Target, dict[str, dict[str, Any]]]], options: argparse.Namespace
) -> Runs:
    """Name → scenario → runs; the scenarios of all targets in turn, round after round."""
    results: Runs = {name: {key: [] for key in of} for name, (_, of) in targets.items()}
    scenarios = dict.fromkeys(key for _, of in targets.values() for key in of)
    for number in range(options.rounds):
        for scenario in scenarios:
            for name, (target, of) in targets.items():
                if scenario in of:
                    found = await load(target, seconds=options.seconds, **of[scenario])
                    results[name][scenario].append(found)
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    return results


def median(runs: list[dict[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def worst(found: dict[str, list[dict[str, float]]], key: str) -> float:
    return max((run.get(key, 0.0) for runs in found.values() for run in runs), default=0.0)


# What is measured


def gateways(machine: Machine, options: argparse.Namespace) -> dict[str, Any]:
    proxy = machine.proxy("this proxy")
    targets = {
        "direct": (machine.direct, SCENARIOS),
        "bare pass-through": (machine.bare(), SCENARIOS),
        "this proxy": (proxy, SCENARIOS),
        "this proxy, a turn": (proxy, TURNS),
    }
    if options.litellm:
        targets["LiteLLM"] = (machine.litellm(), SCENARIOS)
    results = uvloop.run(measure(targets, options))
    print(gateways_table(results))
    gaps = [
        f"{name}: {worst(found, 'worst_gap_ms'):.1f} ms, of them "
        f"{worst(found, 'worst_gap_cpu_ms'):.1f} ms of CPU"
        for name, found in results.items()
        if worst(found, "worst_gap_ms")
    ]
    print("worst gap of the event loop: " + "; ".join(gaps))
    return results


def gateways_table(results: Runs) -> str:
    rows = [
        "| | requests/s, 16 connections | CPU ms a request | added p50 ms, 1 connection "
        "| chunks/s, 64 streams | CPU µs a chunk, 64 streams at 10 ms |",
        "|---|---|---|---|---|---|",
    ]
    floor = median(results["direct"]["one"], "p50_ms")
    columns = (
        ("requests", "requests_per_second", ",.0f", 0.0),
        ("requests", "cpu_ms_per_request", ".3f", 0.0),
        ("one", "p50_ms", ".2f", floor),
        ("chunks", "chunks_per_second", ",.0f", 0.0),
        ("paced", "cpu_us_per_chunk", ".1f", 0.0),
    )
    for name, found in results.items():
        # The upstream's own CPU is no gateway's.
        cells = [
            format(median(found[scenario], key) - less, form)
            if scenario in found and (name != "direct" or key.endswith("per_second"))
            else "–"
            for scenario, key, form, less in columns
        ]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def crowds(machine: Machine, options: argparse.Namespace) -> dict[str, Any]:
    """So many streams at once; how late chunks are beside those without a gateway."""
    proxy = machine.proxy("this proxy")
    found = {
        "direct": uvloop.run(crowd(machine.direct, options.many)),
        "bare pass-through": uvloop.run(crowd(machine.bare(), options.many)),
        "this proxy": uvloop.run(crowd(proxy, options.many)),
        "this proxy, a turn": uvloop.run(crowd(proxy, options.many, turns=True)),
        "clients that read nothing": uvloop.run(deaf(proxy, 50, 5)),
    }
    for name, values in found.items():
        print(f"{name}: " + ", ".join(f"{key} {value:,.1f}" for key, value in values.items()))
    return found


def two(machine: Machine, options: argparse.Namespace) -> dict[str, Any]:
    """Two workers on two cores beside one worker on the same two cores."""
    scenarios = {"requests": {**SCENARIOS["requests"], "connections": 32}}
    targets = {
        "one worker": (machine.proxy("one worker", cores=BOTH_CORES), scenarios),
        "two workers": (machine.proxy("two workers", workers=2, cores=BOTH_CORES), scenarios),
    }
    results = uvloop.run(measure(targets, options))
    rates = {}
    for name, found in results.items():
        rate, cpu = (
            median(found["requests"], key) for key in ("requests_per_second", "cpu_ms_per_request")
        )
        rates[name] = cpu
        print(f"{name}: {rate:,.0f} requests/s, {cpu:.3f} ms of CPU a request")
    capacity = 2 * rates["one worker"] / rates["two workers"]
    print(f"by CPU a request two cores carry {capacity:.2f} times what one does")
    return results


def versions(machine: Machine, options: argparse.Namespace) -> dict[str, Any]:
    """Measure this version beside another: the ratio of each round, its median and its spread.

    Both ask one database over TLS: a server of their own once spoke it, and once did not.
    """
    if options.before is None:
        return {}
    machine.share_a_database()
    chats = {key: SCENARIOS[key] for key in ("requests", "chunks", "paced")}
    turns = {"requests": {**SCENARIOS["requests"], "turns": True}, "paced": TURNS["paced"]}
    before, after = (
        machine.proxy("before", checkout=options.before.resolve()),
        machine.proxy("after", checkout=HERE.parents[1]),
    )
    targets = {
        "before": (before, chats),
        "after": (after, chats),
        "before, a turn": (before, turns),
        "after, a turn": (after, turns),
    }
    results = uvloop.run(measure(targets, options))
    for kind in ("", ", a turn"):
        for scenario, key in (
            ("requests", "requests_per_second"),
            ("requests", "cpu_ms_per_request"),
            ("chunks", "chunks_per_second"),
            ("paced", "cpu_us_per_chunk"),
        ):
            then, now = results[f"before{kind}"], results[f"after{kind}"]
            if scenario in then:
                pairs = zip(then[scenario], now[scenario], strict=True)
                ratios = sorted(new[key] / old[key] for old, new in pairs)
                print(
                    f"{key}{kind}: {median(then[scenario], key):,.3f} → "
                    f"{median(now[scenario], key):,.3f}, after : before "
                    f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"
                )
    return results


def start_up(machine: Machine, options: argparse.Namespace) -> dict[str, Any]:
    """From the command to the first answer, on data that is there; memory of a server at rest."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, memory = [], []
        for number in range(options.rounds + 1):
            port = free_port()
            environment = machine.environment(port, Path(folder))
            command = [sys.executable, "-m", "proxy"]
            began = time.perf_counter()
            with process(command, BOTH_CORES, port, **environment) as pid:
                wait_until_healthy(port)
                took = time.perf_counter() - began
                if number:
                    # The first start made the database.
                    time.sleep(3)
                    seconds.append(took)
                    memory.append(resident_mib(pid))
    found = {"start_seconds": statistics.median(seconds), "idle_mib": statistics.median(memory)}
    print(json.dumps(found))
    return {**found, "starts": seconds}


PARTS: dict[str, Callable[[Machine, argparse.Namespace], dict[str, Any]]] = {
    "gateways": gateways,
    "crowd": crowds,
    "two": two,
    "start": start_up,
    "versions": versions,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--litellm", action="store_true")
    parser.add_argument("--many", type=int, default=2000)
    parser.add_argument("--before", type=Path, help="another checkout, for `versions`")
    parser.add_argument("--only", choices=PARTS, action="append")
    options = parser.parse_args()
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    record: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }
    name = "versions" if options.only == ["versions"] else "gateway"
    path = HERE / "results" / f"{name}.json"
    if options.only and path.exists():
        record = {**json.loads(path.read_text()), **record}
    for part in options.only or PARTS:
        folder = Path(tempfile.mkdtemp(dir=MEMORY))
        print(f"== {part}")
        try:
            with ExitStack() as stack:
                found = PARTS[part](Machine(stack, folder), options)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        record[part] = {"load_average": os.getloadavg(), "found": found}
        path.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
