"""The README's Mongo shell queries, run by a real mongosh on a real database."""

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.database import Database
from tests.conftest import client_of, make_settings, running_app

ROOT = Path(__file__).parent.parent
MONGOSH = shutil.which("mongosh") or str(
    Path(__file__).parent / "mongosh/node_modules/.bin/mongosh"
)

if not Path(MONGOSH).exists() and not os.environ.get("CI"):
    pytest.skip("mongosh is missing: scripts/install-test-tools", allow_module_level=True)


def readme_queries() -> dict[str, str]:
    """Comment above a query → the query, from the README's section."""
    section = (ROOT / "README.md").read_text().partition("## Look inside with mongosh")[2]
    section = section.partition("\n## ")[0]
    queries = {}
    for block in re.findall(r"```js\n(.*?)```", section, re.S):
        for title, query in re.findall(r"^// (.+)\n((?:(?!//).*\n?)+)", block, re.M):
            queries[title.strip()] = query.strip()
    return queries


async def run(uri: str, name: str, query: str) -> str:
    """What mongosh prints for one query."""
    address, _, options = uri.partition("?")
    target = f"{address.rstrip('/')}/{name}?{options}"
    done = await asyncio.to_thread(
        subprocess.run,
        [MONGOSH, target, "--quiet", "--norc", "--eval", f"print(JSON.stringify({query}))"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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


async def test_the_readme_queries_find_what_they_say(wire: Database, wire_uri: str) -> None:
    queries = readme_queries()
    assert len(queries) >= 5
    # A small tail, so that the conversation has pages.
    async with (
        running_app(wire, make_settings(tail_messages=4)) as app,
        client_of(app) as client,
    ):
        id_, project = await fill(client)
        wanted = {
            "The last conversations": ["排序", id_],
            "All messages of one conversation": ["冒泡排序 0", "冒泡排序 5", "你是AI助手"],
            "Replies by model": ["echo", "6"],
            "Documents of a project": ["新方案设计.md"],
            "Messages that say something": ["冒泡排序 3"],
        }
        for title, words in wanted.items():
            query = queries[title].replace("CONVERSATION_ID", id_)
            query = query.replace("PROJECT_ID", str(project["id"]))
            printed = await run(wire_uri, wire.database.name, query.rstrip(";"))
            for word in words:
                assert word in printed, f"{title}: {printed}"
