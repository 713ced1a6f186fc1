"""Plan documents written by a model, through the same engine as a turn."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from proxy.database import Database
from proxy.documents.base import Raw
from proxy.errors import UpstreamUnreachable
from tests.conftest import LiveServer, client_of, make_settings, running_app
from tests.support.listening_model import Listener
from tests.support.plans import DOCUMENTS, GENERATE, conversation, frames, latest, save


@pytest.fixture
def listener() -> Listener:
    return Listener("# 计划\n", "第一步")


@pytest.fixture
async def client(database: Database, listener: Listener) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        running_app(database, make_settings(default_model="m"), providers=[listener]) as app,
        client_of(app) as client,
    ):
        yield client


async def category(client: httpx.AsyncClient, template: str, **fields: Any) -> int:
    body = {"name": "自定", "prompt_template": template, **fields}
    response = await client.post("/v1/plan/categories", json=body)
    assert response.status_code == 200, response.text
    return int(response.json()["id"])


async def generate(client: httpx.AsyncClient, **fields: Any) -> Raw:
    response = await client.post(GENERATE, json={"filename": "计划.md", "category_id": 2, **fields})
    assert response.status_code == 200, response.text
    document: Raw = response.json()
    return document


async def talk(client: httpx.AsyncClient, base: str, text: str) -> Raw:
    response = await client.post(f"{base}/messages", json={"content": text})
    assert response.status_code == 200, response.text
    turn: Raw = response.json()
    return turn


def asked(listener: Listener) -> str:
    (message,) = listener.requests[-1].messages
    assert message["role"] == "user"
    return str(message["content"])


async def test_a_text_fills_the_template_and_the_answer_is_the_next_version(
    client: httpx.AsyncClient, listener: Listener
) -> None:
    project = await client.post(
        "/v1/projects", json={"name": "后端", "dev_environment": "Python {doc} 3.12"}
    )
    project_id = project.json()["id"]
    mine = await category(client, '写 {doc} 于 {env}，{"a": 1} 100% $x {其它}')
    fields = {"category_id": mine, "project_id": project_id, "content": "原文 {env} %s $1"}
    document = await generate(client, **fields)
    assert asked(listener) == '写 原文 {env} %s $1 于 Python {doc} 3.12，{"a": 1} 100% $x {其它}'
    assert document["content"] == "# 计划\n第一步"
    assert (document["version"], document["source"]) == (1, "chat")
    assert (document["project_id"], document["category_id"]) == (project_id, mine)
    assert (document["status"], document["finish_reason"]) == ("complete", "stop")
    assert document["provenance"] == {"category_id": mine, "model": "m", "provider": "listener"}
    assert (await generate(client, **fields))["version"] == 2
    found = (await client.get(f"{DOCUMENTS}/{document['id']}")).json()
    assert found | {"status": "complete", "finish_reason": "stop"} == document


async def test_a_conversation_becomes_a_document_that_knows_its_messages(
    client: httpx.AsyncClient, listener: Listener
) -> None:
    base = await conversation(client, project_id=4, system_prompt="保密的提示")
    turns = [await talk(client, base, text) for text in ("需求一", "需求二")]
    ids = [turn[key] for turn in turns for key in ("user_message_id", "assistant_message_id")]
    mine = await category(client, "{doc}")
    id_ = base.rpartition("/")[2]
    document = await generate(client, conversation_id=id_, category_id=mine)
    answer = "# 计划\n第一步"
    assert asked(listener) == (
        f"用户：\n需求一\n\n助手：\n{answer}\n\n用户：\n需求二\n\n助手：\n{answer}"
    )
    assert document["project_id"] == 4
    assert document["provenance"] == {
        "conversation_id": id_,
        "message_ids": ids,
        "message_revisions": [0, 0, 0, 0],
        "category_id": mine,
        "model": "m",
        "provider": "listener",
    }
    assert document["stale"] is False
    # The conversation itself is as it was.
    assert len((await client.get(f"{base}/messages")).json()["messages"]) == 5
    await client.put(f"/v1/chat/messages/{ids[2]}", json={"content": "改了"})
    assert (await client.get(f"{DOCUMENTS}/{document['id']}")).json()["stale"] is True
    again = await generate(client, conversation_id=id_, category_id=mine, project_id=0)
    assert again["provenance"]["message_revisions"] == [0, 0, 1, 0]
    assert (again["project_id"], again["stale"]) == (0, False)


async def test_named_messages_only_become_the_document(
    client: httpx.AsyncClient, listener: Listener
) -> None:
    base = await conversation(client)
    turns = [await talk(client, base, text) for text in ("一", "二")]
    mine = await category(client, "{doc}")
    id_ = base.rpartition("/")[2]
    wanted = [turns[1]["user_message_id"], turns[0]["user_message_id"]]
    document = await generate(client, conversation_id=id_, message_ids=wanted, category_id=mine)
    assert asked(listener) == "用户：\n一\n\n用户：\n二"
    assert document["provenance"]["message_ids"] == sorted(wanted)
    response = await client.post(
        GENERATE,
        json={
            "filename": "a",
            "category_id": mine,
            "conversation_id": id_,
            "message_ids": [*wanted, 7777],
        },
    )
    assert response.status_code == 404
    assert response.json()["detail"] == "Message not found"


async def test_documents_become_a_document(client: httpx.AsyncClient, listener: Listener) -> None:
    a = await save(client, "a.md", content="甲", project_id=3)
    b = await save(client, "b.md", content="乙")
    mine = await category(client, "{doc}")
    document = await generate(client, document_ids=[a["id"]], category_id=mine)
    assert asked(listener) == "甲"
    assert document["project_id"] == 3
    assert document["provenance"]["document_ids"] == [a["id"]]
    await generate(client, document_ids=[a["id"], b["id"]], category_id=mine)
    assert asked(listener).startswith("--- a.md- 版本[1] 开始 ---\n甲\n")


async def test_the_category_names_the_model_unless_the_call_does(
    database: Database, listener: Listener
) -> None:
    other = Listener("另一个")
    other.name = "other"
    async with (
        running_app(database, make_settings(), providers=[listener, other]) as app,
        client_of(app) as client,
    ):
        mine = await category(client, "{doc}", summary_model="other/m")
        fields = {"category_id": mine, "content": "x"}
        assert (await generate(client, **fields))["content"] == "另一个"
        document = await generate(client, **fields, model="listener/m")
        assert document["content"] == "# 计划\n第一步"


async def test_a_conversation_longer_than_the_window_gives_its_newest_messages(
    database: Database, listener: Listener
) -> None:
    settings = make_settings(context_tokens=256, tail_messages=4)
    async with (
        running_app(database, settings, providers=[listener]) as app,
        client_of(app) as client,
    ):
        base = await conversation(client)
        for n in range(8):
            await talk(client, base, f"第{n}条 " + "文字 " * 20)
        mine = await category(client, "{doc}")
        id_ = base.rpartition("/")[2]
        document = await generate(client, conversation_id=id_, category_id=mine)
        assert "第7条" in asked(listener)
        assert "第0条" not in asked(listener)
        assert document["provenance"]["omits_older_messages"] is True
        assert document["stale"] is False
        everything = (await client.get(f"{base}/messages")).json()["messages"]
        response = await client.post(
            GENERATE,
            json={
                "filename": "a",
                "category_id": mine,
                "conversation_id": id_,
                "message_ids": [m["id"] for m in everything],
            },
        )
        assert response.status_code == 413


async def test_a_stream_has_the_frames_of_a_turn_and_then_the_document(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post(
        GENERATE, json={"filename": "a.md", "category_id": 5, "content": "x", "stream": True}
    )
    assert response.headers["content-type"].startswith("text/event-stream")
    first, *progress, ending, last = frames(response.text)
    assert set(first) == {
        "user_message_id",
        "assistant_message_id",
        "conversation_id",
        "session_id",
    }
    assert "".join(frame["content"] for frame in progress) == "# 计划\n第一步"
    assert ending == {"content": "", "finish_reason": "stop"}
    document = last["document"]
    assert document["content"] == "# 计划\n第一步"
    assert (await client.get(f"{DOCUMENTS}/{document['id']}")).json() == document


async def test_a_document_that_breaks_off_is_stored_and_says_so(
    client: httpx.AsyncClient, listener: Listener
) -> None:
    body = {"filename": "a.md", "category_id": 5, "content": "x"}
    listener.failure = UpstreamUnreachable
    response = await client.post(GENERATE, json=body)
    assert response.status_code == 502
    stored = (await client.get(f"{DOCUMENTS}/{response.json()['document_id']}")).json()
    assert stored["content"] == "# 计划\n"
    assert stored["provenance"]["status"] == "failed"
    streamed = frames((await client.post(GENERATE, json={**body, "stream": True})).text)
    assert set(streamed[-2]["error"]) == {"message", "type", "code"}
    assert streamed[-1]["document"]["provenance"]["status"] == "failed"
    listener.failure, listener.finish_reason = None, None
    document = await generate(client, content="x")
    assert (document["status"], document["provenance"]["status"]) == ("truncated", "truncated")


async def test_a_failure_before_any_text_is_a_plain_error_and_stores_nothing(
    client: httpx.AsyncClient, listener: Listener
) -> None:
    body = {"filename": "a.md", "category_id": 5, "content": "x"}
    listener.pieces, listener.failure = ("x",), UpstreamUnreachable
    for stream in (False, True):
        response = await client.post(GENERATE, json={**body, "stream": stream})
        if stream:
            assert "error" in frames(response.text)[-1]
        else:
            assert response.status_code == 502
    listener.pieces, listener.failure = ("",), None
    response = await client.post(GENERATE, json=body)
    assert response.status_code == 502
    assert "without any text" in response.json()["detail"]
    assert (await latest(client))["total"] == 0


async def test_a_wrong_request_is_one_sentence(client: httpx.AsyncClient) -> None:
    base: Raw = {"filename": "a.md", "category_id": 5, "content": "x"}
    unknown = "00000000-0000-4000-8000-000000000000"
    for change, status in (
        ({"content": None}, 422),
        ({"content": "  "}, 422),
        ({"document_ids": [1]}, 422),
        ({"message_ids": [1]}, 422),
        ({"filename": ""}, 422),
        ({"category_id": None}, 422),
        ({"conversation_id": {"$ne": ""}}, 422),
        ({"category_id": 99}, 404),
        ({"content": None, "conversation_id": unknown}, 404),
        ({"content": "", "document_ids": [77]}, 404),
    ):
        response = await client.post(GENERATE, json={**base, **change})
        assert response.status_code == status, (change, response.text)
        assert isinstance(response.json()["detail"], str)
    empty = (await conversation(client)).rpartition("/")[2]
    response = await client.post(GENERATE, json={**base, "content": "", "conversation_id": empty})
    assert response.status_code == 422
    assert (await latest(client))["total"] == 0


async def test_a_stopped_document_keeps_what_had_arrived(
    live: LiveServer, listener: Listener
) -> None:
    listener.gate.clear()
    async with live(providers=[listener]) as client:
        body = {"filename": "a.md", "category_id": 5, "content": "x", "stream": True}
        received = b""
        async with client.stream("POST", GENERATE, json=body) as response:
            async for chunk in response.aiter_raw():
                received += chunk
                if "计划".encode() in chunk and b'"document"' not in chunk:
                    session = json.loads(received.split(b"\n\n")[0][6:])["session_id"]
                    stop = await client.post("/v1/chat/stop-stream", json={"session_id": session})
                    assert stop.status_code == 200
        document = frames(received.decode())[-1]["document"]
        assert document["content"] == "# 计划\n"
        assert document["provenance"]["status"] == "stopped"


async def test_a_client_that_leaves_does_not_lose_its_document(
    live: LiveServer, listener: Listener
) -> None:
    listener.gate.clear()
    async with live(providers=[listener]) as client:
        body = {"filename": "a.md", "category_id": 5, "content": "x", "stream": True}
        async with client.stream("POST", GENERATE, json=body) as response:
            async for chunk in response.aiter_raw():
                if "计划".encode() in chunk:
                    break
        (generation,) = client.app.state.engine.running.values()  # type: ignore[attr-defined]
        listener.gate.set()
        await generation.ended.wait()
        (document,) = (await latest(client))["items"]
        assert document["content"] == "# 计划\n第一步"
