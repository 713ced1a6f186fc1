"""All screens of the console: what each does, and what holds for every one of them."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, expect
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.database import Database
from tests.conftest import IN_CI, client_of, make_settings, running_app
from tests.fakes.live import serve
from tests.support.browser import Visit, begin, served, write
from tests.support.depth import share

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"


async def fill(api: httpx.AsyncClient, folder: Path) -> dict[str, Any]:
    """A project with source, a conversation with a document made by hand in two versions."""
    (folder / "src").mkdir()
    (folder / "src" / "main.py").write_text("print('hello')\n" * 20)
    (folder / "README.md").write_text("# Hello\n")
    (folder / ".gitignore").write_text("*.log\n")
    (folder / "debug.log").write_text("no")
    made = await api.post("/v1/projects", json={"name": "后端", "ai_work_dir": str(folder)})
    project = made.json()["id"]
    conversation = await begin(api, project_id=project, name="排序")
    await api.post(
        f"/v1/chat/conversations/{conversation}/messages", json={"content": "Write a plan"}
    )
    for content in ("# Plan\n\none\ntwo\n", "# Plan\n\none\ntwo and more\n"):
        body = {"project_id": project, "category_id": 2, "filename": "plan.md", "content": content}
        saved = await api.post("/v1/plan/documents", json=body)
    return {
        "project": project,
        "conversation": conversation,
        "document": saved.json()["id"],
    }


def screens(made: dict[str, Any]) -> list[str]:
    return [
        "chat",
        "chat/new",
        f"chat/{made['conversation']}",
        "plans",
        f"plans/{made['document']}",
        "plans/categories",
        "usage",
        f"source/{made['project']}",
        "keys",
        "status",
    ]


async def settled(page: Page) -> None:
    """Wait until a screen has read what it shows."""
    await expect(page.locator("main")).to_be_attached()
    await expect(page.locator(".loading")).to_have_count(0)


async def test_every_screen_fits_a_narrow_page_in_chinese_and_is_accessible(
    wired: Database, visit: Visit, tmp_path: Path
) -> None:
    if not AXE.exists():
        assert not IN_CI
        pytest.skip("axe-core is missing (scripts/install-test-tools)")
    async with served(wired, source_roots=[tmp_path]) as (url, upstream, api):
        upstream.play(upstream.reply("A list:\n\n```python\nx = 1\n```\n\n| a |\n|---|\n| 1 |"))
        made = await fill(api, tmp_path)
        looks = {"locale": "zh-CN", "viewport": {"width": 320, "height": 640}}
        async with (
            visit(f"{url}/console/", color_scheme="light", **looks, bypass_csp=True) as light,
            visit(f"{url}/console/", color_scheme="dark", bypass_csp=True) as dark,
        ):
            for number, (page, language) in enumerate(((light, "zh-CN"), (dark, "en"))):
                assert await page.evaluate("document.documentElement.lang") == language
                await page.add_script_tag(path=AXE)
                for screen in share(screens(made), number, of=2):
                    await page.goto(f"{url}/console/#/{screen}")
                    await settled(page)
                    wide = await page.evaluate("document.documentElement.scrollWidth")
                    assert wide <= await page.evaluate("innerWidth"), screen
                    found = await page.evaluate(
                        "axe.run(document, {resultTypes: ['violations']})"
                        ".then(result => result.violations"
                        ".filter(each => ['serious', 'critical'].includes(each.impact))"
                        ".map(each => [each.id, each.nodes.map(node => node.html).slice(0, 3)]))"
                    )
                    assert found == [], screen
            await expect(light.locator(".navigation")).to_contain_text("会话")


async def test_plans_are_compared_restored_tagged_and_generated(
    mock: Database, visit: Visit, tmp_path: Path
) -> None:
    async with served(mock) as (url, upstream, api):
        upstream.play(upstream.reply("ok"), upstream.reply("# Written", " by a model"))
        made = await fill(api, tmp_path)
        async with visit(f"{url}/console/#/plans") as page:
            await page.get_by_role("link", name="plan.md").click()
            await page.get_by_role("button", name="Compare", exact=True).click()
            await expect(page.locator(".difference mark")).to_have_text([" and more"])
            await page.get_by_label("Versions").select_option(label="version 1")
            await page.get_by_role("button", name="Restore this version").click()
            await expect(page.get_by_label("Versions")).to_contain_text("version 3 (newest)")
            await page.get_by_label("Add a tag").fill("重要")
            await page.get_by_label("Add a tag").press("Enter")
            await expect(page.locator(".chip")).to_contain_text("重要")
            await page.get_by_label("Search documents").fill("#重要")
            await expect(page.get_by_role("link", name="plan.md")).to_be_visible()
            await page.goto(f"{url}/console/#/chat/{made['conversation']}")
            await page.get_by_label("More for this conversation").click()
            await page.get_by_role("menuitem", name="Make a plan document of it").click()
            await page.get_by_label("File name").fill("made.md")
            await page.get_by_label("Category").select_option(label="需求计划")
            await page.get_by_role("button", name="Generate", exact=True).click()
            await expect(page.locator(".paper h1")).to_have_text("Written by a model")
            message = (
                await api.get(f"/v1/chat/conversations/{made['conversation']}/messages")
            ).json()["messages"][0]
            await api.put(f"/v1/chat/messages/{message['id']}", json={"content": "Changed"})
            await page.reload()
            await page.get_by_role("button", name="Which one?").click()
            await expect(page.get_by_role("link", name="was edited")).to_have_count(1)


async def test_usage_has_a_plot_a_table_and_csv(
    mock: Database, visit: Visit, tmp_path: Path
) -> None:
    async with served(mock) as (url, upstream, api):
        upstream.play(upstream.reply("ok"))
        await fill(api, tmp_path)
        # It is stored a moment later than the reply that it counts.
        while not (await api.get("/v1/usage")).json()["groups"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        async with visit(f"{url}/console/#/usage") as page:
            await expect(page.locator(".plot canvas")).to_be_visible()
            await expect(page.get_by_role("row", name="openai/test-model")).to_contain_text("11")
            async with page.expect_download() as downloading:
                await page.get_by_role("button", name="CSV").first.click()
            path = await (await downloading.value).path()
            saved = await asyncio.to_thread(path.read_text)
            assert saved.splitlines()[0].startswith("\ufeffday,name,requests")
            assert ",11,7,18," in saved


async def test_source_shows_what_patterns_and_a_bound_leave(
    mock: Database, visit: Visit, tmp_path: Path
) -> None:
    async with served(mock, source_roots=[tmp_path]) as (url, upstream, api):
        upstream.play(upstream.reply("ok"))
        await fill(api, tmp_path)
        async with visit(f"{url}/console/#/source") as page:
            tree = page.locator(".tree")
            await expect(tree).to_contain_text("README.md")
            await tree.get_by_text("src/").click()
            await expect(tree).to_contain_text("main.py")
            await expect(page.locator(".table-box")).to_contain_text("debug.log")
            await page.get_by_label("Include").fill("*.md")
            await expect(tree).not_to_contain_text("src/")
            await page.get_by_label("At most (tokens)").fill("12")
            await expect(tree).not_to_contain_text("README.md")


async def test_the_first_key_locks_the_server_and_the_tab_goes_on(
    wired: Database, visit: Visit
) -> None:
    async with served(wired) as (url, _, api), visit(f"{url}/console/#/keys") as page:
        await page.get_by_role("button", name="New key").click()
        await page.get_by_label("Name", exact=True).fill("laptop")
        await page.get_by_label("Requests a minute").fill("600")
        await page.get_by_role("button", name="Create").click()
        key = await page.locator(".secret").inner_text()
        assert key.startswith("sk-proxy-")
        await page.get_by_role("dialog").get_by_role("button", name="Close").last.click()
        await expect(page.get_by_role("row", name="laptop")).to_contain_text("600 requests/min")
        assert (await api.get("/v1/auth/me")).status_code == 401
        await page.get_by_label("More for laptop").click()
        await page.get_by_role("menuitem", name="Rotate").click()
        await page.get_by_role("button", name="Rotate").click()
        assert await page.locator(".secret").inner_text() != key


async def test_users_are_made_changed_and_removed(wired: Database, visit: Visit) -> None:
    key = {"Authorization": "Bearer sk-operator-0123456789"}
    async with (
        served(wired, api_keys="sk-operator-0123456789") as (url, _, api),
        visit(f"{url}/console/#/keys", may_fail=("401",)) as page,
    ):
        await page.get_by_role("button", name="Use a key").click()
        await page.get_by_label("Key", exact=True).fill("sk-operator-0123456789")
        await page.get_by_role("button", name="Log in", exact=True).click()
        await page.get_by_role("button", name="New user").click()
        await page.get_by_label("Name", exact=True).fill("王芳")
        await page.get_by_label("Password").fill("a long sentence")
        await page.get_by_role("button", name="Save").click()
        row = page.get_by_role("row", name="王芳")
        await expect(row).to_contain_text("chat, plan, project")
        login = {"userName": "王芳", "password": "a long sentence"}
        assert (await api.post("/v1/auth/login", json=login)).status_code == 200
        api.cookies.clear()
        await row.get_by_label("More for 王芳").click()
        await page.get_by_role("menuitem", name="Set a password").click()
        await page.get_by_role("textbox", name="Password").fill("another sentence")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("Changed; the user has to log in")).to_be_visible()
        assert (await api.post("/v1/auth/login", json=login)).status_code == 401
        await row.get_by_label("More for 王芳").click()
        await page.get_by_role("menuitem", name="Delete").click()
        await page.get_by_role("button", name="Delete").click()
        await expect(page.get_by_text("Nobody logs in")).to_be_visible()
        assert (await api.get("/v1/users", headers=key)).json() == []


async def test_status_shows_and_stops_a_running_reply(wired: Database, visit: Visit) -> None:
    async with served(wired) as (url, upstream, api):
        upstream.play(upstream.stall_after("half"))
        id_ = await begin(api, name="Slow")
        async with visit(f"{url}/console/#/chat/{id_}") as page:
            await write(page, "Go")
            await expect(page.locator(".reply")).to_contain_text("half")
            await page.goto(f"{url}/console/#/status")
            await expect(page.locator(".chip.good").first).to_contain_text("ok")
            row = page.get_by_role("row", name="Slow")
            await row.get_by_role("button", name="Stop the reply").click()
            await expect(page.get_by_text("None at the moment")).to_be_visible()


async def test_a_log_in_is_asked_for_and_an_ended_session_goes_on_where_it_was(
    wired: Database, visit: Visit
) -> None:
    operator = {"Authorization": "Bearer sk-operator-0123456789"}
    async with served(wired, api_keys="sk-operator-0123456789") as (url, upstream, api):
        upstream.play(upstream.reply("Hello"))
        user = {"name": "Wang", "password": "a long sentence"}
        made = (await api.post("/v1/users", json=user, headers=operator)).json()
        async with visit(url, may_fail=("401",)) as page:
            await page.get_by_label("Name", exact=True).fill("Wang")
            await page.get_by_label("Password").fill("wrong")
            await page.get_by_role("button", name="Log in").click()
            await expect(page.get_by_role("alert")).to_have_text("Invalid username or password")
            await page.get_by_label("Password").fill("a long sentence")
            await page.get_by_role("button", name="Log in").click()
            await page.get_by_role("link", name="New chat").click()
            await expect(page.get_by_label("Status")).to_have_count(0)
            # The password is set anew: all sessions end while a message is being written.
            new = {"password": "another sentence"}
            await api.put(f"/v1/users/{made['id']}", json=new, headers=operator)
            await write(page, "Still here")
            await expect(page.get_by_text("Your session has ended")).to_be_visible()
            await page.get_by_label("Name", exact=True).fill("Wang")
            await page.get_by_label("Password").fill("another sentence")
            await page.get_by_role("button", name="Log in").click()
            await expect(page.locator(".markdown")).to_have_text("Hello")
            await expect(page.locator(".message.mine")).to_have_text(["Still here"])


async def test_a_lost_connection_is_said_and_mends(mock: Database, visit: Visit) -> None:
    async with served(mock) as (url, upstream, api):
        upstream.play(upstream.reply("Hello"))
        id_ = await begin(api)
        failed = ("ERR_INTERNET_DISCONNECTED",)
        async with visit(f"{url}/console/#/chat/{id_}", may_fail=failed) as page:
            await expect(page.get_by_label("Message", exact=True)).to_be_visible()
            await page.context.set_offline(True)
            await write(page, "Sent while away")
            await expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
            await page.context.set_offline(False)
            await expect(page.locator(".markdown")).to_have_text("Hello")
            await expect(page.get_by_role("alert")).to_have_count(0)
            listed = (await api.get(f"/v1/chat/conversations/{id_}/messages")).json()
            assert [m["content"] for m in listed["messages"]] == ["Sent while away", "Hello"]


async def test_the_keyboard_alone_is_enough(mock: Database, visit: Visit) -> None:
    async with served(mock) as (url, upstream, api):
        upstream.play(upstream.reply("Hello"))
        await begin(api, name="Keys only")
        async with visit(url) as page:
            await expect(page.get_by_role("link", name="Keys only")).to_be_visible()
            await page.keyboard.press("/")
            await expect(page.get_by_label("Search", exact=True)).to_be_focused()
            await press_until(page, "Tab", page.get_by_role("link", name="Keys only"))
            await page.keyboard.press("Enter")
            await expect(page.get_by_label("Message", exact=True)).to_be_focused()
            await page.keyboard.type("Hi")
            await page.keyboard.press("Enter")
            await expect(page.locator(".markdown")).to_have_text("Hello")
            menu = page.locator(".message.theirs").get_by_label("More for this message")
            await press_until(page, "Shift+Tab", menu)
            await page.keyboard.press("Enter")
            await page.keyboard.press("End")
            await expect(page.get_by_role("menuitem", name="Delete", exact=True)).to_be_focused()
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("dialog")).to_be_visible()
            await page.keyboard.press("Escape")
            await expect(page.get_by_role("dialog")).to_have_count(0)
            await expect(page.locator(".message.theirs")).to_have_count(1)


async def press_until(page: Page, key: str, wanted: Any) -> None:
    for _ in range(60):
        await page.keyboard.press(key)
        if await wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{key} does not lead there")


def below(prefix: str, app: ASGIApp) -> ASGIApp:
    """The app as a reverse proxy shows it that takes a prefix off."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(prefix):
            path = scope["path"][len(prefix) :]
            scope = {**scope, "path": path, "raw_path": path.encode()}
            await app(scope, receive, send)
        else:
            await refused(scope, receive, send)

    return call


async def refused(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_it_works_behind_a_path_prefix(wired: Database, visit: Visit) -> None:
    async with (
        running_app(wired, make_settings()) as app,
        client_of(app) as api,
        serve(below("/team/ai", app)) as url,
    ):
        await begin(api, name="Below")
        async with visit(f"{url}/team/ai/") as page:
            await page.get_by_role("link", name="Below").click()
            await write(page, "Hello, prefix")
            await expect(page.locator(".markdown")).to_contain_text("Hello, prefix")
            for name in ("Plans", "Usage", "Source", "Keys", "Status"):
                await page.get_by_role("link", name=name).click()
                await settled(page)
