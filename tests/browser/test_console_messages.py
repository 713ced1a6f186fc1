"""Messages in the console: found, forked, with pictures and tools, with what they take along."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.database import Database
from tests.conftest import client_of, make_settings, running_app
from tests.fakes.live import serve
from tests.fakes.openai_upstream import OpenAIUpstream, chunk
from tests.support.browser import TIME, Visit, begin, choose, import_long, served, write

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M/wHwAE"
    "AgH/q842iQAAAABJRU5ErkJggg=="
)
PICTURE = {"type": "image_url", "image_url": {"url": PIXEL}}


async def test_search_finds_chinese_as_one_types_and_leads_to_the_message(
    mock: Database, visit: Visit
) -> None:
    async with served(mock) as (url, upstream, api):
        upstream.play(upstream.reply("好的。"), upstream.reply("快速排序更快。"))
        id_ = await begin(api, name="算法")
        messages = f"/v1/chat/conversations/{id_}/messages"
        # Code points and UTF-16 units differ behind an emoji.
        for content in ("😀😀 请写<b>冒泡</b>排序", "别的"):
            await api.post(messages, json={"content": content})
        long = await import_long(api, 6)
        async with visit(f"{url}/console/#/chat/{long}") as page:
            search = page.get_by_label("Search", exact=True)
            results = page.locator(".conversations li")
            await search.press_sequentially("冒泡")
            await expect(results).to_have_count(1)
            await expect(results.locator("mark")).to_have_text(["冒泡"])
            await expect(results.locator(".snippet")).to_have_text("😀😀 请写<b>冒泡</b>排序")
            await expect(results).to_contain_text("算法")
            await search.fill("排")
            await expect(results).to_have_count(2)
            await search.fill('"number 3:"')
            await expect(results).to_have_count(1)
            await search.fill("没有这个")
            await expect(page.get_by_text("0 found")).to_be_visible()
            await search.fill("排序 -快速")
            await expect(results).to_have_count(1)
            await results.get_by_role("link").click()
            await expect(page.locator(".message.found")).to_contain_text("请写<b>冒泡</b>排序")
            await expect(page.locator("h1")).to_have_text("算法")
            await search.press("Escape")
            await expect(page.get_by_role("link", name="Long")).to_be_visible()


async def test_a_fork_goes_on_by_itself(mock: Database, visit: Visit) -> None:
    async with served(mock) as (url, upstream, api):
        upstream.play(*(upstream.reply(text) for text in ("one", "two", "other")))
        id_ = await begin(api)
        for content in ("First", "Second"):
            await api.post(f"/v1/chat/conversations/{id_}/messages", json={"content": content})
        async with visit(f"{url}/console/#/chat/{id_}") as page:
            await choose(page, page.locator(".message.theirs").first, "Fork here")
            await expect(page.locator(".markdown")).to_have_text(["one"])
            assert id_ not in page.url
            await write(page, "Another way")
            await expect(page.locator(".markdown")).to_have_text(["one", "other"])
            await page.goto(f"{url}/console/#/chat/{id_}")
            await expect(page.locator(".markdown")).to_have_text(["one", "two"])


async def test_pictures_are_shown_with_a_key_too(mock: Database, visit: Visit) -> None:
    key = "sk-operator-0123456789"
    async with served(mock, api_keys=key) as (url, upstream, api):
        api.headers["Authorization"] = f"Bearer {key}"
        upstream.play(upstream.chunks(chunk({"images": [PICTURE]}), upstream.end()))
        id_ = await begin(api)
        asked = {"role": "user", "content": [{"type": "text", "text": "看图"}, PICTURE]}
        body = {"model": "test-model", "conversation": id_, "messages": [asked]}
        answer = await api.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        async with visit(f"{url}/console/#/chat/{id_}", may_fail=("401",)) as page:
            await page.get_by_role("button", name="Use a key").click()
            await page.get_by_label("Key", exact=True).fill(key)
            await page.get_by_role("button", name="Log in", exact=True).click()
            for message in (page.locator(".message.mine"), page.locator(".message.theirs")):
                picture = message.locator("img")
                await expect(picture).to_have_count(1)
                await expect(picture).to_have_js_property("naturalWidth", 1)
            await expect(page.locator(".message.mine")).to_contain_text("看图")


async def test_reasoning_and_tools_are_folded_and_code_is_copied_and_saved(
    mock: Database, visit: Visit
) -> None:
    call = {"name": "weather", "arguments": '{"city": "北京"}'}
    calls = {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": call}]}
    async with served(mock) as (url, upstream, api):
        code = "```python\nprint('漢')\n```\n"
        upstream.play(
            upstream.chunks(
                chunk({"reasoning_content": "I ponder"}),
                upstream.text(code),
                chunk(calls),
                upstream.end(),
            )
        )
        id_ = await begin(api)
        async with visit(
            f"{url}/console/#/chat/{id_}", permissions=["clipboard-read", "clipboard-write"]
        ) as page:
            await write(page, "Go")
            for summary, inside in (("Reasoning", "I ponder"), ("Calls weather", '"北京"')):
                hidden = page.get_by_text(inside)
                await expect(page.get_by_text(summary, exact=True)).to_be_visible()
                await expect(hidden).not_to_be_visible()
                await page.get_by_text(summary, exact=True).click()
                await expect(hidden).to_be_visible()
            block = page.locator(".code")
            await block.get_by_role("button", name="Copy").click()
            await expect(block.get_by_role("button", name="Copied")).to_be_visible()
            assert await page.evaluate("navigator.clipboard.readText()") == "print('漢')\n"
            async with page.expect_download() as downloading:
                await block.get_by_role("button", name="Save").click()
            saved = await downloading.value
            assert saved.suggested_filename == "code.py"
            assert await asyncio.to_thread(Path(await saved.path()).read_text) == "print('漢')\n"


async def test_what_a_call_takes_along_is_counted_before_it_is_sent(
    mock: Database, visit: Visit
) -> None:
    async with served(mock) as (url, upstream, api):
        upstream.play(upstream.reply("ok"))
        plan = {"category_id": 2, "filename": "方案.md", "content": "needle " * 500}
        await api.post("/v1/plan/documents", json={**plan, "version": 1, "source": "user"})
        id_ = await begin(api)
        async with visit(f"{url}/console/#/chat/{id_}") as page:
            await page.get_by_label("Message", exact=True).fill("Go")
            await page.get_by_label("Take along").click()
            await page.get_by_label("方案.md").check()
            await page.get_by_role("dialog").get_by_role("button", name="Take along").click()
            await expect(page.locator(".composer .chip")).to_contain_text("方案.md")
            asked = await api.post(
                f"/v1/chat/conversations/{id_}/input-tokens",
                json={"content": "Go", "documents": [1]},
            )
            tokens = asked.json()["input_tokens"]
            assert tokens > 500
            await expect(page.locator(".estimate")).to_contain_text(f"{tokens:,} of")
            await page.get_by_label("Send", exact=True).click()
            await expect(page.locator(".markdown")).to_have_text("ok")
            sent = json.dumps(upstream.requests[-1].json, ensure_ascii=False)
            assert sent.count("needle") == 500


async def test_an_import_says_how_far_it_is(mock: Database, visit: Visit, tmp_path: Path) -> None:
    message = {"role": "user", "content": "冒泡 " * 200, "created_at": TIME, "updated_at": TIME}
    file = {
        "format": "poe-openai-proxy.conversation",
        "version": 1,
        "conversation": {"name": "Large", "created_at": TIME, "updated_at": TIME},
        "messages": [message] * 1_000,
    }
    path = tmp_path / "large.json"
    path.write_text(json.dumps(file))
    async with served(mock) as (url, _, api), visit(url) as page:
        await page.get_by_label("Projects, import, archive").click()
        await page.get_by_role("menuitem", name="Import conversations").click()
        await page.evaluate(
            """() => {
              window.said = [];
              new MutationObserver(() => {
                const said = document.querySelector("dialog [role=status]")?.textContent;
                if (said && document.querySelector("dialog progress")) window.said.push(said);
              }).observe(document.body, {subtree: true, childList: true, characterData: true});
            }"""
        )
        await page.get_by_label("File").set_input_files(path)
        await expect(page.get_by_text("1 conversations imported")).to_be_visible()
        said = await page.evaluate("window.said")
        assert said[0].startswith("Sending: ")
        assert said[-1] == "Storing the conversations …"
        await page.get_by_role("dialog").get_by_role("link", name="Large").click()
        await expect(page.locator(".message").first).to_be_visible()
        assert len((await api.get("/v1/chat/conversations")).json()) == 1


def cut_once(app: ASGIApp) -> ASGIApp:
    """The app on a line that breaks in the middle of the first streamed answer."""
    left = [3]

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.body" and message.get("body"):
                left[0] -= 1
                if left[0] == 0:
                    raise OSError("the line is cut")
            await send(message)

        streams = scope["type"] == "http" and scope["method"] == "POST"
        counts = streams and scope["path"].endswith("/messages")
        await app(scope, receive, sending if counts else send)

    return call


async def test_a_reply_whose_line_is_cut_goes_on(mock: Database, visit: Visit) -> None:
    words = ["漢😀 one ", "two ", "three ", "four ", "five"]
    async with OpenAIUpstream() as upstream:
        settings = make_settings(openai_base_url=upstream.base_url, checkpoint_seconds=0.05)
        async with (
            running_app(mock, settings) as app,
            client_of(app) as api,
            serve(cut_once(app)) as url,
        ):
            go_on = asyncio.Event()
            upstream.play(upstream.reply_when(go_on, *words))
            id_ = await begin(api)
            failed = ("ERR_INCOMPLETE_CHUNKED_ENCODING",)
            async with visit(f"{url}/console/#/chat/{id_}", may_fail=failed) as page:
                await write(page, "Count")
                await expect(page.locator(".reply")).to_contain_text("漢😀 one")
                go_on.set()
                await expect(page.locator(".markdown")).to_have_text("".join(words))
                await expect(page.get_by_label("Send", exact=True)).to_be_visible()
                await expect(page.locator(".ending")).to_have_count(0)
                assert len(upstream.requests) == 1


def held_back(app: ASGIApp, go_on: asyncio.Event) -> ASGIApp:
    """The app behind a line on which messages take their time."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/messages"):
            await go_on.wait()
        await app(scope, receive, send)

    return call


