"""References: documents that the calls of a project or a conversation take along."""

import asyncio

import httpx
import pytest

from proxy.database import Database
from proxy.documents.document_reference import CONTEXT_BYTES
from tests.conftest import client_of, make_settings, running_app
from tests.support.plans import DOCUMENTS, PROJECT, conversation, refer, save

FIELDS = {
    "id",
    "project_id",
    "conversation_id",
    "document_id",
    "reference_type",
    "document_filename",
    "document_content",
    "document_version",
    "document_created_time",
}


async def referenced(client: httpx.AsyncClient, url: str) -> list[int]:
    return [reference["document_id"] for reference in (await client.get(url)).json()]


@pytest.fixture(params=["project", "conversation"])
async def url(request: pytest.FixtureRequest, client: httpx.AsyncClient) -> str:
    """The references of a project and of a conversation in turn."""
    if request.param == "project":
        return PROJECT
    return f"{await conversation(client)}/document-references"


async def test_post_replaces_the_set_and_counts(client: httpx.AsyncClient, url: str) -> None:
    a, b, c = [(await save(client, f"{name}.md"))["id"] for name in "abc"]
    answer = await refer(client, url, b, a, a)
    assert (answer["added_count"], answer["removed_count"]) == (2, 0)
    assert isinstance(answer["message"], str)
    assert [r["document_id"] for r in answer["current_references"]] == [b, a]
    kept = {r["document_id"]: r["id"] for r in answer["current_references"]}
    answer = await refer(client, url, a, c)
    assert (answer["added_count"], answer["removed_count"]) == (1, 1)
    assert answer["current_references"] == (await client.get(url)).json()
    ids = {r["document_id"]: r["id"] for r in answer["current_references"]}
    assert ids[a] == kept[a]
    assert ids[c] not in kept.values()
    answer = await refer(client, url)
    assert (answer["removed_count"], answer["current_references"]) == (2, [])


async def test_a_reference_carries_its_document(client: httpx.AsyncClient) -> None:
    await save(client, "方案.md", content="旧")
    document = await save(client, "方案.md", content="新")
    base = await conversation(client)
    (of_project,) = (await refer(client, PROJECT, document["id"]))["current_references"]
    assert set(of_project) == FIELDS
    assert of_project | {"id": 0} == {
        "id": 0,
        "project_id": 1,
        "conversation_id": None,
        "document_id": document["id"],
        "reference_type": "project",
        "document_filename": "方案.md",
        "document_content": "新",
        "document_version": 2,
        "document_created_time": document["created_time"],
    }
    answer = await refer(client, f"{base}/document-references", document["id"])
    (of_conversation,) = answer["current_references"]
    assert of_conversation["project_id"] is None
    assert of_conversation["conversation_id"] == base.rpartition("/")[2]
    assert of_conversation["reference_type"] == "conversation"
    assert isinstance(of_conversation["id"], int)
    assert of_conversation["id"] != of_project["id"]


async def test_unknown_documents_are_named_and_nothing_changes(
    client: httpx.AsyncClient, url: str
) -> None:
    a = (await save(client))["id"]
    await refer(client, url, a)
    response = await client.post(url, json={"document_ids": [a, 77, 78]})
    assert response.status_code == 404
    assert response.json()["detail"] == "Document not found: 77, 78"
    assert await referenced(client, url) == [a]
    for wrong in (None, "1", [0], [2**63], [{"$gt": 0}], list(range(1, 102))):
        assert (await client.post(url, json={"document_ids": wrong})).status_code == 422
    assert (await client.post(url, json={})).status_code == 422
    assert await referenced(client, url) == [a]


