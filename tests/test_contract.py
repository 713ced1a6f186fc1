"""The seed's lines of the contract, with bodies as clients send them, on both databases."""

import asyncio
import json
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

CONVERSATIONS = "/v1/chat/conversations"


async def create(client: httpx.AsyncClient, **fields: Any) -> str:
    response = await client.post(CONVERSATIONS, json=fields)
    assert response.status_code == 200, response.text
    return str(response.json()["conversation_id"])


async def history(client: httpx.AsyncClient, id_: str) -> list[dict[str, Any]]:
    response = await client.get(f"{CONVERSATIONS}/{id_}/messages")
    assert response.status_code == 200, response.text
    assert response.json()["conversation_id"] == id_
    messages: list[dict[str, Any]] = response.json()["messages"]
    return messages


async def say(client: httpx.AsyncClient, id_: str, content: str, **fields: Any) -> httpx.Response:
    return await client.post(
        f"{CONVERSATIONS}/{id_}/messages", json={"role": "user", "content": content, **fields}
    )


def frames(body: str) -> list[Any]:
    """The payloads of a stream, read as the web clients read it."""
    assert body.startswith("data:")
    blocks = [block for block in body.split("\n\n") if block]
    lines = [block.removeprefix("data:").strip() for block in blocks if block[0] != ":"]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_create_conversation_answers_a_uuid4(client: httpx.AsyncClient) -> None:
    response = await client.post(
        CONVERSATIONS, json={"system_prompt": "You are a helpful assistant."}
    )
    assert response.status_code == 200
    assert list(response.json()) == ["conversation_id"]
    assert UUID(response.json()["conversation_id"]).version == 4


async def test_create_conversation_needs_no_body(client: httpx.AsyncClient) -> None:
    assert (await client.post(CONVERSATIONS)).status_code == 200
    assert (await client.post(CONVERSATIONS, json={})).status_code == 200


async def test_system_prompt_is_the_first_message_with_an_id(client: httpx.AsyncClient) -> None:
    id_ = await create(client, system_prompt="你是AI助手，帮我写代码。")
    (message,) = await history(client, id_)
    assert message["role"] == "system"
    assert message["content"] == "你是AI助手，帮我写代码。"
    assert message["id"] >= 1


async def test_changing_the_prompt_changes_its_message_and_the_other_way(
    client: httpx.AsyncClient,
) -> None:
    id_ = await create(client, system_prompt="一")
    await say(client, id_, "hi")
    await client.put(f"{CONVERSATIONS}/{id_}", json={"system_prompt": "二"})
    first = (await history(client, id_))[0]
    assert (first["role"], first["content"]) == ("system", "二")

    await client.put(f"/v1/chat/messages/{first['id']}", json={"content": "三"})
    assert (await client.get(f"{CONVERSATIONS}/{id_}")).json()["system_prompt"] == "三"

    await client.post("/v1/chat/messages/delete", json={"message_ids": [first["id"]]})
    assert (await client.get(f"{CONVERSATIONS}/{id_}")).json()["system_prompt"] == ""

    await client.put(f"{CONVERSATIONS}/{id_}", json={"system_prompt": "四"})
    messages = await history(client, id_)
    assert [m["role"] for m in messages] == ["system", "user", "assistant"]
    assert messages[0]["content"] == "四"


async def test_turn_answers_reply_and_consecutive_ids(client: httpx.AsyncClient) -> None:
    id_ = await create(client)
    response = await say(client, id_, "请用Java写冒泡排序", model="echo", stream=False)
    assert response.status_code == 200
    body = response.json()
    assert {"conversation_id", "reply", "user_message_id", "assistant_message_id"} <= set(body)
    assert body["conversation_id"] == id_
    assert body["assistant_message_id"] == body["user_message_id"] + 1
    assert "请用Java写冒泡排序" in body["reply"]
    user, assistant = await history(client, id_)
    assert (user["id"], user["role"]) == (body["user_message_id"], "user")
    assert (assistant["id"], assistant["role"]) == (body["assistant_message_id"], "assistant")
    assert assistant["content"] == body["reply"]
    assert assistant["status"] == "complete"


