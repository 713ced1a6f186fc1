"""Small pages that do what the published web clients do: requests, headers, caches, fields."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from proxy.database import Database
from proxy.documents.user import User
from tests.conftest import make_settings, running_app
from tests.fakes.live import serve
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.passwords import quick_hash

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

KEY = "sk-test-0123456789"

# The mobile client: no header, a log-in whose cookie carries it, a worker that keeps every GET.
MOBILE = """<!doctype html><meta charset="utf-8"><title>mobile</title><script>
window.ready = navigator.serviceWorker.register("/sw.js").then(() => new Promise(done => {
  if (navigator.serviceWorker.controller) done();
  else navigator.serviceWorker.addEventListener("controllerchange", done);
}));
window.call = async (method, path, body) => {
  const answer = await fetch(path, {
    method,
    headers: { "Content-Type": "application/json" },
    body: body === null ? undefined : JSON.stringify(body),
  });
  return { status: answer.status, body: await answer.json() };
};
</script>"""

WORKER = """
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", event => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", event => {
  if (event.request.method !== "GET") return;
  event.respondWith(caches.match(event.request).then(kept => kept || fetch(event.request).then(
    answer => {
      const copy = answer.clone();
      caches.open("all").then(cache => cache.put(event.request, copy)).catch(() => {});
      return answer;
    })));
});
"""

# The desktop client: a key in a header, from another port; it reads only `message` of an error.
DESKTOP = """
window.call = async (method, path, body) => {
  const answer = await fetch(window.api + path, {
    method,
    headers: { "Content-Type": "application/json", Authorization: "Bearer " + window.key },
    body: body === null ? undefined : JSON.stringify(body),
  });
  const found = await answer.json();
  return answer.ok ? found : "shown: " + found.message;
};
window.events = async (path, body) => {
  const answer = await fetch(window.api + path, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: "Bearer " + window.key },
    body: JSON.stringify(body),
  });
  const blocks = (await answer.text()).split("\\n\\n").filter(block => block.startsWith("data:"));
  return blocks.map(block => block.slice(5).trim()).filter(data => data !== "[DONE]");
};
"""


async def call(page: Page, method: str, path: str, body: Any = None) -> Any:
    return await page.evaluate("([m, p, b]) => call(m, p, b)", [method, path, body])


async def blank(_: Request) -> Response:
    return HTMLResponse("<!doctype html><title>desktop</title>")


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "index.html").write_text(MOBILE)
    (tmp_path / "dist" / "sw.js").write_text(WORKER)
    (tmp_path / "dist" / "words.json").write_text('{"greeting": "你好"}')
    return tmp_path / "dist"


async def test_the_mobile_client_behind_a_log_in_sees_what_is(
    wired: Database, dist: Path, chromium: Browser
) -> None:
    async with OpenAIUpstream(models=["small"]) as upstream:
        settings = make_settings(
            openai_base_url=upstream.base_url, web_dir=str(dist), fallback_model="small"
        )
        async with (
            running_app(wired, settings) as app,
            serve(app) as url,
        ):
            await User.create_new("anna", "anna", quick_hash("a long password"), ["chat"])
            app.state.authenticator.forget()
            page = await chromium.new_page()
            await page.goto(f"{url}/chat/7")
            await page.evaluate("() => window.ready")

            first = await call(page, "GET", "/v1/chat/conversations")
            assert first["status"] == 401
            login = {"userName": "anna", "password": "a long password"}
            assert (await call(page, "POST", "/v1/auth/login", login))["body"]["user"] == "anna"
            listed = await call(page, "GET", "/v1/chat/conversations")
            assert (listed["status"], listed["body"]) == (200, [])
            made = await call(page, "POST", "/v1/chat/conversations", {"model": "default"})
            id_ = made["body"]["conversation_id"]
            listed = await call(page, "GET", "/v1/chat/conversations")
            assert [entry["id"] for entry in listed["body"]] == [id_]

            messages = f"/v1/chat/conversations/{id_}/messages"
            assert (await call(page, "GET", messages))["body"]["messages"] == []
            upstream.play(upstream.whole_reply("hello"))
            sent = {"role": "user", "content": "hi", "model": "ChatGPT-4o-Latest"}
            replied = await call(page, "POST", messages, sent)
            assert (replied["body"]["reply"], replied["body"]["model"]) == ("hello", "small")
            seen = await call(page, "GET", messages)
            assert [m["content"] for m in seen["body"]["messages"]] == ["hi", "hello"]
            await call(page, "POST", "/v1/auth/logout")
            assert (await call(page, "GET", messages))["status"] == 401

            # The worker does keep what it may: without `Vary: *` it would have kept the rest.
            await call(page, "GET", "/words.json")
            await page.wait_for_function(
                "async () => (await (await caches.open('all')).keys()).length > 0"
            )
            kept = await page.evaluate(
                "async () => (await (await caches.open('all')).keys()).map(r => r.url)"
            )
            assert f"{url}/words.json" in kept
            assert not [address for address in kept if "/v1/" in address]
            await page.close()


async def test_the_desktop_client_on_another_port_sends_a_key(
    mock: Database, tmp_path: Path, chromium: Browser
) -> None:
    root = tmp_path / "shop"
    root.mkdir()
    settings = make_settings(
        api_keys=KEY, source_write=True, source_roots=[tmp_path], data_dir=tmp_path / "data"
    )
    async with (
        running_app(mock, settings) as app,
        serve(app) as api,
        serve(Starlette(routes=[Route("/", blank)])) as url,
    ):
        page = await chromium.new_page()
        await page.goto(url)
        await page.evaluate(DESKTOP)
        await page.evaluate("([api, key]) => Object.assign(window, {api, key})", [api, KEY])
        assert await call(page, "GET", "/v1/chat/conversations/none") == (
            "shown: Conversation not found"
        )
        project = {"name": "shop", "ai_work_dir": str(root)}
        assert (await call(page, "POST", "/v1/projects", project))["name"] == "shop"
        reply = "Step [1/1] - 新\nAction: Create file\nFile Path: 新.py\n```\nprint(1)\n```\n"
        body = {
            "root_dir": str(root),
            "files_content": reply,
            "log_level": "INFO",
            "backup_enabled": True,
        }
        found = await page.evaluate("b => events('/v1/write-source-code', b)", body)
        types = [json.loads(event)["type"] for event in found]
        assert types == ["info", "progress", "success", "summary"]
        assert (root / "新.py").read_text() == "print(1)\n"
        await page.evaluate("() => { window.key = 'wrong' }")
        assert "valid key" in await call(page, "GET", "/v1/projects")
        await page.close()
