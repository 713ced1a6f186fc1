"""A real browser on a live server."""

import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, expect

from proxy.database import Database
from tests.conftest import IN_CI, make_settings, running_app
from tests.fakes.live import serve
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.clients import client_at

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
"""The same engine; the first has no window to keep up, which takes as long as a page."""

# A busy machine may be slow; what does not come at all is noticed all the same.
expect.set_options(timeout=60_000)

Visit = Callable[..., AbstractAsyncContextManager[Page]]
"""`async with visit(url, **context) as page`; see the fixture of that name."""

TIME = "2026-01-31T12:00:00Z"


def browser_path() -> str:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        if IN_CI:
            pytest.fail("Chromium is missing: run scripts/install-test-tools")
        pytest.skip("Chromium is missing (scripts/install-test-tools)")
    return found


@asynccontextmanager
async def served(
    database: Database, **fields: Any
) -> AsyncIterator[tuple[str, OpenAIUpstream, httpx.AsyncClient]]:
    """A server with a scripted model; its address, the model, a client of the API."""
    async with OpenAIUpstream() as upstream:
        settings = make_settings(openai_base_url=upstream.base_url, **fields)
        async with (
            running_app(database, settings) as app,
            serve(app) as url,
            client_at(url, timeout=30) as api,
        ):
            yield url, upstream, api


async def begin(api: httpx.AsyncClient, **fields: Any) -> str:
    answer = await api.post("/v1/chat/conversations", json={"name": "Talk", **fields})
    return str(answer.json()["conversation_id"])


async def write(page: Page, text: str) -> None:
    box = page.get_by_label("Message", exact=True)
    await box.fill(text)
    await box.press("Enter")


async def choose(page: Page, message: Any, action: str) -> None:
    """Take an entry of a message's menu."""
    await message.hover()
    await message.get_by_label("More for this message").click()
    await page.get_by_role("menuitem", name=action, exact=True).click()


async def import_long(api: httpx.AsyncClient, count: int) -> str:
    messages = [
        {
            "role": ("user", "assistant")[n % 2],
            "content": f"number {n}: **bold** `code` 漢字 " * 5,
            "created_at": TIME,
            "updated_at": TIME,
        }
        for n in range(count)
    ]
    file = {
        "format": "poe-openai-proxy.conversation",
        "version": 1,
        "conversation": {"name": "Long", "created_at": TIME, "updated_at": TIME},
        "messages": messages,
    }
    answer = await api.post(
        "/v1/chat/conversations/import",
        content=json.dumps(file),
        headers={"Content-Type": "application/json"},
    )
    return str(answer.json()["imported"][0]["conversation_id"])