async def test_streamed_turn_has_ids_content_finish_and_done(client: httpx.AsyncClient) -> None:
    id_ = await create(client)
    response = await say(client, id_, "请用C++写冒泡排序", stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    first, *content, last = frames(response.text)
    assert set(first) == {
        "user_message_id",
        "assistant_message_id",
        "conversation_id",
        "session_id",
    }
    assert first["assistant_message_id"] == first["user_message_id"] + 1
    assert last == {"content": "", "finish_reason": "stop"}
    text = "".join(frame["content"] for frame in content)
    assert text == (await history(client, id_))[-1]["content"]
    assert "请用C++写冒泡排序" in text


async def test_times_are_utc_with_z(client: httpx.AsyncClient) -> None:
    id_ = await create(client)
    await say(client, id_, "hi")
    conversation = (await client.get(f"{CONVERSATIONS}/{id_}")).json()
    message = (await history(client, id_))[0]
    for value in (conversation["created_at"], conversation["updated_at"], message["created_at"]):
        assert value.endswith("Z")
        datetime.fromisoformat(value)


async def test_grouped_lists_by_project_name_and_others_under_qita(
    client: httpx.AsyncClient,
) -> None:
    project = (await client.post("/v1/projects", json={"name": "后端"})).json()
    mine = await create(client, project_id=project["id"], name="a", system_prompt="p")
    none = await create(client)
    label = await create(client, project_id=4711)
    groups = (await client.get(f"{CONVERSATIONS}/grouped")).json()
    assert set(groups) == {"后端", "其它"}
    (entry,) = groups["后端"]
    assert entry["conversation_id"] == mine
    assert entry["project_name"] == "后端"
    assert entry["system_prompt"] == "p"
    assert "messages" not in entry
    # Both may be of the same millisecond: their order is another test's.
    assert {each["conversation_id"] for each in groups["其它"]} == {label, none}


async def test_newest_activity_is_listed_first(client: httpx.AsyncClient) -> None:
    first = await create(client)
    second = await create(client)
    await say(client, first, "hi")
    listed = [each["id"] for each in (await client.get(CONVERSATIONS)).json()]
    assert listed == [first, second]


async def test_list_filters_take_empty_strings_as_absent(client: httpx.AsyncClient) -> None:
    archived = await create(client, project_id=3, status=1)
    await create(client, project_id=4)
    everything = (await client.get(f"{CONVERSATIONS}?project_id=&status=")).json()
    assert len(everything) == 2
    (only,) = (await client.get(f"{CONVERSATIONS}?project_id=3&status=1")).json()
    assert only["id"] == archived
    normal = (await client.get(f"{CONVERSATIONS}?status=0")).json()
    assert [each["project_id"] for each in normal] == [4]
    assert set(only) >= {
        "id",
        "system_prompt",
        "status",
        "created_at",
        "updated_at",
        "project_id",
        "name",
        "model",
        "assistance_role",
    }


async def test_update_conversation_also_when_nothing_changes(client: httpx.AsyncClient) -> None:
    id_ = await create(client)
    body = {
        "project_id": 1,
        "name": "我的新会话",
        "model": "Claude-3.5-Sonnet",
        "assistance_role": "产品经理",
    }
    for sent in (body, body, {}):
        response = await client.put(f"{CONVERSATIONS}/{id_}", json=sent)
        assert response.json() == {"message": "Conversation updated"}
    found = (await client.get(f"{CONVERSATIONS}/{id_}")).json()
    assert {key: found[key] for key in body} == body


async def test_deleted_conversation_is_gone(client: httpx.AsyncClient) -> None:
    id_ = await create(client)
    await say(client, id_, "hi")
    response = await client.delete(f"{CONVERSATIONS}/{id_}")
    assert response.json() == {"message": "Conversation deleted"}
    for method, path in (
        ("GET", ""),
        ("GET", "/messages"),
        ("PUT", ""),
        ("DELETE", ""),
        ("POST", "/messages"),
    ):
        response = await client.request(
            method, f"{CONVERSATIONS}/{id_}{path}", json={"content": "x"}
        )
        assert response.status_code == 404
        assert response.json()["detail"] == "Conversation not found"


async def test_delete_messages_of_several_conversations_counts_them(
    client: httpx.AsyncClient,
) -> None:
    one, two = await create(client), await create(client)
    ids = []
    for id_ in (one, two):
        ids.append((await say(client, id_, "hi")).json()["user_message_id"])
    response = await client.post("/v1/chat/messages/delete", json={"message_ids": [*ids, 999_999]})
    assert response.json() == {"message": "2 messages deleted"}
    response = await client.post("/v1/chat/messages/delete", json={"message_ids": ids})
    assert response.status_code == 200
    assert response.json() == {"message": "0 messages deleted"}
    assert [m["role"] for m in await history(client, one)] == ["assistant"]


async def test_edit_message_and_its_time(client: httpx.AsyncClient) -> None:
    id_ = await create(client)
    message_id = (await say(client, id_, "hi")).json()["assistant_message_id"]
    before = (await client.get(f"{CONVERSATIONS}/{id_}")).json()["updated_at"]
    await asyncio.sleep(0.002)  # times are whole milliseconds
    response = await client.put(
        f"/v1/chat/messages/{message_id}",
        json={"content": "更新后的消息内容", "created_at": "2025-07-26T12:00:00"},
    )
    assert response.json() == {"message": "Message updated"}
    message = (await history(client, id_))[-1]
    assert message["content"] == "更新后的消息内容"
    assert message["created_at"] == "2025-07-26T12:00:00Z"
    assert (await client.get(f"{CONVERSATIONS}/{id_}")).json()["updated_at"] != before
    missing = await client.put("/v1/chat/messages/999999", json={"content": "x"})
    assert missing.status_code == 404
    assert missing.json()["detail"] == "Message not found"


async def test_continue_messages_are_sent_but_not_stored(client: httpx.AsyncClient) -> None:
    id_ = await create(client)
    await say(client, id_, "hi")
    body = (await say(client, id_, " 继续 ")).json()
    assert body["user_message_id"] is None
    assert "继续" in body["reply"]
    assert [m["role"] for m in await history(client, id_)] == ["user", "assistant", "assistant"]


async def test_project_life(client: httpx.AsyncClient) -> None:
    created = (await client.post("/v1/projects", json={"name": "项目"})).json()
    assert set(created) >= {
        "id",
        "name",
        "dev_environment",
        "grpc_server_address",
        "llm_model",
        "llm_url",
        "git_work_dir",
        "ai_work_dir",
        "created_time",
        "updated_time",
    }
    path = f"/v1/projects/{created['id']}"
    changed = (await client.put(path, json={"dev_environment": "Python 3.12"})).json()
    assert changed["dev_environment"] == "Python 3.12"
    newer = (await client.post("/v1/projects", json={"name": "newer"})).json()
    listed = [each["id"] for each in (await client.get("/v1/projects")).json()]
    assert listed == [newer["id"], created["id"]]
    deleted = await client.delete(path)
    assert deleted.json() == {"message": "Project deleted successfully"}
    for method in ("GET", "PUT", "DELETE"):
        response = await client.request(method, path, json={})
        assert response.status_code == 404
        assert response.json()["detail"] == "Project not found"


async def test_a_null_counts_as_absent(client: httpx.AsyncClient) -> None:
    # Some clients write out every field of their classes.
    id_ = await create(client, project_id=None, name=None, status=None, system_prompt=None)
    turn = await say(
        client,
        id_,
        "hi",
        role=None,
        model=None,
        stream=None,
        documents=None,
        system_prompt_append=None,
        attach=None,
        on_disconnect=None,
    )
    assert turn.status_code == 200, turn.text
    document = {"category_id": 2, "filename": "a.md", "content": "x"}
    empty = {"project_id": None, "version": None, "source": None, "related_log_id": None}
    saved = await client.post("/v1/plan/documents", json=document | empty)
    assert saved.status_code == 200, saved.text
    assert (saved.json()["project_id"], saved.json()["source"]) == (0, "user")
    # What is needed is needed.
    refused = await client.post("/v1/plan/documents", json=document | {"filename": None})
    assert refused.status_code == 422
    assert refused.json()["error"]["param"] == "filename"


async def test_pages_of_lists_take_empty_strings_as_absent(client: httpx.AsyncClient) -> None:
    id_ = await create(client)
    await say(client, id_, "hi")
    for path in (CONVERSATIONS, f"{CONVERSATIONS}/{id_}/messages"):
        everything = (await client.get(path)).json()
        assert (await client.get(f"{path}?limit=&before=")).json() == everything
        assert (await client.get(f"{path}?limit=0")).status_code == 422


BAD_TURNS = [
    {},
    {"content": ""},
    {"content": " \n\t"},
    {"content": 5},
    {"content": None},
    {"content": {"$gt": ""}},
    {"content": "x", "role": "robot"},
    {"content": "x", "model": ["echo"]},
    {"content": "x", "stream": "perhaps"},
    {"content": "a\x00b"},
    {"content": "x", "documents": [2**63]},
    {"content": "x", "documents": [-1]},
]


@pytest.mark.parametrize("body", BAD_TURNS, ids=json.dumps)
async def test_a_bad_turn_is_a_4xx_with_one_sentence_and_stores_nothing(
    client: httpx.AsyncClient, body: Any
) -> None:
    id_ = await create(client)
    response = await client.post(f"{CONVERSATIONS}/{id_}/messages", json=body)
    assert 400 <= response.status_code < 500
    assert isinstance(response.json()["detail"], str)
    assert set(response.json()["error"]) == {"message", "type", "code", "param"}
    assert await history(client, id_) == []


BAD_BODIES = {
    "broken json": b'{"content": ',
    "not an object": b'["x"]',
    "lone surrogate": b'{"content": "\\ud800"}',
    "not utf-8": b'{"content": "\xff\xfe"}',
    "20 MB": b'{"content": "' + b"x" * 20_000_000 + b'"}',
    "nothing": b"",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_is_a_4xx_with_one_sentence(client: httpx.AsyncClient, name: str) -> None:
    id_ = await create(client)
    response = await client.post(
        f"{CONVERSATIONS}/{id_}/messages",
        content=BAD_BODIES[name],
        headers={"Content-Type": "application/json"},
    )
    assert 400 <= response.status_code < 500, response.text
    assert isinstance(response.json()["detail"], str)
    assert "Traceback" not in response.text
    assert await history(client, id_) == []


@pytest.mark.parametrize("id_", ["-1", "0", str(2**63), str(2**80), "x", "1.5"])
async def test_an_impossible_message_id_is_a_4xx(client: httpx.AsyncClient, id_: str) -> None:
    response = await client.put(f"/v1/chat/messages/{id_}", json={"content": "x"})
    assert 400 <= response.status_code < 500
    assert isinstance(response.json()["detail"], str)


async def test_an_unknown_address_and_method_say_where_to_go(client: httpx.AsyncClient) -> None:
    for method, path, status in (("GET", "/nope", 404), ("PATCH", "/v1/projects", 405)):
        response = await client.request(method, path)
        assert response.status_code == status
        assert isinstance(response.json()["detail"], str)


async def test_health_and_root_are_open(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json()["status"] == "healthy"
    assert {"name", "version", "links"} <= set((await client.get("/")).json())


@pytest.mark.parametrize("model", ["", "default", None, "ChatGPT-4o-Latest"])
async def test_a_turn_needs_no_name_of_a_model(client: httpx.AsyncClient, model: Any) -> None:
    id_ = await create(client, model=model)
    whole = await say(client, id_, "hi", model=model)
    assert whole.json()["model"] == "echo"
    assert whole.headers["x-model"] == "echo/echo"
    streamed = await say(client, id_, "hi", model=model, stream=True)
    assert streamed.headers["x-model"] == "echo/echo"
    assert {m.get("model") for m in await history(client, id_)} == {None, "echo"}
    for body in ({"model": model}, {"model": model, "conversation": id_}, {}):
        message = {"role": "user", "content": "hi"}
        found = await client.post("/v1/chat/completions", json={**body, "messages": [message]})
        assert (found.status_code, found.json()["model"]) == (200, "echo")
        assert found.headers["x-model"] == "echo/echo"
