"""A project's source in a turn: in the system prompt of that call, recorded on the reply."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.database import Database
from tests.conftest import client_of, make_settings, running_app
from tests.fakes.openai_upstream import OpenAIUpstream


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "项目"
    root.mkdir()
    (root / "a.py").write_text("print('一')\n")
    (root / "b.py").write_text("print('two')\n")
    (root / "notes.txt").write_text("ignored\n")
    (root / ".gitignore").write_text("*.txt\n")
    return root


async def conversation(client: httpx.AsyncClient, directory: Path | None) -> str:
    project = await client.post(
        "/v1/projects", json={"name": "p", "ai_work_dir": str(directory or "")}
    )
    created = await client.post(
        "/v1/chat/conversations",
        json={"system_prompt": "SYSTEM", "project_id": project.json()["id"]},
    )
    return f"/v1/chat/conversations/{created.json()['conversation_id']}/messages"


def system_prompts(upstream: OpenAIUpstream) -> list[str]:
    return [request.json["messages"][0]["content"] for request in upstream.requests]


async def ask(client: httpx.AsyncClient, path: str, **source_code: Any) -> httpx.Response:
    return await client.post(
        path, json={"content": "explain", "attach": {"source_code": source_code}}
    )


async def test_source_goes_into_the_system_prompt_of_that_call_only(
    database: Database, tree: Path
) -> None:
    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.reply("ok"))
        settings = make_settings(openai_base_url=upstream.base_url, source_roots=[tree.parent])
        async with running_app(database, settings) as app, client_of(app) as client:
            path = await conversation(client, tree)
            assert (await ask(client, path)).status_code == 200
            await client.post(path, json={"content": "again"})
            history = (await client.get(path)).json()["messages"]
        first, second = system_prompts(upstream)
        assert first.startswith("SYSTEM\n\n")
        assert "print('一')" in first
        assert "print('two')" in first
        assert "ignored" not in first
        assert second == "SYSTEM"
        assert history[0]["content"] == "SYSTEM"
        record = history[2]["attached_source"]
        assert record["files"] == 3
        assert len(record["sha256"]) == 64
        assert record["tokens"] > 0
        assert "attached_source" not in history[4]


async def test_since_last_sends_only_what_changed(database: Database, tree: Path) -> None:
    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.reply("ok"))
        settings = make_settings(openai_base_url=upstream.base_url, source_roots=[tree.parent])
        async with running_app(database, settings) as app, client_of(app) as client:
            path = await conversation(client, tree)
            await ask(client, path, since="last")
            (tree / "b.py").write_text("print('changed')\n")
            await ask(client, path, since="last")
            await ask(client, path, since="last")
            history = (await client.get(path)).json()["messages"]
        whole, changed, nothing = system_prompts(upstream)
        assert "print('一')" in whole
        assert "print('changed')" in changed
        assert "print('一')" not in changed
        assert "print('changed')" not in nothing
        records = [m["attached_source"] for m in history if "attached_source" in m]
        assert [record["files"] for record in records] == [3, 1, 0]
        assert records[1]["since"] == records[0]["sha256"]


async def test_include_and_max_tokens_bound_what_is_attached(
    database: Database, tree: Path
) -> None:
    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.reply("ok"))
        settings = make_settings(openai_base_url=upstream.base_url, source_roots=[tree.parent])
        async with running_app(database, settings) as app, client_of(app) as client:
            path = await conversation(client, tree)
            await ask(client, path, include=["a.py"], max_tokens=1000)
        (prompt,) = system_prompts(upstream)
        assert "print('一')" in prompt
        assert "print('two')" not in prompt


async def test_a_chat_completion_with_a_conversation_attaches_source(
    database: Database, tree: Path
) -> None:
    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.reply("ok"))
        settings = make_settings(openai_base_url=upstream.base_url, source_roots=[tree.parent])
        async with running_app(database, settings) as app, client_of(app) as client:
            path = await conversation(client, tree)
            body = {
                "model": "test-model",
                "conversation": path.split("/")[-2],
                "messages": [{"role": "user", "content": "explain"}],
                "attach": {"source_code": {"include": ["a.py"]}},
            }
            response = await client.post("/v1/chat/completions", json=body)
            assert response.status_code == 200, response.text
            body["attach"] = {"source_code": {"max_tokens": -1}}
            refused = await client.post("/v1/chat/completions", json=body)
            assert refused.status_code == 400
            assert "attach.source_code.max_tokens" in refused.json()["detail"]
        assert "print('一')" in system_prompts(upstream)[0]
        assert "attach" not in upstream.requests[0].json


@pytest.mark.parametrize(("directory", "status"), [("none", 409), ("/", 403), ("gone", 404)])
async def test_source_that_cannot_be_attached_stores_nothing(
    database: Database, tree: Path, directory: str, status: int
) -> None:
    where = {"none": None, "/": Path("/"), "gone": tree / "gone"}[directory]
    settings = make_settings(source_roots=[tree.parent])
    async with running_app(database, settings) as app, client_of(app) as client:
        path = await conversation(client, where)
        response = await ask(client, path)
        assert response.status_code == status, response.text
        assert str(tree) not in response.text
        assert [m["role"] for m in (await client.get(path)).json()["messages"]] == ["system"]


async def test_a_conversation_without_a_project_says_so(client: httpx.AsyncClient) -> None:
    created = (await client.post("/v1/chat/conversations", json={})).json()
    path = f"/v1/chat/conversations/{created['conversation_id']}/messages"
    response = await ask(client, path)
    assert response.status_code == 409
    assert "project_id" in response.json()["detail"]