async def test_delete_takes_named_references_or_all(client: httpx.AsyncClient, url: str) -> None:
    a, b, c, d = [(await save(client, f"{name}.md"))["id"] for name in "abcd"]
    await refer(client, url, a, b, c, d)
    answer = (await client.delete(url, params={"document_id": [a, 77]})).json()
    assert (answer["removed_count"], answer["added_count"]) == (1, 0)
    assert [r["document_id"] for r in answer["current_references"]] == [b, c, d]
    await client.request("DELETE", url, json={"document_ids": [b]})
    assert await referenced(client, url) == [c, d]
    await client.request("DELETE", url, json={"document_ids": []})
    assert await referenced(client, url) == [c, d]
    answer = (await client.delete(url)).json()
    assert (answer["removed_count"], answer["current_references"]) == (2, [])
    assert (await client.delete(url)).json()["removed_count"] == 0


async def test_a_document_of_the_project_is_not_referenced_again_by_its_conversations(
    client: httpx.AsyncClient,
) -> None:
    a, b, c = [(await save(client, f"{name}.md"))["id"] for name in "abc"]
    base = await conversation(client, project_id=1)
    url = f"{base}/document-references"
    await refer(client, PROJECT, a)
    answer = await refer(client, url, a, b, c)
    assert answer["added_count"] == 2
    assert await referenced(client, url) == [b, c]
    # Also when the project comes to it later.
    await refer(client, PROJECT, a, b)
    assert await referenced(client, url) == [c]
    body = (await client.get(f"{base}/referenced-documents")).json()
    assert set(body) == {"conversation_id", "project_references", "conversation_references"}
    assert body["conversation_id"] == base.rpartition("/")[2]
    assert [r["document_id"] for r in body["project_references"]] == [a, b]
    assert {r["project_id"] for r in body["project_references"]} == {1}
    assert [r["document_id"] for r in body["conversation_references"]] == [c]


async def test_unknown_conversation_is_not_found(client: httpx.AsyncClient) -> None:
    base = "/v1/chat/conversations/00000000-0000-4000-8000-000000000000"
    url = f"{base}/document-references"
    for response in (
        await client.get(url),
        await client.post(url, json={"document_ids": []}),
        await client.delete(url),
        await client.get(f"{base}/referenced-documents"),
    ):
        assert response.status_code == 404
        assert response.json()["detail"] == "Conversation not found"


async def test_a_project_label_without_a_project_has_references_too(
    client: httpx.AsyncClient,
) -> None:
    url = "/v1/projects/4711/document-references"
    assert (await client.get(url)).json() == []
    assert (await client.delete(url)).json()["removed_count"] == 0
    document = await save(client)
    await refer(client, url, document["id"])
    assert await referenced(client, url) == [document["id"]]


async def test_a_deleted_document_is_not_referenced_any_more(
    client: httpx.AsyncClient, url: str
) -> None:
    a, b = [(await save(client, f"{name}.md"))["id"] for name in "ab"]
    await refer(client, url, a, b)
    deleted = (await client.delete(f"{DOCUMENTS}/{a}")).json()["deleted"]
    assert deleted == {"document_references": 1, "document_tags": 0, "plan_documents": 1}
    assert await referenced(client, url) == [b]


async def test_references_take_a_bounded_amount_of_text(database: Database) -> None:
    size = CONTEXT_BYTES // 4 + 1
    settings = make_settings(document_bytes=size)
    async with running_app(database, settings) as app, client_of(app) as client:
        ids = [(await save(client, f"{n}.md", content="x" * size))["id"] for n in range(4)]
        response = await client.post(PROJECT, json={"document_ids": ids})
        assert response.status_code == 413
        await refer(client, PROJECT, *ids[:3])


async def test_first_references_of_one_project_set_at_once_leave_one_set(wire: Database) -> None:
    async with running_app(wire, make_settings()) as app, client_of(app) as client:
        ids = [(await save(client, f"{n}.md"))["id"] for n in range(4)]
        await asyncio.gather(*(refer(client, PROJECT, id_) for id_ in ids * 3))
        (present,) = await referenced(client, PROJECT)
        assert present in ids
        assert (await client.delete(PROJECT)).json()["removed_count"] == 1
        assert await referenced(client, PROJECT) == []
