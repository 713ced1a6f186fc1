"""One Chromium for all tests of a process; every host but the test's own is blocked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Request, async_playwright

from proxy.database import Database
from tests.support.browser import FLAGS, Visit, browser_path
from tests.support.databases import Ready, close_database, open_database, restore


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    # First: where there is no browser, what Playwright itself needs may be missing as well.
    path = browser_path()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path,
            args=[*FLAGS, "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def wired(wire_uri: str, ready: Ready) -> AsyncIterator[Database]:
    """A database on a real wire server, ready and empty, in the loop of the browser."""
    database = open_database(wire_uri, ready.name, is_ready=True)
    yield database
    assert await restore(database, ready) == []
    await close_database(database)


@pytest.fixture
def visit(chromium: Browser) -> Visit:
    """`async with visit(url, **context) as page`: a fresh context; its page must stay healthy.

    Nothing else than the server may be asked, no script may fail, and no policy be violated.
    `may_fail` names texts of the browser's console that the test is about.
    """

    @asynccontextmanager
    async def open_page(
        url: str, *, may_fail: tuple[str, ...] = (), **context_options: Any
    ) -> AsyncIterator[Page]:
        faults: list[str] = []
        options = {"locale": "en-US", "viewport": {"width": 1200, "height": 800}}
        context = await chromium.new_context(**{**options, **context_options})
        context.set_default_timeout(60_000)
        own = urlsplit(url).netloc

        unanswered: set[Request] = set()

        def watch(request: Request) -> None:
            unanswered.add(request)
            if request.url.startswith(("http", "ws")) and urlsplit(request.url).netloc != own:
                faults.append(f"asks {request.url}")

        def answered(request: Request) -> None:
            unanswered.discard(request)

        # Watched, not routed: each request through here would cost more than the page itself.
        context.on("request", watch)
        context.on("requestfinished", answered)
        context.on("requestfailed", answered)
        context.on("weberror", lambda error: faults.append(f"fails {error.error}"))
        context.on(
            "console",
            lambda message: (
                faults.append(message.text)
                if message.type == "error" and not any(text in message.text for text in may_fail)
                else None
            ),
        )
        page = await context.new_page()
        await page.goto(url)
        try:
            yield page
        except Exception as error:
            shown = await page.locator("body").inner_text()
            waits = [f"{each.method} {each.url}" for each in unanswered]
            error.add_note(f"The page shows {shown[-500:]!r}, waits for {waits}; {faults=}")
            raise
        await context.close()
        assert faults == []

    return open_page