@pytest.mark.parametrize("message", ["", "?message=3"])
async def test_who_types_while_a_conversation_loads_goes_on_there(
    mock: Database, visit: Visit, message: str
) -> None:
    go_on = asyncio.Event()
    async with (
        running_app(mock, make_settings()) as app,
        client_of(app) as api,
        serve(held_back(app, go_on)) as url,
    ):
        long = await import_long(api, 6)
        async with visit(f"{url}/console/#/chat/{long}{message}") as page:
            search = page.get_by_label("Search", exact=True)
            await search.press_sequentially("冒")
            go_on.set()
            await expect(page.get_by_label("Message", exact=True)).to_be_visible()
            # Two frames later everything that follows from it has been done.
            await page.evaluate(
                "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
            )
            await page.keyboard.type("泡")
            await expect(search).to_have_value("冒泡")
            await page.get_by_role("link", name="New chat").click()
            await expect(page.get_by_label("Message", exact=True)).to_be_focused()


async def test_nothing_inline_runs_and_no_other_host_is_asked(mock: Database, visit: Visit) -> None:
    may_fail = ("Content Security Policy", "TrustedScript", "TrustedHTML")
    async with served(mock) as (url, _, _), visit(url, may_fail=may_fail) as page:
        await expect(page.locator("main")).to_be_attached()
        assert await fails(page, "document.body.innerHTML = '<img src=x onerror=harm()>'")
        assert await fails(page, "document.head.append(script('window.harmed = 1'))")
        assert await fails(page, "link('javascript:window.harmed = 1').click()")
        assert await fails(page, "await fetch('https://elsewhere.example/')")
        assert await page.evaluate("window.harmed") is None


async def fails(page: Page, attempt: str) -> Any:
    """Whether a script that does this fails, or does nothing."""
    return await page.evaluate(
        """async () => {
          const harm = () => (window.harmed = 1);
          const script = (text) => {
            const element = document.createElement("script");
            element.textContent = text;
            return element;
          };
          const link = (href) => Object.assign(document.createElement("a"), { href });
          try { ATTEMPT; } catch { return true; }
          return window.harmed === undefined;
        }""".replace("ATTEMPT", attempt)
    )
