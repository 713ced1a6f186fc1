"""What is made of several versions: merges, migrations, diffs, restores, staleness."""

import asyncio
from typing import Any

import httpx

from proxy.database import Database
from proxy.documents.base import Raw
from proxy.documents.plan_document import PlanDocument
from tests.conftest import client_of, make_settings, running_app
from tests.support.plans import DOCUMENTS, latest, save

CONVERSATIONS = "/v1/chat/conversations"


async def history(client: httpx.AsyncClient, **params: Any) -> list[Raw]:
    found: list[Raw] = (await client.get(f"{DOCUMENTS}/history", params=params)).json()
    return found


async def post(client: httpx.AsyncClient, path: str, body: Raw | None = None) -> Raw:
    response = await client.post(f"{DOCUMENTS}{path}", json=body)
    assert response.status_code == 200, response.text
    answer: Raw = response.json()
    return answer


async def test_merge_wraps_each_document_in_lines_that_name_it(client: httpx.AsyncClient) -> None:
    a = await save(client, "甲.md", content="第一行\n第二行")
    b = await save(client, "b.md", content="{doc} 100%")
    a2 = await save(client, "甲.md", content="新")
    merged = await post(client, "/merge", {"document_ids": [a2["id"], b["id"], a["id"]]})
    assert merged == {
        "count": 3,
        "merged": "--- 甲.md- 版本[2] 开始 ---\n新\n--- 甲.md- 版本[2] 结束 ---\n"
        "\n"
        "--- b.md- 版本[1] 开始 ---\n{doc} 100%\n--- b.md- 版本[1] 结束 ---\n"
        "\n"
        "--- 甲.md- 版本[1] 开始 ---\n第一行\n第二行\n--- 甲.md- 版本[1] 结束 ---",
    }


async def test_merge_says_which_documents_are_not_there(client: httpx.AsyncClient) -> None:
    document = await save(client)
    response = await client.post(
        f"{DOCUMENTS}/merge", json={"document_ids": [document["id"], 77, 78]}
    )
    assert response.status_code == 404
    assert response.json()["detail"] == "Document not found: 77, 78"
    for wrong in ([], [0], ["x"], [2**63], list(range(1, 1002)), None):
        response = await client.post(f"{DOCUMENTS}/merge", json={"document_ids": wrong})
        assert response.status_code == 422


async def test_migrating_a_history_copies_all_versions_with_source_and_time(
    client: httpx.AsyncClient,
) -> None:
    originals = [
        await save(client, content=f"第{n}版", source=source)
        for n, source in enumerate(("user", "server", "chat"))
    ]
    await save(client, category_id=3, content="已有")
    body = {
        "project_id": 1,
        "source_category_id": 2,
        "target_category_id": 3,
        "filename": "a.md",
    }
    answer = await post(client, "/migrate/all-history", body)
    assert isinstance(answer.pop("message"), str)
    assert answer == {
        "migrated_count": 3,
        "target_category_id": 3,
        "filename": "a.md",
        "start_version": 2,
        "end_version": 4,
    }
    copies = await history(client, project_id=1, category_id=3, filename="a.md")
    assert [d["version"] for d in copies] == [4, 3, 2, 1]
    for copy, original in zip(copies, reversed(originals), strict=False):
        kept = ("content", "source", "created_time", "filename")
        assert {k: copy[k] for k in kept} == {k: original[k] for k in kept}
        assert copy["id"] != original["id"]
    assert (await latest(client, category_id=3))["items"] == [copies[0]]
    assert len(await history(client, project_id=1, category_id=2)) == 3


async def test_migrating_what_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    await save(client)
    body = {"project_id": 1, "source_category_id": 2, "target_category_id": 3, "filename": "a.md"}
    for wrong, status in (
        ({"filename": "b.md"}, 404),
        ({"target_category_id": 99}, 404),
        ({"project_id": 2}, 404),
        ({"target_category_id": 2}, 422),
        ({"filename": ""}, 422),
    ):
        response = await client.post(f"{DOCUMENTS}/migrate/all-history", json={**body, **wrong})
        assert response.status_code == status
    assert len(await history(client, project_id=1)) == 1


async def test_migrating_one_version_makes_a_new_document(client: httpx.AsyncClient) -> None:
    original = await save(client, content="文", source="chat")
    body: Raw = {"document_id": original["id"], "target_category_id": 5}
    copy = await post(client, "/migrate/from-current", body)
    assert (copy["category_id"], copy["filename"], copy["version"]) == (5, "a.md", 1)
    assert (copy["content"], copy["source"], copy["project_id"]) == ("文", "chat", 1)
    body.update(new_filename="新.md", source="user")
    renamed = await post(client, "/migrate/from-current", body)
    assert (renamed["filename"], renamed["source"], renamed["version"]) == ("新.md", "user", 1)
    body.update(new_filename="", source="")
    again = await post(client, "/migrate/from-current", body)
    assert (again["filename"], again["version"], again["source"]) == ("a.md", 2, "chat")
    for wrong in ({"document_id": 77}, {"target_category_id": 99}):
        response = await client.post(f"{DOCUMENTS}/migrate/from-current", json={**body, **wrong})
        assert response.status_code == 404


async def test_two_migrations_at_once_lose_nothing(wire: Database) -> None:
    async with running_app(wire, make_settings()) as app, client_of(app) as client:
        for n in range(5):
            await save(client, content=f"{n}")
        body = {
            "project_id": 1,
            "source_category_id": 2,
            "target_category_id": 3,
            "filename": "a.md",
        }
        answers = await asyncio.gather(
            *(post(client, "/migrate/all-history", body) for _ in range(4))
        )
        ranges = sorted((a["start_version"], a["end_version"]) for a in answers)
        assert ranges == [(1, 5), (6, 10), (11, 15), (16, 20)]
        copies = await history(client, project_id=1, category_id=3, filename="a.md")
        assert [d["content"] for d in reversed(copies)] == ["0", "1", "2", "3", "4"] * 4
        assert (await latest(client, category_id=3))["items"] == [copies[0]]


