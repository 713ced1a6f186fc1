"""A web page on another port, in a real browser, and the documentation without the internet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, Request
from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from proxy.database import Database
from tests.conftest import make_settings, running_app
from tests.fakes.live import serve
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.openapi import document

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

KEY = "sk-mine-0123456789"

SCRIPT = """
window.call = async (method, path, body, headers = {}) => {
  const answer = await fetch(window.api + path, {
    method,
    credentials: "include",
    headers: { "Content-Type": "application/json", ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const id = answer.headers.get("X-Request-Id");
  return { status: answer.status, id, body: await answer.json() };
};
// Reads frames until `enough(frame)`, as web clients do: cut at the empty line, parse the JSON.
window.stream = async (path, body, enough) => {
  const answer = await fetch(window.api + path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true }),
  });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const frames = [];
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return frames;
    text += value;
    const blocks = text.split("\\n\\n");
    text = blocks.pop();
    for (const block of blocks) {
      if (!block.startsWith("data: ")) continue;
      const data = block.slice(6);
      frames.push(data === "[DONE]" ? "DONE" : JSON.parse(data));
      if (enough && enough(frames[frames.length - 1])) return frames;
    }
  }
};
"""


async def index(_: HTTPRequest) -> Response:
    return HTMLResponse("<!doctype html><title>A client in development</title>")


PAGE = Starlette(routes=[Route("/", index)])


@asynccontextmanager
async def browsing(chromium: Browser, url: str, api: str) -> AsyncIterator[Page]:
    """A page at `url` whose scripts call the server at `api`."""
    page = await chromium.new_page()
    await page.goto(url)
    await page.evaluate(SCRIPT)
    await page.evaluate("api => { window.api = api }", api)
    yield page
    await page.close()


async def call(page: Page, method: str, path: str, body: Any = None, **headers: str) -> Any:
    script = "([m, p, b, h]) => call(m, p, b ?? undefined, h)"
    return await page.evaluate(script, [method, path, body, headers])


async def test_a_page_on_another_port_does_all_that_a_client_does(
    mock: Database, chromium: Browser
) -> None:
    async with OpenAIUpstream() as upstream:
        settings = make_settings(openai_base_url=upstream.base_url)
        async with (
            running_app(mock, settings) as app,
            serve(app) as api,
            serve(PAGE) as page_url,
            browsing(chromium, page_url, api) as page,
        ):
            created = await call(page, "POST", "/v1/chat/conversations", {"name": "Sorting"})
            assert created["status"] == 200
            assert created["id"].startswith("req_")
            id_ = created["body"]["conversation_id"]
            messages = f"/v1/chat/conversations/{id_}/messages"

            upstream.play(upstream.reply("Hel", "lo 漢😀"))
            frames = await page.evaluate("p => stream(p, {content: 'Hi'})", messages)
            first, *middle, last, done = frames
            assert done == "DONE"
            assert "".join(frame["content"] for frame in middle) == "Hello 漢😀"
            assert last["finish_reason"] == "stop"

            upstream.play(upstream.stall_after("half"))
            begun = await page.evaluate(
                "p => stream(p, {content: 'Go on, slowly'}, frame => frame.content)", messages
            )
            stopped = await call(
                page, "POST", "/v1/chat/stop-stream", {"session_id": begun[0]["session_id"]}
            )
            assert stopped["body"]["message"] == "Stream stopped"
            await upstream.wait_for_abort()

            edited = await call(
                page,
                "PUT",
                f"/v1/chat/messages/{first['assistant_message_id']}",
                {"content": "Hello, edited"},
            )
            assert edited["body"] == {"message": "Message updated"}
            deleted = await call(
                page,
                "POST",
                "/v1/chat/messages/delete",
                {"message_ids": [first["user_message_id"]]},
            )
            assert deleted["body"] == {"message": "1 messages deleted"}
            listed = await call(page, "GET", messages)
            assert [m["content"] for m in listed["body"]["messages"]] == [
                "Hello, edited",
                "Go on, slowly",
                "half",
            ]

            upstream.play(upstream.reply("ok"))
            chunks = await page.evaluate(
                "b => stream('/v1/chat/completions', b)",
                {"model": "test-model", "messages": [{"role": "user", "content": "Hi"}]},
            )
            assert chunks[0]["choices"][0]["delta"]["content"] == "ok"
            assert chunks[-1] == "DONE"

            conversations = await call(page, "GET", "/v1/chat/conversations")
            assert [each["name"] for each in conversations["body"]] == ["Sorting"]
            gone = await call(page, "DELETE", f"/v1/chat/conversations/{id_}")
            assert gone["body"] == {"message": "Conversation deleted"}
            missing = await call(page, "GET", messages)
            assert missing["status"] == 404
            assert missing["body"]["detail"] == "Conversation not found"


async def test_with_keys_a_page_sends_one_listed_or_of_this_machine(
    mock: Database, chromium: Browser
) -> None:
    async with serve(PAGE) as listed, serve(PAGE) as other:
        settings = make_settings(api_keys=KEY, cors_origins=listed)
        async with running_app(mock, settings) as app, serve(app) as api:
            for url in (listed, other):
                async with browsing(chromium, url, api) as page:
                    key = {"Authorization": f"Bearer {KEY}"}
                    found = await call(page, "GET", "/v1/models", **key)
                    refused = await call(page, "GET", "/v1/models")
                    assert (found["status"], refused["status"]) == (200, 401)
                    assert "valid key" in refused["body"]["detail"]


async def test_the_documentation_asks_no_other_host(mock: Database, chromium: Browser) -> None:
    async with running_app(mock, make_settings()) as app, serve(app) as api:
        # Drawing all calls takes seconds, and asks no more than drawing one.
        path = "/v1/chat/completions"
        app.openapi_schema = {**document(), "paths": {path: document()["paths"][path]}}
        asked: list[str] = []
        failed: list[str] = []
        page = await chromium.new_page()

        def note(request: Request) -> None:
            asked.append(request.url)

        page.on("request", note)
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        await page.goto(f"{api}/docs", wait_until="networkidle")
        await page.get_by_text("Chat completion, as OpenAI's API has it").first.wait_for(
            state="attached"
        )
        await page.close()
    hosts = {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(api).netloc}
    assert failed == []
