"""Pictures of the console for the documentation: `uv run python scripts/screenshots.py`.

A server on an embedded database of its own, with a model that says what is written here, and a
month of usage made up with a fixed seed. Chromium takes the pictures into docs/images.
"""

import asyncio
import random
import socket
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from playwright.async_api import Browser, Page, async_playwright

from proxy.app import create_app
from proxy.database import connect
from proxy.documents.base import DEFAULT_OWNER, utc_now
from proxy.documents.usage import Usage as StoredUsage
from proxy.embedded import EmbeddedDatabase
from proxy.providers.base import CompletionRequest, Delta, Usage
from proxy.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu"]

REPLY = """Compare neighbours and swap them when they stand in the wrong order. After each round \
the largest element has reached its place, so the next round is shorter:

```python
def bubble_sort(items):
    for end in range(len(items) - 1, 0, -1):
        swapped = False
        for i in range(end):
            if items[i] > items[i + 1]:
                items[i], items[i + 1] = items[i + 1], items[i]
                swapped = True
        if not swapped:
            return items
    return items
```

| | comparisons | extra memory |
|---|---:|---:|
| sorted input | n − 1 | 1 |
| random input | n² / 2 | 1 |

It is **stable** and needs no second list; for more than a few dozen elements use `sorted`.
"""

PLAN = """# Import of large files

1. Read the file while it arrives
2. Store each conversation whole or not at all
3. Tell which ones could not be read
"""

NAMES = ("Bubble sort, explained", "排序算法的比较", "Retry without asking twice", "数据库迁移方案")


class Scripted:
    """A model that says what stands above."""

    name = "openai"

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        """Think, then answer."""
        yield Delta()
        yield Delta(reasoning="Stable, in place; say when to use something else.")
        yield Delta(text=REPLY, finish_reason="stop", usage=Usage(412, 236, "reported"))

    async def list_models(self) -> list[dict[str, Any]]:
        """Two names."""
        names = ("gpt-4o-mini", "gpt-4o")
        return [{"id": n, "object": "model", "created": 0, "owned_by": "openai"} for n in names]

    async def close(self) -> None:
        """Nothing is open."""


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Yield a server with the scripted model; its address."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as listener:
        settings = Settings(
            _env_file=None,
            data_dir=Path(folder) / "data",
            source_roots=[ROOT],
            models={"gpt-4o-mini": {"context_tokens": 128_000}},
        )
        embedded = EmbeddedDatabase(settings)
        await embedded.start()
        database = connect(embedded.uri, "proxy")
        app = create_app(settings, database=database, providers=[Scripted()])
        listener.bind(("127.0.0.1", 0))
        running = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        serving = asyncio.create_task(running.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        # The socket takes connections before the server does: the first answer is the start.
        listener.listen()
        async with httpx.AsyncClient(timeout=60) as client:
            await client.get(f"{url}/livez")
        yield url
        running.should_exit = True
        await serving
        database.close()
        await embedded.stop()


async def fill(api: httpx.AsyncClient) -> dict[str, Any]:
    """Conversations, a document in two versions, a month of usage."""
    body = {"name": "proxy", "ai_work_dir": str(ROOT / "proxy")}
    project = (await api.post("/v1/projects", json=body)).json()["id"]
    for name in reversed(NAMES):
        fields = {"name": name, "model": "gpt-4o-mini", "project_id": project}
        made = await api.post("/v1/chat/conversations", json=fields)
        conversation = made.json()["conversation_id"]
        content = "Write a bubble sort in Python, and say when not to use it."
        path = f"/v1/chat/conversations/{conversation}/messages"
        await api.post(path, json={"content": content})
    for content in (PLAN, PLAN.replace("3. Tell", "3. Show the progress\n4. Tell")):
        file = {"project_id": project, "category_id": 2, "filename": "导入方案.md"}
        saved = await api.post("/v1/plan/documents", json={**file, "content": content})
    chance = random.Random(7)
    for days in range(1, 30):
        day = (utc_now() - timedelta(days=days)).date().isoformat()
        for model, share in (("openai/gpt-4o-mini", 1.0), ("openai/gpt-4o", 0.4)):
            requests = int(chance.uniform(8, 40) * share)
            counts = {
                "requests": requests,
                "prompt_tokens": requests * chance.randint(900, 2_400),
                "completion_tokens": requests * chance.randint(200, 700),
                f"duration_ms.{chance.randint(8, 12)}": requests,
            }
            labels = {"day": day, "owner": DEFAULT_OWNER, "key_id": "", "model": model}
            await StoredUsage.add({**labels, "project_id": project}, counts)
    return {
        "conversation": conversation,
        "document": saved.json()["id"],
        "project": project,
    }


async def take(browser: Browser, url: str, made: dict[str, Any]) -> None:
    """Take all pictures."""
    wide, phone = {"width": 1200, "height": 760}, {"width": 390, "height": 760}
    chat, plan = f"chat/{made['conversation']}", f"plans/{made['document']}"
    await picture(browser, url, chat, "chat", viewport=wide)
    dark = {"color_scheme": "dark", "locale": "zh-CN"}
    await picture(browser, url, chat, "chat-dark-zh", viewport=phone, **dark)
    await picture(browser, url, plan, "plans", viewport=wide, press="Compare")
    await picture(browser, url, "usage", "usage", viewport=wide)


async def picture(
    browser: Browser, url: str, screen: str, name: str, *, press: str = "", **context: Any
) -> None:
    """Open a screen and save what it shows once it has settled."""
    opened = await browser.new_context(**{"locale": "en-US", **context})
    page: Page = await opened.new_page()
    await page.goto(f"{url}/console/#/{screen}")
    await page.locator("main .loading").first.wait_for(state="detached", timeout=60_000)
    if press:
        await page.get_by_role("button", name=press, exact=True).click()
    await page.wait_for_timeout(1_500)
    await page.screenshot(path=IMAGES / f"console-{name}.png")
    await opened.close()


async def main() -> None:
    """Fill a server, look at it."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    async with (
        server() as url,
        httpx.AsyncClient(base_url=url, timeout=60) as api,
        async_playwright() as playwright,
    ):
        made = await fill(api)
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        await take(browser, url, made)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
