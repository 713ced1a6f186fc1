"""Time and memory of a digest beside other tools, on the same trees, in one run.

    uv run python scripts/bench/digest.py --rounds 5

Trees: the standard library of this Python, and 50,000 small files. Others: gitingest
(PyPI) and repomix (npm), each installed into a throw-away directory, and
`git ls-files | xargs cat` as the floor. Rounds are interleaved, so that what else the
machine does meets all alike; the table shows the best and the median.

gitingest counts tokens with a vocabulary that it downloads; the script lays the same
file (checked by tiktoken) where it looks for it, so that it does its whole work offline.
"""

import argparse
import asyncio
import gzip
import hashlib
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
VOCABULARY = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
IGNORED = "__pycache__/\nsite-packages/\n"


def copy_library(target: Path) -> None:
    """Return the standard library as installed, without what is not Python's own."""
    source = sysconfig.get_path("stdlib")
    shutil.copytree(
        source, target, symlinks=True, ignore=shutil.ignore_patterns("site-packages", "__pycache__")
    )
    (target / ".gitignore").write_text(IGNORED)


def write_small_files(target: Path, count: int) -> None:
    """Files of 200 to 2,000 bytes, 100 to a directory, the same every time."""
    rng = random.Random(1)
    words = [f"name_{number}" for number in range(500)] + ["def", "return", "if", "配置", "文件"]
    for number in range(count):
        directory = target / f"pkg{number // 10_000}" / f"mod{number // 100:04}"
        if number % 100 == 0:
            directory.mkdir(parents=True)
        lines = (" ".join(rng.choices(words, k=6)) for _ in range(rng.randint(4, 36)))
        (directory / f"file{number}.py").write_text("\n".join(lines) + "\n")
    (target / ".gitignore").write_text(IGNORED)


def install_peers(directory: Path) -> dict[str, list[str]]:
    """Fetch gitingest and repomix; the commands run in the current directory."""
    python = directory / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run(["uv", "venv", "-q", str(directory / "venv")], check=True)
        install = ["uv", "pip", "install", "-q", "-p", str(python)]
        subprocess.run([*install, "gitingest"], check=True)
        subprocess.run([*install, "--no-deps", "bpe-openai"], check=True)
        packed = next(directory.glob("venv/lib/*/site-packages/bpe_openai/data/o200k_base*.gz"))
        cache = directory / "tiktoken"
        cache.mkdir()
        name = hashlib.sha1(VOCABULARY.encode(), usedforsecurity=False).hexdigest()
        (cache / name).write_bytes(gzip.decompress(packed.read_bytes()))
    if not (directory / "node_modules" / "repomix").exists():
        subprocess.run(
            ["npm", "install", "--silent", "--prefix", str(directory), "repomix"], check=True
        )
    repomix = [str(directory / "node_modules/.bin/repomix"), "--quiet", "-o"]
    out = str(directory / "out")
    return {
        "gitingest": [str(directory / "venv/bin/gitingest"), ".", "-o", out],
        "repomix": [*repomix, out, "."],
        "repomix, no security check": [*repomix, out, "--no-security-check", "."],
    }


def run(
    command: list[str], directory: Path, environment: dict[str, str], *, memory: bool = False
) -> dict[str, float]:
    """Wall and processor seconds of one command, or the peak memory of all its processes."""
    started = time.perf_counter()
    with (directory.parent / "log").open("wb") as log:
        child = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stop = threading.Event()
        peaks = [0]
        watching = threading.Thread(target=_watch, args=(child.pid, stop, peaks))
        if memory:
            watching.start()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        stop.set()
        if memory:
            watching.join()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        text = (directory.parent / "log").read_bytes()[-2000:].decode(errors="replace")
        raise RuntimeError(f"{command[0]} ended with {child.returncode}: {text}")
    if memory:
        return {"peak_mib": max(peaks[0], usage.ru_maxrss) / 1024}
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime}


