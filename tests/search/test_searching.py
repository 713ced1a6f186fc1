"""`/v1/search` on both databases: what is found, what is not, and page after page."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from proxy.database import Database
from proxy.documents.conversation import Conversation
from proxy.documents.message import Message, attempt_name
from proxy.documents.message_page import MessagePage, page_id
from tests.conftest import client_of, make_settings, running_app
from tests.support.replies import CONVERSATIONS
from tests.support.searching import SEARCH, conversation, found, message_ids

DOCUMENTS = "/v1/plan/documents"


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A tail of few messages, so that conversations have pages."""
    async with (
        running_app(database, make_settings(tail_messages=4)) as app,
        client_of(app) as client,
    ):
        yield client


async def paged(id_: int) -> bool:
    return await MessagePage.collection().find_one({"messages.id": id_}) is not None


async def until_paged(id_: int) -> None:
    """Older messages move to pages behind a turn."""
    async with asyncio.timeout(20):
        while not await paged(id_):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def save(client: httpx.AsyncClient, filename: str, content: str, **fields: Any) -> int:
    document = {"project_id": 1, "category_id": 2, "source": "user", "version": 1}
    response = await client.post(
        DOCUMENTS, json={**document, "filename": filename, "content": content, **fields}
    )
    assert response.status_code == 200, response.text
    return int(response.json()["id"])


@pytest.mark.parametrize(
    "typed",
    [
        "冒",
        "冒泡",
        "冒泡排",
        "ＡＢＣ",
        "abc",
        "username",
        "C++",
        "$set",
        "src/app.py",
        "🎉",
        "繁体",
    ],
)
async def test_a_message_is_found_by_any_part_of_it(client: httpx.AsyncClient, typed: str) -> None:
    text = "写冒泡排序 Abc getUserName C++ $set src/app.py 🎉 繁體"
    (asked,) = await conversation(client, [text])
    await conversation(client, ["nothing of the kind"])
    # The echo repeats what it was asked.
    assert await message_ids(client, typed) == [asked + 1, asked]
    assert await message_ids(client, typed, role="user") == [asked]


async def test_a_result_says_where_it_is(client: httpx.AsyncClient) -> None:
    await client.post("/v1/projects", json={"name": "后端"})
    (asked,) = await conversation(client, ["请写冒泡排序"], name="排序", project_id=1)
    (result,) = await found(client, "冒泡", role="user")
    assert result | {"conversation_id": "", "created_at": "", "score": 0} == {
        "type": "message",
        "conversation_id": "",
        "conversation_name": "排序",
        "project_id": 1,
        "project_name": "后端",
        "message_id": asked,
        "role": "user",
        "model": None,
        "created_at": "",
        "field": "text",
        "snippet": "请写冒泡排序",
        "highlights": [[2, 4]],
        "score": 0,
    }
    assert result["score"] > 0


async def test_old_messages_are_found_in_their_pages(client: httpx.AsyncClient) -> None:
    ids = await conversation(client, [f"第{n}个 needle" for n in range(8)])
    await until_paged(ids[0])
    assert await message_ids(client, "needle", role="user") == ids[::-1]
    assert await message_ids(client, "第0个", role="user") == ids[:1]


async def test_pages_of_results_neither_lose_nor_double(client: httpx.AsyncClient) -> None:
    ids = await conversation(client, [f"needle {n}" for n in range(9)], name="needle")
    await save(client, "needle.md", "needle")
    await client.post("/v1/projects", json={"name": "Needle"})
    for sort in ("newest", "relevance"):
        for limit in (1, 2, 5, 100):
            results = await found(client, "needle", sort=sort, limit=limit)
            shown = [(r["type"], r.get("message_id")) for r in results]
            assert len(set(shown)) == len(shown)
            kinds = {kind for kind, _ in shown}
            if sort == "newest":
                assert kinds == {"message", "conversation", "document", "project"}
                assert [id_ for kind, id_ in shown if kind == "message"] == sorted(
                    [*ids, *(id_ + 1 for id_ in ids)], reverse=True
                )
            else:
                assert len(shown) == 3
                assert [r["score"] for r in results] == sorted(
                    (r["score"] for r in results), reverse=True
                )
                assert sum(r["more"] for r in results) == 18


async def test_paging_stands_still_while_others_write(client: httpx.AsyncClient) -> None:
    ids = await conversation(client, [f"needle {n}" for n in range(6)])
    first = (await client.get(SEARCH, params={"q": "needle", "limit": 3, "role": "user"})).json()
    await conversation(client, ["needle later"])
    await client.post("/v1/chat/messages/delete", json={"message_ids": [ids[2]]})
    rest = await message_ids(client, "needle", role="user", before=first["next"])
    assert [r["message_id"] for r in first["results"]] == ids[:2:-1]
    assert rest == [ids[1], ids[0]]


