"""Plan documents: versions, lists, edits, deletion; with bodies as clients send them."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from pymongo.errors import DocumentTooLarge

from proxy.database import Database
from proxy.documents.base import Raw
from proxy.documents.plan_document import ABANDONED, PlanDocument, StoredPlanDocument
from proxy.documents.plan_file import PlanFile, PlanFileName
from tests.conftest import client_of, make_settings, running_app
from tests.support.plans import DOCUMENTS, latest, save

Params = dict[str, str | int | float | bool | None]
FIELDS = {
    "id",
    "project_id",
    "category_id",
    "filename",
    "content",
    "version",
    "source",
    "related_log_id",
    "created_time",
}
SEED_BODY = {
    "project_id": 1,
    "category_id": 2,
    "filename": "新方案设计.md",
    "content": "文档内容",
    "version": 1,
    "source": "chat",
}


async def names(client: httpx.AsyncClient, **params: Any) -> list[str]:
    return [item["filename"] for item in (await latest(client, **params))["items"]]


async def test_create_answers_the_document(client: httpx.AsyncClient) -> None:
    response = await client.post(DOCUMENTS, json=SEED_BODY)
    assert response.status_code == 200
    document = response.json()
    assert set(document) == FIELDS
    assert {key: document[key] for key in SEED_BODY} == SEED_BODY
    assert document["related_log_id"] is None
    assert isinstance(document["id"], int)
    assert document["created_time"].endswith("Z")
    assert "文档内容" in response.text
    assert (await client.get(f"{DOCUMENTS}/{document['id']}")).json() == document


async def test_versions_count_up_also_when_clients_send_1_every_time(
    client: httpx.AsyncClient,
) -> None:
    saved = [await save(client, version=1, content=f"第{n}版") for n in range(3)]
    assert [document["version"] for document in saved] == [1, 2, 3]
    assert len({document["id"] for document in saved}) == 3
    for n, document in enumerate(saved):
        found = (await client.get(f"{DOCUMENTS}/{document['id']}")).json()
        assert found["content"] == f"第{n}版"


async def test_a_given_version_is_kept_when_it_is_higher_than_every_stored_one(
    client: httpx.AsyncClient,
) -> None:
    versions = [
        (await save(client, **fields))["version"]
        for fields in ({"version": 7}, {"version": 3}, {"version": 8}, {}, {"version": None})
    ]
    assert versions == [7, 8, 9, 10, 11]


async def test_files_of_other_categories_and_projects_count_for_themselves(
    client: httpx.AsyncClient,
) -> None:
    for fields in ({}, {"category_id": 3}, {"project_id": 2}, {"filename": "A.md"}):
        assert (await save(client, **fields))["version"] == 1


async def test_after_the_newest_version_is_deleted_its_number_is_next_again(
    client: httpx.AsyncClient,
) -> None:
    saved = [await save(client) for _ in range(3)]
    await client.delete(f"{DOCUMENTS}/{saved[2]['id']}")
    assert (await save(client, version=3))["version"] == 3
    await client.delete(f"{DOCUMENTS}/{saved[0]['id']}")
    assert (await save(client))["version"] == 4


async def test_an_unknown_category_is_not_found_and_nothing_is_stored(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post(DOCUMENTS, json={**SEED_BODY, "category_id": 99})
    assert response.status_code == 404
    assert response.json()["detail"] == "Category not found"
    assert (await latest(client))["total"] == 0


WRONG_DOCUMENTS: list[dict[str, Any]] = [
    {"filename": ""},
    {"filename": " "},
    {"filename": "a\x07b"},
    {"filename": None},
    {"filename": {"$gt": ""}},
    {"content": "a\x00b"},
    {"content": 5},
    {"content": "\ud800"},
    {"source": "robot"},
    {"version": -1},
    {"version": 2**63},
    {"version": "x"},
    {"project_id": -1},
    {"project_id": 2**63},
    {"category_id": 0},
    {"category_id": [1]},
    {"related_log_id": 2**63},
]


async def test_a_wrong_document_is_one_sentence(client: httpx.AsyncClient) -> None:
    for wrong in WRONG_DOCUMENTS:
        response = await client.post(
            DOCUMENTS,
            content=json.dumps({**SEED_BODY, **wrong}),
            headers={"Content-Type": "application/json"},
        )
        assert response.status_code == 422
        assert isinstance(response.json()["detail"], str)
        assert (await latest(client))["total"] == 0


async def test_a_document_over_its_limit_is_too_large(database: Database) -> None:
    settings = make_settings(document_bytes=1024)
    async with running_app(database, settings) as app, client_of(app) as client:
        document = await save(client, content="x" * 1024)
        for response in (
            await client.post(DOCUMENTS, json={**SEED_BODY, "content": "文" * 342}),
            await client.put(f"{DOCUMENTS}/{document['id']}", json={"content": "x" * 1025}),
        ):
            assert response.status_code == 413
            assert "1024" in response.json()["detail"]


async def test_history_is_newest_first_and_takes_empty_filters_as_absent(
    client: httpx.AsyncClient,
) -> None:
    first = await save(client, "a.md")
    second = await save(client, "b.md", category_id=3)
    third = await save(client, "a.md")
    await save(client, "a.md", project_id=2)

    async def ids(**params: Any) -> list[int]:
        response = await client.get(f"{DOCUMENTS}/history", params=params)
        assert response.status_code == 200, response.text
        return [document["id"] for document in response.json()]

    everything = [third["id"], second["id"], first["id"]]
    assert await ids(project_id=1) == everything
    assert await ids(project_id=1, category_id="", filename="") == everything
    assert await ids(project_id=1, category_id=2) == [third["id"], first["id"]]
    assert await ids(project_id="1", filename="b.md") == [second["id"]]
    assert await ids(project_id=1, category_id=2, filename="a.md") == [third["id"], first["id"]]
    assert await ids(project_id=9) == []
    found = (await client.get(f"{DOCUMENTS}/history", params={"project_id": 1})).json()
    assert found[0] == third
    assert (await client.get(f"{DOCUMENTS}/history")).status_code == 422
    assert (await client.get(f"{DOCUMENTS}/history?project_id=")).status_code == 422


async def test_history_longer_than_one_batch_is_whole_and_in_order(
    client: httpx.AsyncClient,
) -> None:
    for n in range(21):
        await save(client, content=f"第{n}版")
    params: Params = {"project_id": 1, "category_id": 2, "filename": "a.md"}
    found = (await client.get(f"{DOCUMENTS}/history", params=params)).json()
    assert [d["version"] for d in found] == list(range(21, 0, -1))
    assert [d["content"] for d in found] == [f"第{n}版" for n in range(20, -1, -1)]


async def test_latest_shows_the_newest_version_of_each_file_in_pages(
    client: httpx.AsyncClient,
) -> None:
    for filename in ("a.md", "b.md", "c.md", "b.md"):
        newest = await save(client, filename)
    page = await latest(client, project_id=1)
    assert {key: page[key] for key in ("total", "page", "page_size")} == {
        "total": 3,
        "page": 1,
        "page_size": 20,
    }
    assert page["items"][0] == newest
    assert [d["filename"] for d in page["items"]] == ["b.md", "c.md", "a.md"]
    assert [d["version"] for d in page["items"]] == [2, 1, 1]
    ordered = {"project_id": 1, "sort_by": "filename", "order": "asc", "page_size": 2}
    assert await names(client, **ordered) == ["a.md", "b.md"]
    assert await names(client, **ordered, page=2) == ["c.md"]
    assert await names(client, **ordered, page=3) == []
    assert (await latest(client, **ordered, page=3))["total"] == 3


async def test_latest_sorts_by_every_field_both_ways(client: httpx.AsyncClient) -> None:
    for filename in ("b.md", "a.md", "c.md", "c.md", "a.md", "a.md"):
        await save(client, filename)
    for sort_by, expected in (
        ("filename", ["a.md", "b.md", "c.md"]),
        ("created_time", ["b.md", "c.md", "a.md"]),
        ("version", ["b.md", "c.md", "a.md"]),
    ):
        params: Params = {"project_id": 1, "sort_by": sort_by}
        assert await names(client, **params, order="asc") == expected
        assert await names(client, **params, order="desc") == expected[::-1]
    empty = dict.fromkeys(("category_id", "query", "sort_by", "order", "page", "page_size"), "")
    assert await names(client, project_id=1, **empty) == ["a.md", "c.md", "b.md"]


async def test_latest_finds_a_literal_part_of_the_filename_in_any_case(
    client: httpx.AsyncClient,
) -> None:
    for filename in ("API设计 规范.md", "[draft] a+b (1).md", "axb.md", "100%_$x.md"):
        await save(client, filename)
    for query, expected in (
        ("设计", ["API设计 规范.md"]),
        ("api", ["API设计 规范.md"]),
        (" 规", ["API设计 规范.md"]),
        ("a+b", ["[draft] a+b (1).md"]),
        ("[DRAFT]", ["[draft] a+b (1).md"]),
        ("a.b", []),
        (".*", []),
        ("%_$", ["100%_$x.md"]),
        ("\\", []),
    ):
        assert await names(client, project_id=1, query=query) == expected, query
    everything = await names(client, project_id=1, category_id="", query="")
    assert len(everything) == 4
    assert await names(client, project_id="", category_id=3) == []


WRONG_PARAMETERS: list[dict[str, Any]] = [
    {"page": 0},
    {"page_size": 0},
    {"page_size": 1001},
    {"page": "x"},
    {"sort_by": "content"},
    {"order": "up"},
    {"category_id": -1},
    {"query": "x" * 501},
    {"query": "a\x00b"},
]


async def test_latest_refuses_wrong_parameters(client: httpx.AsyncClient) -> None:
    for wrong in WRONG_PARAMETERS:
        response = await client.get(f"{DOCUMENTS}/latest", params={"project_id": 1, **wrong})
        assert response.status_code == 422


async def test_put_appends_a_version_and_keeps_the_former_one(client: httpx.AsyncClient) -> None:
    first = await save(client, content="旧")
    changed = (
        await client.put(f"{DOCUMENTS}/{first['id']}", json={"content": "新", "source": "user"})
    ).json()
    assert (changed["version"], changed["content"], changed["filename"]) == (2, "新", "a.md")
    assert changed["id"] != first["id"]
    assert (await client.get(f"{DOCUMENTS}/{first['id']}")).json() == first
    renamed = (await client.put(f"{DOCUMENTS}/{changed['id']}", json={"filename": "b.md"})).json()
    assert (renamed["filename"], renamed["version"], renamed["content"]) == ("b.md", 1, "新")
    # An edit of an old version comes after the newest one.
    third = (await client.put(f"{DOCUMENTS}/{first['id']}", json={"content": "改"})).json()
    assert third["version"] == 3


async def test_unknown_document_is_not_found(client: httpx.AsyncClient) -> None:
    for response in (
        await client.get(f"{DOCUMENTS}/77"),
        await client.put(f"{DOCUMENTS}/77", json={"content": "x"}),
        await client.delete(f"{DOCUMENTS}/77"),
        await client.post(f"{DOCUMENTS}/77/restore"),
        await client.get(f"{DOCUMENTS}/77/diff"),
        await client.get(f"{DOCUMENTS}/77/tags"),
        await client.post(f"{DOCUMENTS}/77/tags", json={"tag_name": "x"}),
    ):
        assert response.status_code == 404
        assert response.json()["detail"] == "Document not found"


async def test_delete_of_one_version_makes_the_one_before_the_newest(
    client: httpx.AsyncClient,
) -> None:
    first, second = [await save(client, content=text) for text in ("一", "二")]
    response = await client.delete(f"{DOCUMENTS}/{second['id']}")
    assert response.status_code == 200
    assert response.json() == {
        "message": "Document deleted",
        "deleted": {"document_references": 0, "document_tags": 0, "plan_documents": 1},
    }
    assert (await latest(client, project_id=1))["items"] == [first]
    await client.delete(f"{DOCUMENTS}/{first['id']}")
    assert (await latest(client, project_id=1))["total"] == 0


async def test_delete_of_a_file_takes_versions_tags_and_references_along(
    client: httpx.AsyncClient,
) -> None:
    saved = [await save(client) for _ in range(3)]
    other = await save(client, "b.md")
    await client.post(f"{DOCUMENTS}/{saved[0]['id']}/tags:batch", json={"add": ["一", "二"]})
    await client.post(
        "/v1/projects/1/document-references",
        json={"document_ids": [saved[0]["id"], saved[1]["id"], other["id"]]},
    )
    conversation = (await client.post("/v1/chat/conversations", json={})).json()
    references = f"/v1/chat/conversations/{conversation['conversation_id']}/document-references"
    await client.post(references, json={"document_ids": [saved[2]["id"]]})
    file: Params = {"project_id": 1, "category_id": 2, "filename": "a.md"}
    response = await client.delete(DOCUMENTS, params=file)
    assert response.status_code == 200
    assert response.json()["deleted"] == {
        "document_references": 3,
        "document_tags": 2,
        "plan_documents": 3,
    }
    assert isinstance(response.json()["message"], str)
    assert await names(client, project_id=1) == ["b.md"]
    assert (await client.get(references)).json() == []
    left = (await client.get("/v1/projects/1/document-references")).json()
    assert [reference["document_id"] for reference in left] == [other["id"]]
    assert (await client.delete(DOCUMENTS, params=file)).status_code == 404
    # A new file of that name begins anew, without the old tags.
    again = await save(client)
    assert again["version"] == 1
    assert (await client.get(f"{DOCUMENTS}/{again['id']}/tags")).json()["tags"] == []


@pytest.mark.parametrize("missing", ["project_id", "category_id", "filename"])
async def test_deletion_of_a_file_needs_all_of_its_name(
    client: httpx.AsyncClient, missing: str
) -> None:
    await save(client)
    file: Raw = {"project_id": 1, "category_id": 2, "filename": "a.md"}
    for params in ({**file, missing: ""}, {k: v for k, v in file.items() if k != missing}):
        assert (await client.delete(DOCUMENTS, params=params)).status_code == 422
    assert (await latest(client))["total"] == 1


async def test_another_owner_sees_and_changes_nothing(
    client: httpx.AsyncClient, database: Database
) -> None:
    document = await save(client)
    file: PlanFileName = {"project_id": 1, "category_id": 2, "filename": "a.md"}
    theirs = await PlanDocument.create_version("stranger", file, {"content": "theirs"})
    assert theirs["version"] == 1
    assert (await client.get(f"{DOCUMENTS}/{theirs['_id']}")).status_code == 404
    assert (await client.delete(f"{DOCUMENTS}/{theirs['_id']}")).status_code == 404
    assert (await latest(client))["items"] == [document]
    merge = await client.post(f"{DOCUMENTS}/merge", json={"document_ids": [theirs["_id"]]})
    assert merge.status_code == 404


async def test_20_concurrent_creators_of_one_file_get_consecutive_versions(
    wire: Database,
) -> None:
    async with running_app(wire, make_settings()) as app, client_of(app) as client:
        saved = await asyncio.gather(
            *(save(client, content=f"text {n}", version=1) for n in range(20))
        )
        assert sorted(d["version"] for d in saved) == list(range(1, 21))
        params: Params = {"project_id": 1, "category_id": 2, "filename": "a.md"}
        history = (await client.get(f"{DOCUMENTS}/history", params=params)).json()
        assert [d["version"] for d in history] == list(range(20, 0, -1))
        assert sorted(d["content"] for d in history) == sorted(f"text {n}" for n in range(20))
        assert (await latest(client))["items"] == [history[0]]


async def test_deleting_and_creating_versions_at_once_keeps_the_newest_in_sight(
    wire: Database,
) -> None:
    async with running_app(wire, make_settings()) as app, client_of(app) as client:
        for _ in range(3):
            saved = [await save(client) for _ in range(6)]
            await asyncio.gather(
                *(client.delete(f"{DOCUMENTS}/{d['id']}") for d in saved),
                *(save(client, content="new") for _ in range(4)),
            )
            params: Params = {"project_id": 1, "category_id": 2, "filename": "a.md"}
            history = (await client.get(f"{DOCUMENTS}/history", params=params)).json()
            versions = [d["version"] for d in history]
            assert len(history) >= 4
            assert len(set(versions)) == len(versions)
            assert (await latest(client))["items"] == [history[0]]


async def test_a_creator_that_died_before_its_version_was_stored_hides_nothing(
    client: httpx.AsyncClient, database: Database
) -> None:
    first = await save(client)
    file: PlanFileName = {"project_id": 1, "category_id": 2, "filename": "a.md"}
    died = await PlanFile.take_versions("default", file, [999], (await _stored())["created_at"])
    assert died == 2
    assert (await latest(client))["items"] == [first]
    # Long after, a reader puts the name right; the number goes to whoever comes next.
    stale = (await PlanFile.of("default").find({}))[0]["taken_at"] - 2 * ABANDONED
    await PlanFile.of("default").update_one(file, {"$set": {"taken_at": stale}})
    assert (await latest(client))["items"] == [first]
    (named,) = await PlanFile.of("default").find({})
    assert (named["version"], named["document_id"]) == (1, first["id"])
    assert (await save(client))["version"] == 2


async def test_a_creator_that_died_with_the_first_version_leaves_no_file_behind(
    client: httpx.AsyncClient, database: Database
) -> None:
    first = await save(client, "b.md")
    file: PlanFileName = {"project_id": 1, "category_id": 2, "filename": "a.md"}
    await PlanFile.take_versions("default", file, [999], (await _stored())["created_at"])
    stale = (await PlanFile.of("default").find({}))[0]["taken_at"] - 2 * ABANDONED
    await PlanFile.of("default").update_one(file, {"$set": {"taken_at": stale}})
    assert (await latest(client))["items"] == [first]
    assert (await latest(client))["total"] == 1


async def test_a_version_that_cannot_be_stored_leaves_nothing_behind(wire: Database) -> None:
    async with running_app(wire, make_settings()) as app, client_of(app) as client:
        first = await save(client)
        file: PlanFileName = {"project_id": 1, "category_id": 2, "filename": "a.md"}
        for name in ("a.md", "b.md"):
            with pytest.raises(DocumentTooLarge):
                await PlanDocument.create_version(
                    "default", {**file, "filename": name}, {"content": "x" * 17 * 2**20}
                )
        assert [raw["version"] for raw in await PlanFile.of("default").find({})] == [1]
        assert (await latest(client))["items"] == [first]
        assert (await save(client))["version"] == 2


async def test_a_lost_or_outdated_file_is_found_again_by_the_next_creator(wire: Database) -> None:
    async with running_app(wire, make_settings()) as app, client_of(app) as client:
        saved = [await save(client, content=f"{n}") for n in range(3)]
        await PlanFile.of("default").delete_many({})
        fourth = await save(client, content="3")
        assert fourth["version"] == 4
        assert (await latest(client))["items"] == [fourth]
        for document in saved:
            assert (await client.get(f"{DOCUMENTS}/{document['id']}")).json() == document


async def _stored() -> StoredPlanDocument:
    (document,) = await PlanDocument.of("default").find({})
    return document


async def test_a_long_part_of_a_filename_is_looked_for_and_a_longer_one_refused(
    client: httpx.AsyncClient,
) -> None:
    for query in ("文" * 250, "😀" * 250, "." * 250):
        assert (await latest(client, query=query))["total"] == 0
    response = await client.get(f"{DOCUMENTS}/latest", params={"query": "文" * 251})
    assert response.status_code == 422
    assert "250" in response.json()["detail"]
