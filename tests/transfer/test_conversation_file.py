"""Conversations as files: what a person, another client and this server itself get of them."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import pytest

from proxy.database import Database
from proxy.documents.conversation import Conversation
from proxy.documents.conversation_import import store_imported
from proxy.documents.message_page import MessagePage
from proxy.documents.worker import Worker
from proxy.errors import Unavailable, Unprocessable
from proxy.streaming.leases import recover_worker
from proxy.transfer.chatgpt_file import read_chatgpt
from tests.conftest import client_of, make_settings, running_app
from tests.support.depth import cases
from tests.support.keys import until

BASE = "/v1/chat/conversations"
IMPORT = f"{BASE}/import"
JSON = {"content-type": "application/json"}


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    settings = make_settings(tail_messages=8, import_bytes=128 * 1024 * 1024)
    async with running_app(database, settings) as app, client_of(app, timeout=60) as client:
        client.app = app  # type: ignore[attr-defined]
        yield client


@pytest.fixture
async def fast(mock: Database) -> AsyncIterator[httpx.AsyncClient]:
    """The same on the database in memory alone."""
    settings = make_settings(tail_messages=8, import_bytes=128 * 1024 * 1024)
    async with running_app(mock, settings) as app, client_of(app, timeout=60) as client:
        yield client


async def made(client: httpx.AsyncClient, turns: int = 2, **fields: Any) -> str:
    """A conversation with the echo."""
    created = await client.post(BASE, json={"name": "排序 / Sorting", "model": "echo", **fields})
    id_: str = created.json()["conversation_id"]
    for turn in range(turns):
        await client.post(f"{BASE}/{id_}/messages", json={"content": f"Frage {turn} 你好 😀"})
    return id_


async def exported(client: httpx.AsyncClient, id_: str, format_: str = "json") -> httpx.Response:
    return await client.get(f"{BASE}/{id_}/export", params={"format": format_})


async def listed(client: httpx.AsyncClient, id_: str) -> list[dict[str, Any]]:
    answer = await client.get(f"{BASE}/{id_}/messages")
    found: list[dict[str, Any]] = answer.json()["messages"]
    return found


async def test_export_import_export_is_byte_identical(client: httpx.AsyncClient) -> None:
    id_ = await made(client, turns=12, system_prompt="Sei knapp", project_id=7, status=1)
    messages = await listed(client, id_)
    await client.put(f"/v1/chat/messages/{messages[3]['id']}", json={"content": "edited once"})
    await client.put(f"/v1/chat/messages/{messages[3]['id']}", json={"content": "edited twice"})
    await client.put(f"/v1/chat/messages/{messages[-1]['id']}", json={"content": "edited too"})
    await client.post("/v1/chat/messages/delete", json={"message_ids": [messages[5]["id"]]})
    tool_call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "f", "arguments": '{"x": 1.5}'},
    }
    await client.post(
        "/v1/chat/completions",
        json={
            "conversation": id_,
            "messages": [
                {"role": "assistant", "content": None, "tool_calls": [tool_call]},
                {"role": "tool", "tool_call_id": "call_1", "content": "42"},
                {"role": "user", "content": [{"type": "text", "text": "so?", "n": [1, 2.5, True]}]},
            ],
        },
    )
    first = await exported(client, id_)
    assert first.status_code == 200
    answer = await client.post(IMPORT, content=first.content, headers=JSON)
    assert answer.status_code == 200, answer.text
    [imported] = answer.json()["imported"]
    assert answer.json()["errors"] == []
    again = await exported(client, imported["conversation_id"])
    assert again.content == first.content
    assert imported["conversation_id"] != id_
    file = first.json()
    assert file["messages"][0]["role"] == "system"
    assert [r["content"] for r in file["messages"][3]["revisions"]][1:] == ["edited once"]
    assert file["messages"][2]["reply_to"] == 1


async def test_an_imported_conversation_goes_on_as_if_it_had_been_here(
    client: httpx.AsyncClient,
) -> None:
    id_ = await made(client, turns=10, system_prompt="Kurz")
    file = (await exported(client, id_)).content
    new = (await client.post(IMPORT, content=file, headers=JSON)).json()["imported"][0]
    new_id = new["conversation_id"]
    before, after = await listed(client, id_), await listed(client, new_id)
    assert [m["content"] for m in after] == [m["content"] for m in before]
    assert [m["id"] for m in after] == sorted({m["id"] for m in after})
    assert min(m["id"] for m in after) > max(m["id"] for m in before)
    assert new["messages"] == len(after) == 21

    one = await client.get(f"{BASE}/{new_id}")
    other = await client.get(f"{BASE}/{id_}")
    assert one.json() == {**other.json(), "id": new_id}

    edited = await client.put(f"/v1/chat/messages/{after[4]['id']}", json={"content": "neu"})
    assert edited.status_code == 200
    reply = await client.post(f"{BASE}/{new_id}/messages", json={"content": "weiter"})
    assert reply.json()["reply"].endswith("weiter")
    await client.put(f"{BASE}/{new_id}", json={"system_prompt": "Lang"})
    now = await listed(client, new_id)
    assert (now[0]["content"], now[4]["content"]) == ("Lang", "neu")
    assert len(now) == 23
    revised = await client.get(f"/v1/chat/messages/{after[4]['id']}")
    assert revised.json()["revisions"][0]["content"] == before[4]["content"]


async def test_a_large_import_is_laid_into_pages(client: httpx.AsyncClient) -> None:
    messages = [
        {
            "role": "user" if i % 2 == 0 else "assistant",
            "content": f"message {i}",
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z",
        }
        for i in range(1000)
    ]
    file = {
        "format": "poe-openai-proxy.conversation",
        "version": 1,
        "conversation": {
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z",
        },
        "messages": messages,
    }
    answer = (await client.post(IMPORT, json=[file, file])).json()
    assert [each["index"] for each in answer["imported"]] == [0, 1]
    for each in answer["imported"]:
        found = await listed(client, each["conversation_id"])
        assert [m["content"] for m in found] == [m["content"] for m in messages]
        raw = await Conversation.collection().find_one({"_id": each["conversation_id"]})
        assert len(raw["messages"]) <= 8
        pages = await MessagePage.collection().count_documents(
            {"conversation_id": each["conversation_id"]}
        )
        assert pages == raw["page_count"]
        assert raw["paged_messages"] + len(raw["messages"]) == 1000


def large() -> dict[str, Any]:
    """A conversation of ChatGPT's that does not fit into one document's tail."""
    nodes: dict[str, Any] = {}
    for number in range(40):
        nodes[str(number)] = {
            "parent": str(number - 1) if number else None,
            "message": {"author": {"role": "user"}, "content": {"parts": [f"第 {number} 条"]}},
        }
    return {"title": "Groß", "mapping": nodes, "current_node": "39"}


async def stored(worker: str) -> str:
    return await store_imported(
        "default", read_chatgpt(large()), worker=worker, tail_messages=8, tail_bytes=10_000
    )


async def test_pages_of_an_import_that_was_killed_go_with_its_worker(
    client: httpx.AsyncClient,
) -> None:
    await Worker.register("killed")
    whole = await stored("killed")
    for id_ in (whole, "half"):
        # As it is when the process is killed before it takes the note back.
        await Worker.begin_import("killed", id_)
    page = {"_id": "half:0", "conversation_id": "half", "number": 0, "messages": [{"id": 10**9}]}
    await MessagePage.of("default").insert(page)
    await recover_worker("killed")
    assert await MessagePage.collection().count_documents({"conversation_id": "half"}) == 0
    assert len(await listed(client, whole)) == 40
    assert "killed" not in await Worker.beats_of_all()


async def test_an_import_by_a_worker_that_was_taken_for_dead_leaves_nothing(
    client: httpx.AsyncClient,
) -> None:
    await Worker.register("slow")
    await Worker.mark_dead("slow")
    with pytest.raises(Unavailable):
        await stored("slow")
    assert (await client.get(BASE)).json() == []
    assert await MessagePage.collection().count_documents({}) == 0
    await recover_worker("slow")
    await stored("slow")
    assert len((await client.get(BASE)).json()) == 1


async def test_an_import_may_go_on_while_its_worker_ends(client: httpx.AsyncClient) -> None:
    await Worker.register("ending")
    await Worker.begin_import("ending", "half")
    await Worker.leave("ending")
    assert "ending" in await Worker.beats_of_all()
    assert await Worker.end_import("ending", "half")
    await Worker.leave("ending")
    assert "ending" not in await Worker.beats_of_all()


async def test_an_import_leaves_no_note_behind(client: httpx.AsyncClient) -> None:
    answer = await client.post(IMPORT, json=large())
    assert answer.json()["imported"][0]["messages"] == 40
    assert [raw["imports"] async for raw in Worker.collection().find({})] == [[]]


async def test_the_openai_file_is_a_body_to_send_elsewhere(fast: httpx.AsyncClient) -> None:
    id_ = await made(fast, turns=6, system_prompt="Kurz")
    answer = await exported(fast, id_, "openai")
    body = answer.json()
    assert body["model"] == "echo"
    assert body["messages"][0] == {"role": "system", "content": "Kurz"}
    assert [m["role"] for m in body["messages"][1:]] == ["user", "assistant"] * 6
    assert all(set(m) == {"role", "content"} for m in body["messages"])
    sent = await fast.post("/v1/chat/completions", json=body)
    assert sent.status_code == 200


async def test_the_markdown_file_is_for_a_person(fast: httpx.AsyncClient) -> None:
    id_ = await made(fast, turns=1, system_prompt="Kurz")
    answer = await exported(fast, id_, "markdown")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    text = answer.text
    assert text.startswith("# 排序 / Sorting\n")
    assert "\n## System · " in text
    assert "\n## User · " in text
    assert "\n## Assistant (echo) · " in text
    assert "Frage 0 你好 😀" in text


@pytest.mark.parametrize(
    ("text", "ends_with"),
    [
        ("so:\n```python\nprint(1)", "print(1)\n```"),
        ("~~~~\na\n~~~\n```", "```\n~~~~"),
        ("```\na\n```", "a\n```"),
        ("```\na\n```python", "```python\n```"),
        ("a `` ``` b", "a `` ``` b"),
        ("1. x\n   ```\n   y", "y\n```"),
    ],
)
async def test_code_that_was_cut_off_does_not_swallow_what_follows(
    fast: httpx.AsyncClient, text: str, ends_with: str
) -> None:
    id_ = await made(fast, turns=1)
    question, _ = await listed(fast, id_)
    await fast.put(f"/v1/chat/messages/{question['id']}", json={"content": text})
    shown = (await exported(fast, id_, "markdown")).text
    assert f"{ends_with}\n\n## Assistant" in shown


async def test_pictures_are_shown_or_named(fast: httpx.AsyncClient) -> None:
    id_ = await made(fast, turns=0)
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://pictures.example/a b.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    message = {"role": "user", "content": parts}
    await fast.post(
        "/v1/chat/completions", json={"conversation": id_, "model": "echo", "messages": [message]}
    )
    shown = (await exported(fast, id_, "markdown")).text
    assert (
        "What is this?\n\n![image_url](<https://pictures.example/a b.png>)\n\n"
        "*[image_url]*\n\n*[input_audio]*\n\n## Assistant"
    ) in shown
    assert "AAAA" not in shown


async def test_the_file_name_suits_every_browser(fast: httpx.AsyncClient) -> None:
    id_ = await made(fast, turns=0, name='a/b"c\r\nX-Evil: 1 排序')
    header = (await exported(fast, id_)).headers["content-disposition"]
    assert header == (
        'attachment; filename="a-b-c-X-Evil-1.json"; '
        "filename*=UTF-8''a%20b%20c%20X-Evil%20%201%20%E6%8E%92%E5%BA%8F.json"
    )


async def test_an_unknown_conversation_or_format_is_refused(fast: httpx.AsyncClient) -> None:
    id_ = await made(fast, turns=0)
    assert (await exported(fast, "none")).status_code == 404
    assert (await exported(fast, id_, "pdf")).status_code == 422


async def test_a_reply_that_is_being_written_is_exported_as_interrupted(
    fast: httpx.AsyncClient,
) -> None:
    id_ = await made(fast, turns=1)
    await Conversation.collection().update_one(
        {"_id": id_, "messages.role": "assistant"}, {"$set": {"messages.$.status": "streaming"}}
    )
    file = (await exported(fast, id_)).json()
    assert file["messages"][-1]["status"] == "interrupted"
    answer = await fast.post(IMPORT, json=file)
    assert answer.status_code == 200


# ChatGPT


def node(
    id_: str, parent: str | None, role: str = "user", text: Any = "", **more: Any
) -> dict[str, Any]:
    content = text if isinstance(text, dict) else {"content_type": "text", "parts": [text]}
    return {
        "id": id_,
        "parent": parent,
        "children": [],
        "message": {
            "id": id_,
            "author": {"role": role},
            "create_time": 1_700_000_000.5 + len(id_),
            "content": content,
            "status": "finished_successfully",
            "recipient": "all",
            "metadata": {"model_slug": "gpt-4o"},
            **more,
        },
    }


def chatgpt(*nodes: dict[str, Any], current: str | None = None, **more: Any) -> dict[str, Any]:
    mapping = {each["id"]: each for each in nodes}
    for each in nodes:
        if each["parent"] in mapping:
            mapping[each["parent"]]["children"].append(each["id"])
    return {
        "title": "Ein Gespräch",
        "create_time": 1_700_000_000.0,
        "update_time": 1_700_000_100.25,
        "mapping": mapping,
        "current_node": current or nodes[-1]["id"],
        **more,
    }


ROOT: dict[str, Any] = {"id": "root", "parent": None, "children": [], "message": None}


def small() -> dict[str, Any]:
    return chatgpt(
        dict(ROOT, children=[]),
        node("a", "root", "user", "Hallo"),
        node("b1", "a", "assistant", "first answer"),
        node("b2", "a", "assistant", "second answer"),
        node("c", "b2", "user", "Danke"),
    )


async def test_chatgpts_file_follows_the_branch_that_was_seen_last(
    client: httpx.AsyncClient,
) -> None:
    answer = (await client.post(IMPORT, json=[small()])).json()
    [each] = answer["imported"]
    assert (each["name"], each["messages"]) == ("Ein Gespräch", 3)
    found = await listed(client, each["conversation_id"])
    assert [m["content"] for m in found] == ["Hallo", "second answer", "Danke"]
    assert found[1]["reply_to"] == found[0]["id"]
    assert found[1]["model"] == "gpt-4o"
    assert found[0]["created_at"] == "2023-11-14T22:13:21.500000Z"
    about = (await client.get(f"{BASE}/{each['conversation_id']}")).json()
    assert about["created_at"] == "2023-11-14T22:13:20Z"
    assert about["updated_at"] == "2023-11-14T22:15:00.250000Z"


def test_what_chatgpt_shows_becomes_text() -> None:
    read = read_chatgpt(
        chatgpt(
            dict(ROOT, children=[]),
            node("s", "root", "system", "", metadata={}),
            node(
                "u",
                "s",
                "user",
                {
                    "content_type": "multimodal_text",
                    "parts": [
                        {
                            "content_type": "image_asset_pointer",
                            "asset_pointer": "file-service://f-1",
                        },
                        "What is this?\x00",
                        {"content_type": "audio_transcription", "text": "spoken"},
                    ],
                },
            ),
            node(
                "t",
                "u",
                "assistant",
                {
                    "content_type": "thoughts",
                    "thoughts": [{"summary": "s", "content": "Hm."}, {"content": "Aha."}],
                },
            ),
            node(
                "call",
                "t",
                "assistant",
                {"content_type": "code", "language": "python", "text": "print(1)"},
                recipient="python",
            ),
            node("out", "call", "tool", {"content_type": "execution_output", "text": "1"}),
            node(
                "hidden",
                "out",
                "user",
                "secret",
                metadata={"is_visually_hidden_from_conversation": True},
            ),
            node("end", "hidden", "assistant", "A cat", status="in_progress"),
        )
    )
    fields = [m.fields for m in read.messages]
    assert [(f["role"], f["content"]) for f in fields] == [
        ("user", "[image: file-service://f-1]\n\nWhat is this?\n\nspoken"),
        ("assistant", "```python\nprint(1)\n```"),
        ("assistant", "```\n1\n```"),
        ("assistant", "A cat"),
    ]
    assert fields[1]["reasoning"] == "Hm.\n\nAha."
    assert fields[3]["status"] == "interrupted"


def test_without_a_current_node_the_newest_leaf_counts() -> None:
    item = small()
    item["current_node"] = "gone"
    item["mapping"]["b1"]["message"]["create_time"] = 1_800_000_000
    assert [m.fields["content"] for m in read_chatgpt(item).messages] == ["Hallo", "first answer"]


@pytest.mark.parametrize(
    "change",
    [
        {"mapping": None},
        {"mapping": [1]},
        {"mapping": {"a": 5}, "current_node": "a"},
        {"mapping": {"a": {"parent": "a", "message": None}}, "current_node": "a"},
        {
            "mapping": {"a": {"message": {"author": {"role": "x"}, "content": {"text": "Hi"}}}},
            "current_node": "a",
        },
    ],
)
def test_a_broken_chatgpt_conversation_is_told_of(change: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable, match="mapping"):
        read_chatgpt({**small(), **change})


@pytest.mark.parametrize(
    "message", [None, 5, {}, {"author": {"role": "user"}}, {"content": None}, {"content": {}}]
)
def test_an_empty_chatgpt_message_costs_only_itself(message: Any) -> None:
    item = small()
    item["mapping"]["extra"] = {"parent": item["current_node"], "message": message}
    item["current_node"] = "extra"
    assert read_chatgpt(item).messages == read_chatgpt(small()).messages


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"role": "wizard"},
        {"role": "user", "content": 5},
        {"role": "user", "content": [None]},
        {"role": "user", "content": [{"type": "text", "text": None}]},
        {"role": "assistant", "tool_calls": ["x"]},
        {"role": "assistant", "content": "x", "tool_calls": {"id": 1}},
    ],
)
async def test_a_payload_that_is_no_message_is_refused(
    client: httpx.AsyncClient, payload: Any
) -> None:
    item = {
        "format": "poe-openai-proxy.conversation",
        "version": 1,
        "conversation": {"created_at": "2026-01-01", "updated_at": "2026-01-01"},
        "messages": [
            {
                "role": "user",
                "content": "x",
                "payload": payload,
                "created_at": "2026-01-01",
                "updated_at": "2026-01-01",
            }
        ],
    }
    answer = await client.post(IMPORT, json=item)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("messages.0.payload: ")


async def test_a_broken_item_does_not_keep_the_others_out(client: httpx.AsyncClient) -> None:
    items = [small(), {"mapping": None}, 5, {"title": "what is this?"}, small()]
    answer = await client.post(IMPORT, json=items)
    assert answer.status_code == 200
    body = answer.json()
    assert [each["index"] for each in body["imported"]] == [0, 4]
    assert [each["index"] for each in body["errors"]] == [1, 2, 3]
    assert [each["message"].split(":")[0] for each in body["errors"]] == [
        "mapping",
        *[
            "This is neither a conversation exported here with format=json nor one of the "
            "conversations.json of a ChatGPT export"
        ]
        * 2,
    ]
    assert len((await client.get(BASE)).json()) == 2


@pytest.mark.parametrize("body", [b"", b"{", b"[", b"nonsense", b"[1", b'{"format": "other"}'])
async def test_a_file_that_is_none_is_refused(fast: httpx.AsyncClient, body: bytes) -> None:
    answer = await fast.post(IMPORT, content=body, headers=JSON)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)
    assert (await fast.get(BASE)).json() == []


async def test_a_file_that_breaks_off_keeps_what_came_whole(fast: httpx.AsyncClient) -> None:
    text = json.dumps([small(), small(), small()])
    answer = await fast.post(IMPORT, content=text[:-200].encode(), headers=JSON)
    body = answer.json()
    assert [each["index"] for each in body["imported"]] == [0, 1]
    assert body["errors"][0]["index"] == 2
    assert "not valid JSON" in body["errors"][0]["message"]


@pytest.mark.slow
async def test_a_large_file_of_chatgpt_with_a_broken_item(fast: httpx.AsyncClient) -> None:
    size = cases(20_000_000, in_ci=50_000_000)
    text = 'Lorem ipsum 漢字 "quoted" \\ 😀 ' * 150
    nodes = [dict(ROOT, children=[])]
    for i in range(40):
        parent = str(nodes[-1]["id"])
        nodes.append(node(f"n{i:03}", parent, "user" if i % 2 == 0 else "assistant", text))
    item = json.dumps(chatgpt(*nodes), ensure_ascii=False).encode()
    count = size // len(item) + 1
    broken = json.dumps({"title": "broken", "mapping": {"x": []}, "current_node": "x"}).encode()

    async def body() -> AsyncIterator[bytes]:
        for i in range(count):
            yield (b"[" if i == 0 else b",") + item
            if i == count // 2:
                yield b",\n" + broken
        yield b"]"

    answer = await fast.post(IMPORT, content=body(), headers=JSON)
    assert answer.status_code == 200
    found = answer.json()
    assert len(found["imported"]) == count
    assert [each["index"] for each in found["errors"]] == [count // 2 + 1]
    assert {each["messages"] for each in found["imported"]} == {40}
    one = await listed(fast, found["imported"][-1]["conversation_id"])
    assert [m["content"] for m in one] == [text] * 40


async def test_an_import_over_its_limit_is_refused(mock: Database) -> None:
    settings = make_settings(import_bytes=2048, body_bytes=1024)
    async with running_app(mock, settings) as app, client_of(app) as client:
        fits = await client.post(IMPORT, json=small() | {"x": "y" * 300})
        too_large = await client.post(IMPORT, json=small() | {"x": "y" * 3000})
        text = await client.post(IMPORT, content=b"{}", headers={"content-type": "text/plain"})
    assert (fits.status_code, too_large.status_code, text.status_code) == (200, 413, 415)


async def test_a_message_over_its_limit_is_an_error_of_its_conversation(mock: Database) -> None:
    settings = make_settings(message_bytes=1024)
    async with running_app(mock, settings) as app, client_of(app) as client:
        long = chatgpt(dict(ROOT, children=[]), node("a", "root", "user", "x" * 2000))
        answer = (await client.post(IMPORT, json=[long, small()])).json()
    assert [each["index"] for each in answer["imported"]] == [1]
    assert "larger than 1024 bytes" in answer["errors"][0]["message"]


@pytest.mark.parametrize(
    ("head", "repeated", "sentence"),
    [
        (b'{"format": [', b"[],", "more than 1000000 values"),
        (b'{"format": ["', b"x" * 1024, "longer than 16777216 bytes"),
    ],
)
async def test_a_conversation_that_would_fill_the_memory_is_refused_while_it_arrives(
    fast: httpx.AsyncClient, head: bytes, repeated: bytes, sentence: str
) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        yield head
        piece = repeated * (65_536 // len(repeated))
        while sent < 100_000_000:
            sent += len(piece)
            yield piece

    answer = await fast.post(IMPORT, content=body(), headers=JSON)
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]
    assert sent < 20_000_000


async def test_a_file_of_things_that_are_no_conversations_is_given_up(
    fast: httpx.AsyncClient,
) -> None:
    answer = await fast.post(IMPORT, content=b"[" + b"[]," * 100_000 + b"[]]", headers=JSON)
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert len(errors) == 101
    assert "the rest was not looked at" in errors[-1]["message"]


async def test_a_worker_reads_one_import_at_a_time(fast: httpx.AsyncClient) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"["
        begun.set()
        await go_on.wait()
        yield b"]"

    slow = asyncio.create_task(fast.post(IMPORT, content=body(), headers=JSON))
    await begun.wait()
    answer = await fast.post(IMPORT, content=b"[]", headers=JSON)
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "too_many_imports"
    assert int(answer.headers["retry-after"]) >= 1
    go_on.set()
    await slow
    assert (await fast.post(IMPORT, content=b"[]", headers=JSON)).status_code == 200


async def test_a_slow_reader_of_long_pages_holds_one_of_them(wire: Database) -> None:
    settings = make_settings(tail_messages=4, tail_bytes=1024)
    async with running_app(wire, settings) as app, client_of(app, timeout=60) as client:
        id_ = await made(client, turns=0)
        for number in range(1, 13):
            body = {"role": "assistant", "content": "x" * 2_000_000}
            answer = await client.post(f"{BASE}/{id_}/messages", json=body)
            assert answer.status_code == 200
            # On a busy machine several would move into one page.
            await until(partial(MessagePage.collection().count_documents, {}), number)
        history = Conversation.history("default", id_)
        held = []
        tracemalloc.start()
        try:
            async for page in history:
                del page
                held.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    assert len(held) >= 10
    assert max(held) < 9_000_000