def _watch(session: int, stop: threading.Event, peaks: list[int]) -> None:
    """Return the proportional memory in KiB of a session's processes, summed, at its highest."""
    while not stop.wait(0.05):
        total = 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.getsid(int(process.name)) == session:
                    rollup = (process / "smaps_rollup").read_text()
                    total += int(rollup.partition("\nPss:")[2].split()[0])
            except (OSError, ValueError, IndexError):
                continue
        peaks[0] = max(peaks[0], total)


def worker(tree: Path, warm: int) -> None:
    """Return a server's first and further digests of a tree, in this fresh process; prints JSON."""
    from proxy.source_code.base import DigestLimits  # noqa: PLC0415
    from proxy.source_code.cache import DigestCache  # noqa: PLC0415
    from proxy.source_code.digest import digest  # noqa: PLC0415
    from proxy.tokenizer.tokens import count_tokens  # noqa: PLC0415

    count_tokens("")
    before = _own_peak()
    cache = DigestCache(1 << 30)
    times = []
    made: Any = None
    for _ in range(warm + 1):
        # A server has answered with one before it makes the next.
        made = None
        started = time.perf_counter()
        made = digest(tree, limits=DigestLimits(digest_bytes=1 << 30), cache=cache)
        times.append(time.perf_counter() - started)
        if len(times) == 1:
            cold_peak = _own_peak()
    peak = _own_peak()
    found = {
        **{"cold": times[0], "warm": min(times[1:]), "base_mib": before},
        **{"cold_peak_mib": cold_peak, "peak_mib": peak},
        **{"files": len(made.files), "bytes": made.total_bytes, "tokens": made.total_tokens},
    }
    print(json.dumps(found))


def _own_peak() -> float:
    """Return the peak memory of this process and of the one that counts tokens for it, in MiB."""
    pids = [os.getpid()]
    for children in Path("/proc/self/task").glob("*/children"):
        pids += map(int, children.read_text().split())
    peaks = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(status.partition("\nVmHWM:")[2].split()[0]) for status in peaks) / 1024


def measure(tree: Path, peers: dict[str, list[str]], scratch: Path, rounds: int) -> dict[str, Any]:
    """All commands on one tree, `rounds` times in turn."""
    environment = {**os.environ, "TIKTOKEN_CACHE_DIR": str(scratch / "peers" / "tiktoken")}
    listing = "git ls-files -z --others --cached --exclude-standard | xargs -0 cat > ../out.txt"
    digest = [sys.executable, "-m", "proxy.commands.digest", "-q", "."]
    commands = {
        "git ls-files | xargs cat": ["sh", "-c", listing],
        "proxy digest": ["sh", "-c", 'exec "$@" > ../out.txt', "-", *digest],
        **peers,
    }
    server = [sys.executable, __file__, "--worker", str(tree)]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in (*commands, "server")}
    # First for the memory, which also brings the tree into the page cache.
    peaks = {n: run(c, tree, environment, memory=True) for n, c in commands.items()}
    for _ in range(rounds):
        for name, command in commands.items():
            found[name].append({**peaks[name], **run(command, tree, environment)})
            print(f"  {name}: {found[name][-1]['seconds']:.2f} s", file=sys.stderr)
        done = subprocess.run(server, check=True, capture_output=True, text=True)
        found["server"].append(json.loads(done.stdout))
    return {
        name: {
            key: {"best": min(values), "median": statistics.median(values)}
            for key in measured[0]
            if (values := [one[key] for one in measured])
        }
        for name, measured in found.items()
    }


