"""Conversations in the console, as a person uses them."""

import asyncio

import pytest
from playwright.async_api import expect

from proxy.database import Database
from tests.support.browser import Visit, begin, choose, import_long, served, write

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]


async def test_a_first_message_begins_a_conversation_and_its_reply_is_shown(
    mock: Database, visit: Visit
) -> None:
    async with served(mock) as (url, upstream, api), visit(url) as page:
        upstream.play(upstream.reply("Here is **bold**", " and\n\n```python\nx = 1\n", "```\n"))
        await page.get_by_role("link", name="New chat").click()
        await write(page, "Write # code")
        await expect(page.locator(".message.theirs strong")).to_have_text("bold")
        await expect(page.locator(".code .hljs-number")).to_have_text("1")
        await expect(page.locator(".list a[aria-current]")).to_contain_text("Write code")
        (conversation,) = (await api.get("/v1/chat/conversations")).json()
        assert page.url.endswith(f"#/chat/{conversation['id']}")
        await page.reload()
        await expect(page.locator(".message.mine")).to_have_text("Write # code")


async def test_a_reload_in_the_middle_of_a_reply_loses_nothing(
    mock: Database, visit: Visit
) -> None:
    async with served(mock, checkpoint_seconds=0.05) as (url, upstream, api):
        go_on = asyncio.Event()
        upstream.play(upstream.reply_when(go_on, "漢😀 one ", "two ", "three"))
        id_ = await begin(api)
        async with visit(f"{url}/console/#/chat/{id_}") as page:
            await write(page, "Count")
            await expect(page.locator(".reply")).to_contain_text("漢😀 one")
            await page.reload()
            await expect(page.locator(".reply")).to_contain_text("漢😀 one")
            await expect(page.get_by_label("Stop the reply")).to_be_visible()
            go_on.set()
            await expect(page.locator(".markdown")).to_have_text("漢😀 one two three")
            await expect(page.get_by_label("Send", exact=True)).to_be_visible()


async def test_stop_keeps_the_text_and_says_so(mock: Database, visit: Visit) -> None:
    async with served(mock) as (url, upstream, api):
        upstream.play(upstream.stall_after("half a "))
        id_ = await begin(api)
        async with visit(f"{url}/console/#/chat/{id_}") as page:
            await write(page, "Go")
            await expect(page.locator(".reply")).to_contain_text("half a")
            await page.get_by_label("Stop the reply").click()
            await expect(page.locator(".ending")).to_contain_text("Stopped")
            await expect(page.locator(".markdown")).to_have_text("half a ")
            upstream.play(upstream.reply("loaf"))
            await page.get_by_role("button", name="Go on").click()
            await expect(page.locator(".message.theirs")).to_have_count(2)


async def test_how_a_reply_failed_is_said_and_it_can_be_tried_again(
    mock: Database, visit: Visit
) -> None:
    async with served(mock) as (url, upstream, api):
        upstream.play(upstream.status(401))
        id_ = await begin(api)
        async with visit(f"{url}/console/#/chat/{id_}", may_fail=("502",)) as page:
            await write(page, "Hi")
            await expect(page.locator(".ending.error")).to_contain_text("Failed")
            upstream.play(upstream.reply("Hello"))
            await page.get_by_role("button", name="Try again").click()
            await expect(page.locator(".markdown")).to_have_text("Hello")
            await expect(page.locator(".ending")).to_have_count(0)