async def test_edited_and_deleted_texts_are_gone(client: httpx.AsyncClient) -> None:
    ids = await conversation(client, ["first needle", "second needle"])
    await client.put(f"/v1/chat/messages/{ids[0]}", json={"content": "edited away"})
    assert await message_ids(client, "needle", role="user") == ids[1:]
    results = await found(client, "needle", role="user", revisions=True)
    assert [(r["message_id"], r.get("revision")) for r in results] == [(ids[1], None), (ids[0], 0)]
    await client.post("/v1/chat/messages/delete", json={"message_ids": ids})
    assert await found(client, "needle", role="user", revisions=True) == []


async def test_a_page_that_does_not_count_is_not_found(client: httpx.AsyncClient) -> None:
    (asked,) = await conversation(client, ["real needle"])
    (owner,) = [raw async for raw in Conversation.collection().find({}, {"owner": 1})]
    stale = Message(id=10**6, role="user", content="needle", attempt=attempt_name(10**6, 0))
    page = {
        "_id": page_id(owner["_id"], 0),
        "owner": owner["owner"],
        "conversation_id": owner["_id"],
        "number": 0,
        "first_id": 1,
        "last_id": 10**6,
        "changes": 0,
        "preceding": 0,
        "messages": [stale.raw()],
    }
    await MessagePage.collection().insert_one(page)
    assert await message_ids(client, "needle", role="user") == [asked]


async def test_reasoning_and_tools_are_found_only_where_asked_for(
    client: httpx.AsyncClient,
) -> None:
    (asked,) = await conversation(client, ["go"])
    arguments = json.dumps({"query": '冒泡 "sort"', "limit": 1e5}, ensure_ascii=True)
    payload = {"role": "assistant", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "web_search", "arguments": arguments}}
    ]}  # fmt: skip
    await Conversation.collection().update_one(
        {"messages.id": asked + 1},
        {
            "$set": {
                "messages.$.reasoning": "I ponder 排序",
                "messages.$.payload": json.dumps(payload, ensure_ascii=False),
            }
        },
    )
    assert await found(client, "ponder") == []
    (result,) = await found(client, "ponder 排序", **{"in": "reasoning"})
    assert (result["message_id"], result["field"]) == (asked + 1, "reasoning")
    for typed in ("web_search", "冒泡", '冒泡 "sort"', "100000.0"):
        assert await found(client, typed) == []
        (result,) = await found(client, typed, **{"in": "tools"})
        assert (result["message_id"], result["field"]) == (asked + 1, "tools")
        assert result["highlights"]


async def test_names_prompts_documents_and_tags_are_found(client: httpx.AsyncClient) -> None:
    await client.post("/v1/projects", json={"name": "搜索 project"})
    await conversation(client, [], name="搜索 name", system_prompt="搜索 prompt")
    first = await save(client, "方案.md", "搜索 first version")
    second = await save(client, "方案.md", "搜索 second version")
    other = await save(client, "搜索.md", "x")
    tagged = await save(client, "tagged.md", "y")
    await client.post(f"{DOCUMENTS}/{tagged}/tags", json={"tag_name": "搜索"})

    async def kinds(**parameters: Any) -> list[tuple[str, Any]]:
        return sorted(
            (r["type"], r.get("document_id") or r.get("message_id") or r["field"])
            for r in await found(client, "搜索", **parameters)
        )

    everything = await kinds()
    assert everything == sorted(
        [("conversation", "name"), ("message", 1), ("project", "name")]
        + [("document", id_) for id_ in (second, other, tagged)]
    )
    assert ("document", first) in await kinds(versions="all")
    assert [kind for kind, _ in await kinds(**{"in": "projects"})] == ["project"]
    assert {kind for kind, _ in await kinds(**{"in": "conversations,documents"})} == {
        "conversation",
        "document",
    }


async def test_words_may_stand_in_different_parts_of_one_document(
    client: httpx.AsyncClient,
) -> None:
    id_ = await save(client, "alpha.md", "beta")
    await client.post(f"{DOCUMENTS}/{id_}/tags", json={"tag_name": "gamma"})
    (result,) = await found(client, "alpha beta gamma")
    assert result["document_id"] == id_
    assert await found(client, "alpha beta gamma -beta") == []


async def test_filters_narrow_the_results(client: httpx.AsyncClient) -> None:
    ids = await conversation(client, [f"needle {n}" for n in range(4)], project_id=7)
    await conversation(client, ["needle elsewhere"])
    await until_paged(ids[0])
    assert await message_ids(client, "needle", role="user", project_id=7) == ids[::-1]
    results = await found(client, "needle", role="user", project_id=7)
    id_ = results[0]["conversation_id"]
    assert await message_ids(client, "needle", role="user", conversation_id=id_) == ids[::-1]
    assert len(await message_ids(client, "needle", model="echo")) == 5
    assert await message_ids(client, "needle", status="failed") == []
    assert len(await message_ids(client, "needle", status="complete")) == 10
    moment = results[1]["created_at"]
    assert set(await message_ids(client, "needle", role="user", project_id=7, to=moment)) == set(
        ids[:2]
    )
    await client.put(f"{CONVERSATIONS}/{id_}", json={"status": 1})
    assert await message_ids(client, "needle", role="user", status=1) == ids[::-1]
    assert len(await message_ids(client, "needle", role="user", status=0)) == 1