async def test_diff_is_against_the_version_before_a_version_or_a_document(
    client: httpx.AsyncClient,
) -> None:
    texts = ("一\n二\n三\n", "一\n二二\n三\n", "一\n二二\n三\n四\n")
    saved = [await save(client, "方案.md", content=text) for text in texts]
    other = await save(client, "b.md", content=texts[0])
    url = f"{DOCUMENTS}/{saved[2]['id']}/diff"
    body = (await client.get(url)).json()
    assert body == {
        "from": {"document_id": saved[1]["id"], "filename": "方案.md", "version": 2},
        "to": {"document_id": saved[2]["id"], "filename": "方案.md", "version": 3},
        "diff": "--- 方案.md\t版本 2\n+++ 方案.md\t版本 3\n@@ -1,3 +1,4 @@\n 一\n 二二\n 三\n+四\n",
    }
    assert (await client.get(url, params={"against": ""})).json() == body
    by_version = (await client.get(url, params={"against": 1})).json()
    assert by_version["from"]["version"] == 1
    assert "-二\n+二二\n" in by_version["diff"]
    by_id = (await client.get(url, params={"against": other["id"]})).json()
    assert by_id["from"] == {"document_id": other["id"], "filename": "b.md", "version": 1}
    assert (await client.get(url, params={"against": 3})).json()["diff"] == ""
    assert (await client.get(url, params={"against": 99})).status_code == 404
    assert (await client.get(url, params={"against": "x"})).status_code == 422
    first = await client.get(f"{DOCUMENTS}/{saved[0]['id']}/diff")
    assert first.status_code == 404
    assert "earlier" in first.json()["detail"]


async def test_restore_makes_an_old_version_the_newest(client: httpx.AsyncClient) -> None:
    first, second = [await save(client, content=text) for text in ("一", "二")]
    restored = await post(client, f"/{first['id']}/restore")
    assert (restored["version"], restored["content"]) == (3, "一")
    assert restored["id"] not in (first["id"], second["id"])
    assert (await latest(client))["items"] == [restored]
    # The newest one is already there.
    assert await post(client, f"/{restored['id']}/restore") == restored
    assert len(await history(client, project_id=1)) == 3


async def test_a_document_is_stale_once_its_source_message_was_edited_or_deleted(
    client: httpx.AsyncClient,
) -> None:
    created = await client.post(CONVERSATIONS, json={})
    conversation_id = created.json()["conversation_id"]
    ids = []
    for text in ("一", "二"):
        turn = await client.post(
            f"{CONVERSATIONS}/{conversation_id}/messages", json={"content": text}
        )
        ids += [turn.json()["user_message_id"], turn.json()["assistant_message_id"]]
    documents = [
        await PlanDocument.create_version(
            "default",
            {"project_id": 1, "category_id": 2, "filename": f"{n}.md"},
            {
                "content": "x",
                "source": "chat",
                "provenance": {
                    "conversation_id": conversation_id,
                    "message_ids": sources,
                    "message_revisions": [0] * len(sources),
                    "category_id": 2,
                    "model": "echo",
                },
            },
        )
        for n, sources in enumerate((ids, ids[:1], ids[3:], []))
    ]

    async def stale() -> list[Any]:
        found = [
            (await client.get(f"{DOCUMENTS}/{d['_id']}")).json().get("stale") for d in documents
        ]
        listed = (await latest(client, sort_by="filename", order="asc"))["items"]
        assert [d.get("stale") for d in listed] == found
        return found

    assert await stale() == [False, False, False, False]
    await client.put(f"/v1/chat/messages/{ids[0]}", json={"content": "改"})
    assert await stale() == [True, True, False, False]
    await client.post("/v1/chat/messages/delete", json={"message_ids": [ids[3]]})
    assert await stale() == [True, True, True, False]
    await client.delete(f"{CONVERSATIONS}/{conversation_id}")
    assert await stale() == [True, True, True, False]
    # What a person wrote was not made of those messages.
    edited = await client.put(f"{DOCUMENTS}/{documents[0]['_id']}", json={"content": "y"})
    assert "stale" not in edited.json()
    plain = await save(client, "plain.md")
    assert "stale" not in plain


async def test_a_message_that_moved_to_a_page_is_not_stale(wire: Database) -> None:
    settings = make_settings(tail_messages=4)
    async with running_app(wire, settings) as app, client_of(app) as client:
        created = await client.post(CONVERSATIONS, json={})
        conversation_id = created.json()["conversation_id"]
        url = f"{CONVERSATIONS}/{conversation_id}/messages"
        first = (await client.post(url, json={"content": "一"})).json()["user_message_id"]
        for n in range(6):
            await client.post(url, json={"content": f"{n}"})
        document = await PlanDocument.create_version(
            "default",
            {"project_id": 1, "category_id": 2, "filename": "a.md"},
            {
                "content": "x",
                "provenance": {
                    "conversation_id": conversation_id,
                    "message_ids": [first],
                    "message_revisions": [0],
                },
            },
        )
        found = await client.get(f"{DOCUMENTS}/{document['_id']}")
        assert found.json()["stale"] is False
        await client.put(f"/v1/chat/messages/{first}", json={"content": "改"})
        found = await client.get(f"{DOCUMENTS}/{document['_id']}")
        assert found.json()["stale"] is True