async def test_answering_again_keeps_the_former_reply_to_compare_and_restore(
    mock: Database, visit: Visit
) -> None:
    async with served(mock) as (url, upstream, api):
        upstream.play(upstream.reply("The first answer"), upstream.reply("The second answer"))
        id_ = await begin(api)
        async with visit(f"{url}/console/#/chat/{id_}") as page:
            await write(page, "Ask")
            reply = page.locator(".message.theirs")
            await expect(reply.locator(".markdown")).to_have_text("The first answer")
            await choose(page, reply, "Answer again with another model …")
            await page.get_by_label("Search models").fill("another-model")
            await page.keyboard.press("Enter")
            await expect(reply.locator(".markdown")).to_have_text("The second answer")
            await expect(reply.locator(".model")).to_have_text("another-model")
            assert upstream.requests[-1].json["model"] == "another-model"
            await reply.get_by_role("button", name="1 earlier").click()
            await expect(page.locator(".difference mark")).to_have_text(["first", "second"])
            await page.get_by_label("Earlier texts").locator("select").select_option("0")
            await page.get_by_role("button", name="Restore this text").click()
            await expect(reply.locator(".markdown")).to_have_text("The first answer")


async def test_an_edited_question_is_answered_again(mock: Database, visit: Visit) -> None:
    async with served(mock) as (url, upstream, api):
        upstream.play(*(upstream.reply(text) for text in ("one", "two", "three")))
        id_ = await begin(api)
        async with visit(f"{url}/console/#/chat/{id_}") as page:
            await write(page, "First")
            await expect(page.locator(".markdown")).to_have_text(["one"])
            # The text is there a moment before the reply has ended.
            await expect(page.get_by_label("Send", exact=True)).to_be_visible()
            await write(page, "Second")
            await expect(page.locator(".markdown")).to_have_text(["one", "two"])
            mine = page.locator(".message.mine").first
            await mine.hover()
            await mine.get_by_label("Edit").click()
            await mine.locator("textarea").fill("Changed")
            await mine.get_by_role("button", name="Save and answer again").click()
            await page.get_by_role("button", name="Delete and answer again").click()
            await expect(page.locator(".markdown")).to_have_text(["three"])
            await expect(page.locator(".bubble")).to_have_text(["Changed"])
            listed = (await api.get(f"/v1/chat/conversations/{id_}/messages")).json()
            assert [m["content"] for m in listed["messages"]] == ["Changed", "three"]


async def test_a_conversation_is_renamed_archived_and_deleted(mock: Database, visit: Visit) -> None:
    async with served(mock) as (url, _, api):
        id_ = await begin(api)
        async with visit(f"{url}/console/#/chat/{id_}") as page:
            more = page.get_by_label("More for this conversation")
            await more.click()
            await page.get_by_role("menuitem", name="Name, project, system prompt").click()
            await page.get_by_label("Name", exact=True).fill("排序")
            await page.get_by_role("textbox", name="System prompt").fill("Be short")
            await page.get_by_role("button", name="Save").click()
            await expect(page.locator("h1")).to_have_text("排序")
            await expect(page.locator(".message.system")).to_be_visible()
            await more.click()
            await page.get_by_role("menuitem", name="Archive").click()
            await expect(page.get_by_text("No conversation yet")).to_be_visible()
            await more.click()
            await page.get_by_role("menuitem", name="Delete").click()
            await page.get_by_role("button", name="Delete").click()
            await expect(page.get_by_text("What would you like")).to_be_visible()
            assert (await api.get("/v1/chat/conversations")).json() == []


HOSTILE = """<script>window.harmed = 1</script><img src=x onerror="window.harmed = 1">

<svg onload="window.harmed = 1"><a href="javascript:window.harmed=1">x</a></svg>

[a link](javascript:window.harmed=1) [another](data:text/html,<script>1</script>)
![picture](https://elsewhere.example/spy.png) ![x](javascript:1)

```html"><img src=x onerror=window.harmed=1>
<script>window.harmed = 1</script>
```

| a | b |
|---|---|
""" + "\n".join(f"| {'long' * 50} {n} | <b>{n}</b> |" for n in range(300))