async def test_a_message_as_long_as_one_may_be_is_found_by_its_end(
    client: httpx.AsyncClient,
) -> None:
    text = "冒泡，ＡＢＣ　text " * 8_000 + "needle"
    (asked,) = await conversation(client, [text])
    (result,) = await found(client, "needle", role="user")
    assert result["message_id"] == asked
    (start, end) = result["highlights"][0]
    assert result["snippet"][start:end] == "needle"


async def test_a_budget_that_ends_says_so_and_goes_on(database: Database) -> None:
    settings = make_settings(tail_messages=4, search_seconds=1e-9)
    async with running_app(database, settings) as app, client_of(app) as client:
        ids = await conversation(client, ["needle one", "needle two"])
        # Ids far apart: more than one range has to be looked through.
        await database.database["counters"].update_one(
            {"_id": "messages"}, {"$set": {"value": 100_000}}
        )
        for sort in ("newest", "relevance"):
            seen, before, incomplete = [], "", 0
            while before is not None:
                response = await client.get(
                    SEARCH,
                    params={"q": "needle", "role": "user", "sort": sort, "before": before},
                )
                body = response.json()
                seen += [r["message_id"] for r in body["results"]]
                incomplete += not body["complete"]
                assert body["complete"] or body["next"]
                before = body["next"]
            assert incomplete > 0
            assert set(seen) <= set(ids)
            assert seen == (ids[::-1] if sort == "newest" else seen[:1])


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({}, "q"),
        ({"q": " "}, "q"),
        ({"q": "x" * 201}, "q"),
        ({"q": "-x"}, "q"),
        ({"q": "x", "in": "messages,nonsense"}, "in"),
        ({"q": "x", "sort": "oldest"}, "sort"),
        ({"q": "x", "versions": "some"}, "versions"),
        ({"q": "x", "projekt_id": "2"}, "projekt_id"),
        ({"q": "x", "before": "nonsense"}, "before"),
        ({"q": "x", "before": "eyJzdGFydCI6eyJtZXNzYWdlcyI6WyJ4IiwwXX19"}, "before"),
    ],
)
async def test_bad_input_is_a_400_with_one_sentence(
    client: httpx.AsyncClient, parameters: dict[str, str], name: str
) -> None:
    response = await client.get(SEARCH, params=parameters)
    assert response.status_code == 400, response.text
    body = response.json()
    assert body["error"]["param"] == name
    assert name in body["detail"].split()[0]


async def test_a_long_query_goes_into_a_body(client: httpx.AsyncClient) -> None:
    long = "冒泡" * 150
    (asked,) = await conversation(client, [f"text {long} text"])
    response = await client.post(
        SEARCH, json={"q": long, "in": ["messages", "tools"], "role": "user", "limit": 5}
    )
    assert response.status_code == 200, response.text
    assert [r["message_id"] for r in response.json()["results"]] == [asked]
    for body in (
        {"q": "x" * 2_001},
        {"q": "a\ud800"},
        {"q": "x", "in": ["x"]},
        {"q": "x", "projekt_id": 2},
    ):
        refused = await client.post(
            SEARCH,
            content=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        assert refused.status_code in (400, 422), refused.text


async def test_lists_of_conversations_are_narrowed_by_name(client: httpx.AsyncClient) -> None:
    for name in ("冒泡排序", "Bubble Sort", "ＢＵＢＢＬＥ", "other"):
        await client.post(CONVERSATIONS, json={"name": name})

    async def names(query: str, **parameters: Any) -> list[str]:
        response = await client.get(CONVERSATIONS, params={"query": query, **parameters})
        assert response.status_code == 200, response.text
        return [raw["name"] for raw in response.json()]

    assert await names("冒泡") == ["冒泡排序"]
    assert sorted(await names("bubble")) == ["Bubble Sort", "ＢＵＢＢＬＥ"]
    assert await names("bubble -sort") == ["ＢＵＢＢＬＥ"]
    assert await names(".*") == []
    assert len(await names("")) == 4
    assert len(await names("bubble", limit=1)) == 1
    grouped = await client.get(f"{CONVERSATIONS}/grouped", params={"query": "排序 OR sort"})
    assert sorted(raw["name"] for raw in grouped.json()["其它"]) == ["Bubble Sort", "冒泡排序"]
    refused = await client.get(CONVERSATIONS, params={"query": "-x"})
    assert refused.status_code == 400
    assert refused.json()["detail"].startswith("query: ")
