"""The documents that a turn takes along really are in its system prompt."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from proxy.database import Database
from tests.conftest import client_of, make_settings, running_app
from tests.support.listening_model import Listener
from tests.support.plans import PROJECT, conversation, refer, save


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
async def client(database: Database, listener: Listener) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        running_app(database, make_settings(), providers=[listener]) as app,
        client_of(app) as client,
    ):
        yield client


async def say(client: httpx.AsyncClient, base: str, **fields: Any) -> httpx.Response:
    return await client.post(f"{base}/messages", json={"content": "你好", **fields})


async def test_a_turn_without_documents_has_the_plain_system_prompt(
    client: httpx.AsyncClient, listener: Listener
) -> None:
    base = await conversation(client, project_id=1, system_prompt="原文")
    assert (await say(client, base)).status_code == 200
    assert listener.system_prompt == "原文"


async def test_references_and_documents_extend_the_system_prompt_of_the_call(
    client: httpx.AsyncClient, listener: Listener
) -> None:
    of_project = await save(client, "项目.md", content="项目文档")
    of_conversation = await save(client, "会话.md", content="会话文档")
    named = await save(client, "临时.md", content="临时文档")
    base = await conversation(client, project_id=1, system_prompt="原文")
    await refer(client, PROJECT, of_project["id"])
    await refer(client, f"{base}/document-references", of_conversation["id"])
    response = await say(
        client,
        base,
        documents=[named["id"], of_project["id"]],
        system_prompt_append="请用中文",
    )
    assert response.status_code == 200
    prompt = listener.system_prompt
    assert prompt is not None
    places = [
        prompt.index(part) for part in ("原文", "项目文档", "会话文档", "临时文档", "请用中文")
    ]
    assert places == sorted(places)
    assert '"项目.md" version="1"' in prompt
    assert prompt.count("项目文档") == 1
    # Only this call had the named document, and nothing of it is stored.
    await say(client, base)
    assert listener.system_prompt is not None
    assert "会话文档" in listener.system_prompt
    assert "临时文档" not in listener.system_prompt
    messages = (await client.get(f"{base}/messages")).json()["messages"]
    assert messages[0]["content"] == "原文"
    assert (await client.get(base)).json()["system_prompt"] == "原文"


async def test_references_serve_a_conversation_without_a_system_prompt(
    client: httpx.AsyncClient, listener: Listener
) -> None:
    document = await save(client, content="内容")
    base = await conversation(client)
    await refer(client, f"{base}/document-references", document["id"])
    await say(client, base)
    assert listener.system_prompt is not None
    assert "内容" in listener.system_prompt
    await client.delete(f"{base}/document-references")
    await say(client, base)
    assert listener.system_prompt is None


async def test_an_unknown_document_is_not_found_and_nothing_is_stored(
    client: httpx.AsyncClient, listener: Listener
) -> None:
    base = await conversation(client)
    response = await say(client, base, documents=[77])
    assert response.status_code == 404
    assert response.json()["detail"] == "Document not found: 77"
    assert (await client.get(f"{base}/messages")).json()["messages"] == []
    assert listener.requests == []
