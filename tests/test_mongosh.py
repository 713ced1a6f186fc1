"""The documented queries and the reading aids, run by a real mongosh on a real database."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.database import Database
from tests.conftest import LiveServer, client_of, make_settings, running_app
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.replies import create, provider, streaming

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
AIDS = ROOT / "scripts" / "mongosh.js"
MONGOSH = shutil.which("mongosh") or str(
    Path(__file__).parent / "mongosh/node_modules/.bin/mongosh"
)

if not Path(MONGOSH).exists() and not os.environ.get("CI"):
    pytest.skip("mongosh is missing: scripts/install-test-tools", allow_module_level=True)


def documented_queries() -> dict[str, str]:
    """Comment above a query → the query, from the documentation."""
    text = (ROOT / "docs" / "mongosh.md").read_text(encoding="utf-8")
    queries = {}
    for block in re.findall(r"```js\n(.*?)```", text, re.S):
        for title, query in re.findall(r"^// (.+)\n((?:(?!//).*\n?)+)", block, re.M):
            # What a query gives stands below it, behind the same slashes.
            if query.strip():
                queries[title.strip()] = query.strip()
    return queries


def documented_searches() -> list[str]:
    """The search in messages and the one in documents, from the documentation."""
    text = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```js\n(.*?)```", text, re.S)
    messages, documents = block.strip().splitlines()
    return [messages, documents]


BETWEEN = "----8<----"
"""Printed between what two scripts print."""


async def run(uri: str, name: str, *scripts: str) -> list[str]:
    """What one mongosh, whose start takes seconds, prints for each script."""
    address, _, options = uri.partition("?")
    target = f"{address.rstrip('/')}/{name}?{options}"
    script = f"; print({BETWEEN!r});\n".join(scripts)
    done = await asyncio.to_thread(
        subprocess.run,
        [MONGOSH, target, "--quiet", "--norc", "--eval", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split(f"{BETWEEN}\n")


async def values_of(uri: str, name: str, *queries: str) -> list[str]:
    """The JSON text of what each query gives."""
    return await run(uri, name, *(f"print(JSON.stringify({query}))" for query in queries))


async def aids(
    uri: str, name: str, *calls: str, printing: Sequence[str] = ()
) -> tuple[list[Any], list[str]]:
    """What the reading aids return to each call, and what others of them print."""
    loaded = f"load({json.dumps(str(AIDS))})"
    returning = [f"print(JSON.stringify({call}))" for call in calls]
    _, *printed = await run(uri, name, loaded, *returning, *printing)
    return [json.loads(text) for text in printed[: len(calls)]], printed[len(calls) :]


async def fill(client: httpx.AsyncClient) -> tuple[str, dict[str, Any]]:
    project = (await client.post("/v1/projects", json={"name": "后端"})).json()
    created = await client.post(
        "/v1/chat/conversations",
        json={"name": "排序", "project_id": project["id"], "system_prompt": "你是AI助手"},
    )
    id_ = created.json()["conversation_id"]
    for number in range(6):
        await client.post(
            f"/v1/chat/conversations/{id_}/messages",
            json={"content": f"用Python写冒泡排序 {number}"},
        )
    document = await client.post(
        "/v1/plan/documents",
        json={
            "project_id": project["id"],
            "category_id": 2,
            "filename": "新方案设计.md",
            "content": "文档内容",
            "version": 1,
            "source": "chat",
        },
    )
    assert document.status_code == 200, document.text
    return id_, project


async def test_the_documented_queries_and_searches_find_what_they_say(
    wire: Database, wire_uri: str
) -> None:
    # A small tail, so that the conversation has pages.
    async with (
        running_app(wire, make_settings(tail_messages=4)) as app,
        client_of(app) as client,
    ):
        id_, project = await fill(client)
        other = {"category_id": 2, "filename": "排序.md", "version": 1, "source": "chat"}
        await client.post("/v1/plan/documents", json={**other, "content": "先讲冒泡，再讲快速"})
    wanted = {
        "All messages of one conversation": ["冒泡排序 0", "冒泡排序 5", "你是AI助手"],
        "Messages that say something": ["冒泡排序 3"],
        "How many replies failed": ["0"],
        "Replies by model": ["echo", "6"],
        "The last conversations": ["排序", id_],
        "Documents of a project": ["新方案设计.md"],
    }
    queries = documented_queries()
    assert set(queries) == set(wanted)
    filled = [
        queries[title]
        .replace("CONVERSATION_ID", id_)
        .replace("PROJECT_ID", str(project["id"]))
        .rstrip(";")
        for title in wanted
    ]
    *values, messages, documents = await values_of(
        wire_uri, wire.database.name, *filled, *documented_searches()
    )
    for (title, words), printed in zip(wanted.items(), values, strict=True):
        for word in words:
            assert word in printed, f"{title}: {printed}"
    found = json.loads(messages)
    # The echo repeats what it was asked; the older ones are in pages.
    assert [message["content"].splitlines()[-1] for message in found] == [
        f"用Python写冒泡排序 {number}" for number in range(5, -1, -1) for _ in range(2)
    ]
    assert {message["conversation_id"] for message in found} == {id_}
    (document,) = json.loads(documents)
    assert (document["filename"], document["version"]) == ("排序.md", 1)


async def test_the_reading_aids_show_what_is_there(wire: Database, wire_uri: str) -> None:
    name = wire.database.name
    async with (
        running_app(wire, make_settings(tail_messages=4)) as app,
        client_of(app) as client,
    ):
        id_, _ = await fill(client)
        await app.state.usage.flush()
        assert (await wire.database.conversations.find_one({"_id": id_}))["page_count"] > 0

        named = (json.dumps(id_), json.dumps(id_[:8]), '"排序"', "", "'nobody'")
        told, (*chats, unknown) = await aids(
            *(wire_uri, name, "last()", 'find("冒泡排序 3")', 'find("a.c")'),
            *('usage("7d")', 'usage("4w", "owner")', "running()"),
            printing=[f"chat({given})" for given in named],
        )
        (newest,), found, nothing, (by_model,), (by_owner,), running = told
        assert (newest["_id"], newest["name"], newest["messages"]) == (id_, "排序", 13)
        assert {message["conversation_id"] for message in found} == {id_}
        assert all("冒泡排序 3" in message["content"] for message in found)
        assert nothing == running == []
        assert (by_model["_id"], by_model["requests"]) == ("echo/echo", 6)
        assert (by_owner["_id"], by_owner["requests"]) == ("default", 6)

        assert len(chats) == 4
        for printed in chats:
            texts = ["你是AI助手", *(f"用Python写冒泡排序 {number}" for number in range(6))]
            places = [printed.index(f"\n{text}\n") for text in texts]
            assert places == sorted(places)
        assert "No conversation has the id or name nobody" in unknown


async def test_a_reply_that_is_being_written_is_shown_as_running(
    wire: Database, wire_uri: str, live: LiveServer
) -> None:
    async with OpenAIUpstream() as openai:
        openai.play(openai.stall_after("one"))
        async with live(providers=[provider(openai)]) as client:
            id_ = await create(client)
            async with streaming(client, id_) as stream:
                await stream.until("one")
                ((reply,),), _ = await aids(wire_uri, wire.database.name, "running()")
                assert reply["_id"] == stream.message_id
                assert reply["conversation_id"] == id_
