"""How fast the console is in Chromium: opening a long conversation, scrolling, a fast stream.

    uv run --group dev python scripts/bench/console.py

The server runs with its embedded database and one worker, the model is a scripted one that
writes Markdown (paragraphs, lists, code) at 500 chunks a second. Opening is from the click to
the frame that shows the newest messages. Frames are the gaps between animation frames, those of
an idle page beside them. CPU is that of the page's main thread, as the browser counts it: what
remains true on a machine that others use, too.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import CDPSession, Page, async_playwright
from processes import free_port, process

RESULTS = Path(__file__).with_name("results") / "console.json"
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MESSAGES, OPENINGS = 10_000, 15
CHUNKS, CHUNKS_PER_SECOND = 8_000, 500

TEXT = """## Step {n}

The list is walked from its **start** to its end, and neighbours that stand in the wrong order
change places. 每一轮之后，最大的元素都会到达末尾, so the next round is shorter by `one`.

- compare `items[i]` with `items[i + 1]`
- swap them when the first is *larger*
- stop after a round without any swap

```python
def round_{n}(items):
    for i in range(len(items) - 1):
        if items[i] > items[i + 1]:
            items[i], items[i + 1] = items[i + 1], items[i]
    return items
```

"""

OPEN = """async (target) => {
  location.hash = "#/chat";
  await new Promise((done) => setTimeout(done, 300));
  const began = performance.now();
  location.hash = target;
  await new Promise((done) => {
    const look = () =>
      document.querySelectorAll(".message").length >= 24
        ? requestAnimationFrame(() => requestAnimationFrame(done))
        : requestAnimationFrame(look);
    look();
  });
  return performance.now() - began;
}"""

SCROLL = """async () => {
  const thread = document.querySelector(".thread");
  let most = 0;
  for (let step = 0; step < 300; step++) {
    thread.scrollTop -= 400;
    await new Promise(requestAnimationFrame);
    most = Math.max(most, document.querySelectorAll(".message").length);
  }
  return most;
}"""

RECORD = """() => {
  window.gaps = [];
  let last = performance.now();
  const frame = (now) => {
    window.gaps.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""


def pieces() -> list[str]:
    text = "".join(TEXT.replace("{n}", str(n)) for n in range(CHUNKS // 60))
    return [text[start : start + 8] for start in range(0, len(text), 8)][:CHUNKS]


async def model(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request of OpenAI's protocol."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    await reader.readexactly(length)
    if head.startswith(b"GET"):
        body = b'{"object": "list", "data": [{"id": "fast", "object": "model"}]}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
        writer.write(b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body))
    else:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
        writer.write(b"connection: close\r\n\r\n")
        loop = asyncio.get_running_loop()
        due = loop.time()
        for piece in pieces():
            choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
            writer.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
            due += 1 / CHUNKS_PER_SECOND
            await asyncio.sleep(max(0, due - loop.time()))
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        writer.write(b"data: " + json.dumps(end).encode() + b"\n\ndata: [DONE]\n\n")
    await writer.drain()
    writer.close()


async def import_long(api: httpx.AsyncClient) -> str:
    time = "2026-01-31T12:00:00Z"
    messages = [
        {
            "role": ("user", "assistant")[n % 2],
            "content": TEXT.replace("{n}", str(n)) if n % 2 else f"Question {n}: 冒泡排序?",
            "created_at": time,
            "updated_at": time,
        }
        for n in range(MESSAGES)
    ]
    file = {
        "format": "poe-openai-proxy.conversation",
        "version": 1,
        "conversation": {"name": "Long", "created_at": time, "updated_at": time},
        "messages": messages,
    }
    answer = await api.post("/v1/chat/conversations/import", json=file)
    return str(answer.json()["imported"][0]["conversation_id"])


def quantiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100)
    return {
        "median": round(cuts[49], 1),
        "p95": round(cuts[94], 1),
        "p99": round(cuts[98], 1),
        "max": round(max(values), 1),
    }


def version() -> str:
    done = subprocess.run([CHROMIUM, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


class MainThread:
    """CPU of a page's main thread, in milliseconds."""

    def __init__(self, session: CDPSession) -> None:
        self._session = session

    @classmethod
    async def of(cls, page: Page) -> "MainThread":
        session = await page.context.new_cdp_session(page)
        await session.send("Performance.enable", {"timeDomain": "threadTicks"})
        return cls(session)

    async def milliseconds(self) -> float:
        found = await self._session.send("Performance.getMetrics")
        values = {metric["name"]: metric["value"] for metric in found["metrics"]}
        return float(values["TaskDuration"]) * 1000


async def frames(page: Page) -> dict[str, Any]:
    gaps: list[float] = await page.evaluate("window.gaps.splice(0).slice(1)")
    return {"count": len(gaps), "over_50_ms": sum(g > 50 for g in gaps), **quantiles(gaps)}


async def measure(url: str) -> dict[str, Any]:
    results: dict[str, Any] = {}
    async with (
        httpx.AsyncClient(base_url=url, timeout=120) as api,
        async_playwright() as playwright,
    ):
        long = await import_long(api)
        made = await api.post("/v1/chat/conversations", json={"name": "Fast"})
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        await page.goto(f"{url}/console/")
        await page.get_by_role("link", name="Long").wait_for()
        thread = await MainThread.of(page)
        opened, used = [], []
        for _ in range(OPENINGS + 1):
            before = await thread.milliseconds()
            opened.append(await page.evaluate(OPEN, f"#/chat/{long}"))
            used.append(await thread.milliseconds() - before)
        for name, values in (("open_ms", opened), ("open_cpu_ms", used)):
            results[f"{name}_first"] = round(values[0], 1)
            results[name] = quantiles(values[1:])
        await page.evaluate(RECORD)
        await frames_settle(page)
        results["scroll_most_messages_in_page"] = await page.evaluate(SCROLL)
        results["scroll_frame_gaps_ms"] = await frames(page)
        await page.goto(f"{url}/console/#/chat/{made.json()['conversation_id']}")
        box = page.get_by_label("Message", exact=True)
        await box.fill("Explain")
        await page.evaluate(RECORD)
        await frames_settle(page)
        await wait(page, 5)
        results["idle_frame_gaps_ms"] = await frames(page)
        await box.press("Enter")
        await page.locator(".markdown h2").first.wait_for()
        await page.evaluate("window.gaps.length = 0")
        seconds = CHUNKS / CHUNKS_PER_SECOND - 4
        before, began = await thread.milliseconds(), time.perf_counter()
        await wait(page, seconds)
        share = (await thread.milliseconds() - before) / (time.perf_counter() - began) / 1000
        results["stream_main_thread_share"] = round(share, 3)
        results["stream_frame_gaps_ms"] = await frames(page)
        await page.get_by_label("Send", exact=True).wait_for(timeout=120_000)
        shown = await page.locator(".markdown h2").count()
        results["stream_headings_shown"] = shown
        await browser.close()
    return results


async def wait(page: Page, seconds: float) -> None:
    await page.evaluate(f"new Promise(done => setTimeout(done, {seconds * 1000}))")


async def frames_settle(page: Page) -> None:
    await page.evaluate("new Promise(done => setTimeout(done, 500))")
    await page.evaluate("window.gaps.length = 0")


async def main(rounds: int) -> None:
    upstream = await asyncio.start_server(model, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}/v1"
    measured = []
    load = os.getloadavg()
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as data:
            port = free_port()
            started = process(
                [sys.executable, "-m", "proxy"],
                "0-1",
                port,
                PROXY_PORT=str(port),
                PROXY_DATA_DIR=data,
                OPENAI_BASE_URL=address,
                OPENAI_API_KEY="sk-bench",
            )
            with started:
                measured.append(await measure(f"http://127.0.0.1:{port}"))
        print(json.dumps(measured[-1], indent=2))
    upstream.close()
    about = {
        "machine": {
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
            "load_before": [round(value, 1) for value in load],
            "load_after": [round(value, 1) for value in os.getloadavg()],
            "chromium": version(),
        },
        "messages": MESSAGES,
        "chunks_per_second": CHUNKS_PER_SECOND,
        "chunks": CHUNKS,
        "rounds": measured,
    }
    RESULTS.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(main(parser.parse_args().rounds))
