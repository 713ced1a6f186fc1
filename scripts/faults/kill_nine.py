"""Kill the server, its database or both at random moments under load; count what was lost.

    uv run python scripts/faults/kill_nine.py --kills 30 --streams 20

Everything runs on this machine, on a throw-away data directory: a paced upstream, the real
server (`python -m proxy`) on its embedded database, and clients that stream replies. After
each kill the server is started again and everything that a client was told is looked up.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

CHUNKS = 60
PACE_SECONDS = 0.1


@dataclass
class Turn:
    """What one client was told of one turn."""

    path: str
    question: str
    user_id: int = 0
    reply_id: int = 0
    seen: list[tuple[float, int]] = field(default_factory=list)
    text: str = ""
    done: bool = False


@dataclass
class Report:
    """The sums of all kills."""

    kills: dict[str, int] = field(default_factory=dict)
    acknowledged_messages: int = 0
    acknowledged_replies: int = 0
    lost: list[str] = field(default_factory=list)
    partial_texts: int = 0
    longest_tail_lost_seconds: float = 0
    longest_restart_seconds: float = 0
    highest_id: int = 0


def reply_text(chunks: int = CHUNKS) -> str:
    return "".join(f"{number} 字 " for number in range(chunks))


async def upstream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    # The server that asked may be killed at any moment.
    with contextlib.suppress(ConnectionResetError):
        await response.prepare(request)
        for number in range(CHUNKS):
            await _say(response, {"delta": {"content": f"{number} 字 "}, "finish_reason": None})
            await asyncio.sleep(PACE_SECONDS)
        await _say(response, {"delta": {}, "finish_reason": "stop"})
        await response.write(b"data: [DONE]\n\n")
    return response


async def _say(response: web.StreamResponse, choice: dict[str, object]) -> None:
    frame = {"choices": [{"index": 0, **choice}]}
    await response.write(b"data: " + json.dumps(frame).encode() + b"\n\n")


@contextlib.asynccontextmanager
async def serving_upstream() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", upstream)
    app.router.add_get("/v1/models", lambda _: web.json_response({"data": []}))
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"  # type: ignore[union-attr]
    await runner.cleanup()


class Server:
    """The server under test, started again after each kill."""

    def __init__(self, folder: Path, upstream_url: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.process: asyncio.subprocess.Process | None = None
        self.environment = os.environ | {
            "PROXY_PORT": str(self.port),
            "OPENAI_BASE_URL": upstream_url,
            "OPENAI_API_KEY": "sk-test",
            "PROXY_DEFAULT_MODEL": "paced",
        }

    async def start(self, session: aiohttp.ClientSession) -> float:
        began = time.monotonic()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "proxy",
            cwd=self.folder,
            env=self.environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        while time.monotonic() - began < 120:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(self.url + "/health") as response:
                    if response.status == 200:
                        return time.monotonic() - began
            if self.process.returncode is not None:
                raise SystemExit(f"the server ended with {self.process.returncode}")
            await asyncio.sleep(0.05)
        raise SystemExit("the server does not answer")

    async def kill(self, what: str) -> None:
        assert self.process is not None
        record = json.loads((self.folder / "data" / "embedded.json").read_text())
        pids = {"server": [self.process.pid], "database": [record["pid"]]}
        for pid in pids.get(what) or [self.process.pid, record["pid"]]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # A server whose database died stops by itself.
        try:
            await asyncio.wait_for(self.process.wait(), 90)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    async def stop(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()


async def converse(
    session: aiohttp.ClientSession, server: Server, number: int, turns: list[Turn]
) -> None:
    """One client: a conversation, turn after turn, until the connection breaks."""
    with contextlib.suppress(aiohttp.ClientError, OSError, ValueError):
        base = server.url + "/v1/chat/conversations"
        async with session.post(base, json={"name": f"c{number}"}) as created:
            id_ = (await created.json())["conversation_id"]
        while True:
            turn = Turn(f"/v1/chat/conversations/{id_}/messages", f"问 {number}.{len(turns)}")
            body = {"content": turn.question, "stream": True}
            async with session.post(server.url + turn.path, json=body) as response:
                if response.status != 200:
                    return
                turns.append(turn)
                async for line in response.content:
                    if line.startswith(b"data: "):
                        _read(turn, line[6:].strip())
            if not turn.done:
                return


def _read(turn: Turn, data: bytes) -> None:
    if data == b"[DONE]":
        return
    frame = json.loads(data)
    if "assistant_message_id" in frame:
        turn.user_id, turn.reply_id = frame["user_message_id"], frame["assistant_message_id"]
    elif frame.get("finish_reason"):
        # Only this acknowledges a reply: an error frame says that it is not all stored.
        turn.done = True
    elif frame.get("content"):
        turn.text += frame["content"]
        turn.seen.append((time.monotonic(), len(turn.text)))


async def check(
    session: aiohttp.ClientSession, server: Server, turns: list[Turn], killed: float, report: Report
) -> None:
    """Look up everything that the clients were told."""
    for turn in turns:
        if not turn.reply_id:
            continue
        async with session.get(server.url + turn.path) as response:
            messages = {m["id"]: m for m in (await response.json()).get("messages", [])}
        report.acknowledged_messages += 1
        if messages.get(turn.user_id, {}).get("content") != turn.question:
            report.lost.append(f"message {turn.user_id}")
        reply = messages.get(turn.reply_id)
        if reply is None:
            report.lost.append(f"reply {turn.reply_id}")
            continue
        stored, status = reply["content"], reply["status"]
        if not reply_text().startswith(stored) or status == "streaming":
            report.lost.append(f"reply {turn.reply_id} is {status} with {stored[-20:]!r}")
        if turn.done:
            report.acknowledged_replies += 1
            if stored != reply_text() or status != "complete":
                report.lost.append(f"reply {turn.reply_id} was complete and is {status}")
        elif stored:
            report.partial_texts += 1
        if not turn.done and turn.seen and len(stored) < len(turn.text):
            missed = next(at for at, length in turn.seen if length > len(stored))
            tail = killed - missed
            report.longest_tail_lost_seconds = max(report.longest_tail_lost_seconds, tail)
        if list(messages) != sorted(messages):
            report.lost.append(f"the order of {turn.path}")
    ids = [turn.reply_id for turn in turns if turn.reply_id]
    if ids and min(ids) <= report.highest_id:
        report.lost.append(f"id {min(ids)} came again after {report.highest_id}")
    report.highest_id = max([report.highest_id, *ids])


async def run(kills: int, streams: int, seed: int) -> Report:
    rng, report = random.Random(seed), Report()
    with tempfile.TemporaryDirectory() as folder:
        timeout = aiohttp.ClientTimeout(total=120)
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            serving_upstream() as upstream_url,
            aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
        ):
            server = Server(Path(folder), upstream_url)
            await server.start(session)
            for number in range(kills):
                turns: list[Turn] = []
                clients = [
                    asyncio.create_task(converse(session, server, each, turns))
                    for each in range(streams)
                ]
                await asyncio.sleep(rng.uniform(0.3, 9))
                what = rng.choice(["server", "database", "both"])
                killed = time.monotonic()
                await server.kill(what)
                await asyncio.gather(*clients)
                restart = await server.start(session)
                report.kills[what] = report.kills.get(what, 0) + 1
                report.longest_restart_seconds = max(report.longest_restart_seconds, restart)
                await check(session, server, turns, killed, report)
                print(f"{number + 1}/{kills} {what}: {len(turns)} turns, lost {report.lost}")
            await server.stop()
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report = asyncio.run(run(arguments.kills, arguments.streams, arguments.seed))
    print(json.dumps(vars(report), indent=2, ensure_ascii=False))
    return 1 if report.lost else 0


if __name__ == "__main__":
    sys.exit(main())
