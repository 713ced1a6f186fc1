"""What Responses keep of a conversation goes into its file and comes out of it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from proxy.database import Database
from proxy.errors import Unprocessable
from proxy.transfer.conversation_file import read_file
from tests.conftest import client_of, make_settings, running_app

BASE = "/v1/chat/conversations"
TIME = "2026-11-25T10:00:00.123000Z"
CALL = {"id": "c1", "type": "function", "function": {"name": "patch", "arguments": "{}"}}
FILE: dict[str, Any] = {
    "format": "poe-openai-proxy.conversation",
    "version": 1,
    "conversation": {
        "name": "N",
        "created_at": TIME,
        "updated_at": TIME,
        "metadata": {"topic": "x"},
        "forked_from": {"conversation_id": "somewhere", "message_id": 7},
    },
    "messages": [
        {"role": "user", "content": "x", "created_at": TIME, "updated_at": TIME},
        {
            "role": "assistant",
            "content": "Ulm",
            "payload": {"role": "assistant", "content": "Ulm", "tool_calls": [CALL]},
            "created_at": TIME,
            "updated_at": TIME,
            "reasoning": "I see",
            "order": [["r", 0], ["h", 1], ["r", 5], ["t", 3], ["c", 1]],
            "items": ['{"id":"ws","type":"web_search_call"}'],
            "encrypted_reasoning": ["openai:a", "openai:b"],
            "suggestions": ["And now?"],
            "points": 1.5,
            "points_certain": True,
            "tool_names": '{"patch":{"kind":"custom","name":"patch"}}',
        },
        {
            "role": "tool",
            "content": "ok",
            "payload": {"role": "tool", "tool_call_id": "c1", "content": "ok"},
            "created_at": TIME,
            "updated_at": TIME,
            "item_type": "custom_tool_call_output",
        },
    ],
}


@pytest.fixture
async def client(mock: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with running_app(mock, make_settings()) as app, client_of(app) as client:
        yield client


async def test_every_field_comes_back(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{BASE}/import", json=FILE)
    id_ = answer.json()["imported"][0]["conversation_id"]
    found = (await client.get(f"{BASE}/{id_}/export?format=json")).json()
    for key in ("metadata", "forked_from"):
        assert found["conversation"][key] == FILE["conversation"][key]
    for written, given in zip(found["messages"], FILE["messages"], strict=True):
        assert {key: written.get(key) for key in given} == given
    items = (await client.get(f"/v1/conversations/{id_}/items?order=asc")).json()["data"]
    assert [item["type"] for item in items] == [
        "message",
        "reasoning",
        "web_search_call",
        "reasoning",
        "message",
        "custom_tool_call",
        "custom_tool_call_output",
    ]


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("order", [["x", 1]]),
        ("order", [["r", -1]]),
        ("items", ["[]"]),
        ("tool_names", '{"a": 1}'),
        ("item_type", "other"),
        ("metadata", {"k" * 65: "v"}),
        ("forked_from", {"conversation_id": "x"}),
    ],
)
def test_a_field_that_is_none_is_refused(where: str, value: Any) -> None:
    messages = [dict(message) for message in FILE["messages"]]
    about = dict(FILE["conversation"])
    (about if where in ("metadata", "forked_from") else messages[1])[where] = value
    with pytest.raises(Unprocessable, match=where):
        read_file({**FILE, "conversation": about, "messages": messages})


async def test_a_fork_takes_document_references_along(client: httpx.AsyncClient) -> None:
    project = (await client.post("/v1/projects", json={"name": "P"})).json()
    about = {"name": "C", "prompt_template": "x", "message_method": "PlanGetRequest"}
    category = (await client.post("/v1/plan/categories", json=about)).json()
    file = {"project_id": project["id"], "category_id": category["id"], "filename": "a.md"}
    document = (await client.post("/v1/plan/documents", json={**file, "content": "Plan"})).json()
    id_ = (await client.post(BASE, json={})).json()["conversation_id"]
    where = f"{BASE}/{id_}/document-references"
    added = await client.post(where, json={"document_ids": [document["id"]]})
    assert added.status_code == 200, added.text
    sent = await client.post(f"{BASE}/{id_}/messages", json={"content": "x"})
    forked = (
        await client.post(
            f"{BASE}/{id_}/fork", json={"message_id": sent.json()["assistant_message_id"]}
        )
    ).json()["conversation_id"]
    one, two = [
        (await client.get(f"{BASE}/{each}/document-references")).json() for each in (id_, forked)
    ]
    assert [r["document_id"] for r in two] == [document["id"]]
    assert one[0]["id"] != two[0]["id"]