async def test_a_hostile_message_stays_text(mock: Database, visit: Visit) -> None:
    async with served(mock) as (url, upstream, api):
        upstream.play(upstream.reply(HOSTILE))
        id_ = await begin(api, name="<img src=x onerror=window.harmed=1>")
        async with visit(f"{url}/console/#/chat/{id_}") as page:
            await write(page, HOSTILE)
            await expect(page.get_by_label("Send", exact=True)).to_be_visible()
            await expect(page.locator(".markdown table tbody tr")).to_have_count(300)
            assert await page.evaluate("window.harmed") is None
            inside = page.locator(".message")
            assert await inside.locator("script, svg[onload], iframe, object").count() == 0
            assert await inside.locator("[onerror], [onload], img").count() == 0
            for address in await inside.locator("a").evaluate_all("all => all.map(a => a.href)"):
                assert address.startswith("https://elsewhere.example/")
            await expect(page.locator(".markdown")).to_contain_text("<script>window.harmed = 1")
            wide = await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert wide


async def test_two_tabs_agree(mock: Database, visit: Visit) -> None:
    async with served(mock) as (url, upstream, api):
        go_on = asyncio.Event()
        upstream.play(upstream.reply_when(go_on, "growing ", "text"))
        id_ = await begin(api)
        async with visit(f"{url}/console/#/chat/{id_}") as page:
            other = await page.context.new_page()
            await other.goto(f"{url}/console/#/chat/{id_}")
            await expect(other.get_by_label("Message", exact=True)).to_be_visible()
            await write(page, "Hello, tab")
            await expect(other.locator(".message.mine")).to_have_text("Hello, tab")
            go_on.set()
            await expect(page.locator(".markdown")).to_have_text("growing text")
            await expect(other.locator(".markdown")).to_have_text("growing text")
            mine = page.locator(".message.mine")
            await choose(page, mine, "Delete")
            await page.get_by_role("button", name="Delete").click()
            await expect(mine).to_have_count(0)
            await expect(other.locator(".message.mine")).to_have_count(0)


async def test_a_long_conversation_is_in_the_page_only_in_part(
    mock: Database, visit: Visit
) -> None:
    async with served(mock) as (url, _, api):
        id_ = await import_long(api, 240)
        async with visit(f"{url}/console/#/chat/{id_}") as page:
            messages = page.locator(".message")
            await expect(page.get_by_text("number 239:").first).to_be_in_viewport()
            thread = page.locator(".thread")
            for _ in range(40):
                await thread.evaluate("element => element.scrollTo(0, 0)")
                await page.evaluate("new Promise(done => setTimeout(done, 30))")
                assert await messages.count() <= 160
                if await page.get_by_text("number 0:").count():
                    break
            await expect(page.get_by_text("number 0:").first).to_be_visible()
            await page.get_by_label("Go to the newest message").click()
            await expect(page.get_by_text("number 239:").first).to_be_in_viewport()


async def test_a_link_to_an_old_message_opens_there_and_the_newest_is_not_far(
    mock: Database, visit: Visit
) -> None:
    async with served(mock) as (url, _, api):
        id_ = await import_long(api, 300)
        listed = (await api.get(f"/v1/chat/conversations/{id_}/messages")).json()["messages"]
        wanted = listed[100]["id"]
        async with visit(f"{url}/console/#/chat/{id_}?message={wanted}") as page:
            await expect(page.locator(".message.found")).to_be_in_viewport()
            await expect(page.locator(".message.found")).to_contain_text("number 100:")
            await page.get_by_label("Go to the newest message").click()
            await expect(page.get_by_text("number 299:").first).to_be_in_viewport()


async def test_a_file_of_conversations_goes_in_and_out(mock: Database, visit: Visit) -> None:
    async with served(mock) as (url, _, api):
        await import_long(api, 4)
        async with visit(url) as page:
            await page.get_by_role("link", name="Long").click()
            await page.get_by_label("More for this conversation").click()
            async with page.expect_download() as downloading:
                await page.get_by_role("menuitem", name="Export as JSON").click()
            saved = await (await downloading.value).path()
            await page.get_by_label("Projects, import, archive").click()
            await page.get_by_role("menuitem", name="Import conversations").click()
            await page.get_by_label("File").set_input_files(saved)
            await expect(page.get_by_text("1 conversations imported")).to_be_visible()
            assert len((await api.get("/v1/chat/conversations")).json()) == 2