async def health(tree: Path) -> dict[str, float]:
    """How long a health request waits while a digest is made in the same process."""
    import uvicorn  # noqa: PLC0415
    from starlette.applications import Starlette  # noqa: PLC0415
    from starlette.responses import JSONResponse  # noqa: PLC0415
    from starlette.routing import Route  # noqa: PLC0415

    from proxy.settings import Settings  # noqa: PLC0415
    from proxy.source_code.base import DigestOptions  # noqa: PLC0415
    from proxy.source_code.digests import Digests  # noqa: PLC0415
    from proxy.source_code.roots import SourceRoots  # noqa: PLC0415
    from proxy.tokenizer.tokens import count_tokens  # noqa: PLC0415

    count_tokens("")

    async def answer(_: Any) -> JSONResponse:
        return JSONResponse({"status": "healthy"})

    config = uvicorn.Config(
        Starlette(routes=[Route("/health", answer)]), port=0, log_level="warning"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    waits: list[float] = []
    stop = threading.Event()
    asking = threading.Thread(target=_ask, args=(port, stop, waits))
    asking.start()
    settings = Settings(source_roots=[tree.parent], source_digest_bytes=1 << 30)
    digests = Digests(settings, SourceRoots(settings))
    started = time.perf_counter()
    await digests.make("default", str(tree), DigestOptions())
    seconds = time.perf_counter() - started
    stop.set()
    await asyncio.to_thread(asking.join)
    server.should_exit = True
    await serving
    waits.sort()
    return {
        "digest_seconds": seconds,
        "requests": len(waits),
        "median_ms": waits[len(waits) // 2] * 1000,
        "p99_ms": waits[int(len(waits) * 0.99)] * 1000,
        "longest_ms": waits[-1] * 1000,
    }


def _ask(port: int, stop: threading.Event, waits: list[float]) -> None:
    """Ask from another process, so that its own waiting for a lock is not measured."""
    script = (
        "import http.client, sys, time\n"
        f"c = http.client.HTTPConnection('127.0.0.1', {port})\n"
        "while True:\n"
        " t = time.perf_counter()\n"
        " c.request('GET', '/health'); c.getresponse().read()\n"
        " print(time.perf_counter() - t, flush=True)\n"
        " time.sleep(0.02)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        waits.append(float(line))
        if stop.is_set():
            break
    child.terminate()
    child.wait()


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    rows = []
    for title, tree in results["trees"].items():
        said = tree["server"]
        size = said["bytes"]["best"] / 2**20
        rows.append(
            f"\n{title}: {said['files']['best']:,.0f} files, {size:.1f} MiB, "
            f"{said['tokens']['best']:,.0f} tokens\n\n"
            "| | seconds (best) | seconds (median) | peak memory |\n| --- | ---: | ---: | ---: |"
        )
        for name, measured in tree.items():
            if name != "server":
                one, memory = measured["seconds"], measured["peak_mib"]["best"]
                line = f"| {name} | {one['best']:.2f} | {one['median']:.2f} | {memory:.0f} MiB |"
                rows.append(line)
        for kind in ("cold", "warm"):
            one = said[kind]
            rows.append(
                f"| in the server, {kind} | {one['best']:.2f} | {one['median']:.2f} | "
                f"{said['cold_peak_mib' if kind == 'cold' else 'peak_mib']['best']:.0f} MiB, "
                f"{said['base_mib']['best']:.0f} before |"
            )
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--scratch", type=Path, help="kept and used again; else thrown away")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "digest.json")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker, warm=5)
        return 0
    scratch = (arguments.scratch or Path(tempfile.mkdtemp())).resolve()
    trees: dict[str, tuple[str, Callable[[Path], None]]] = {
        "Python's standard library": ("library", copy_library),
        f"{arguments.files:,} small files": (
            "small",
            lambda target: write_small_files(target, arguments.files),
        ),
    }
    try:
        (scratch / "peers").mkdir(parents=True, exist_ok=True)
        peers = install_peers(scratch / "peers")
        results: dict[str, Any] = {
            "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
            "rounds": arguments.rounds,
            "load_before": os.getloadavg(),
            "trees": {},
        }
        for title, (name, make) in trees.items():
            tree = scratch / name / "tree"
            if not tree.exists():
                tree.parent.mkdir(parents=True, exist_ok=True)
                make(tree)
                subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
            print(title, file=sys.stderr)
            results["trees"][title] = measure(tree, peers, scratch, arguments.rounds)
        results["health_during_a_digest"] = asyncio.run(health(scratch / "small" / "tree"))
        results["load_after"] = os.getloadavg()
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(results, indent=2) + "\n")
        print(table(results))
        print(json.dumps(results["health_during_a_digest"], indent=2))
    finally:
        if not arguments.scratch:
            shutil.rmtree(scratch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
