"""Plan categories: the built-in ones, a user's own, seeding."""

from typing import Any

import httpx
import pytest

from proxy.database import Database
from proxy.documents.base import SHARED_OWNER
from proxy.documents.counter import Counter
from proxy.documents.plan_category import PlanCategory
from proxy.errors import Forbidden

CATEGORIES = "/v1/plan/categories"
FIELDS = {
    "id",
    "name",
    "prompt_template",
    "message_method",
    "auto_save_category_id",
    "is_builtin",
    "summary_model",
    "created_time",
}


async def create(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post(CATEGORIES, json=fields)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def test_builtin_categories_have_their_fixed_ids_and_methods(
    client: httpx.AsyncClient,
) -> None:
    found = (await client.get(CATEGORIES)).json()
    assert [(c["id"], c["name"], c["message_method"]) for c in found] == [
        (1, "需求计划", "PlanGetRequest"),
        (2, "开发计划", "PlanExecuteRequest"),
        (3, "测试计划", "PlanExecuteRequest"),
        (4, "整改计划", "PlanExecuteRequest"),
        (5, "知识库", "PlanGetRequest"),
    ]
    assert all(c["is_builtin"] is True and set(c) == FIELDS for c in found)
    assert all("{doc}" in c["prompt_template"] for c in found)
    assert all("{env}" in c["prompt_template"] for c in found[:4])
    assert found[4]["prompt_template"] == "{doc}"
    assert found[0]["created_time"].endswith("Z")


async def test_a_users_category_gets_an_id_above_the_builtin_ones(
    client: httpx.AsyncClient,
) -> None:
    created = await create(
        client,
        name=" 复盘 ",
        prompt_template="总结 {doc}",
        message_method="PlanGetRequest",
        auto_save_category_id=5,
        summary_model="echo",
    )
    assert created["id"] == 6
    assert created["name"] == "复盘"
    assert created["is_builtin"] is False
    assert created["auto_save_category_id"] == 5
    assert (await client.get(f"{CATEGORIES}/6")).json() == created
    assert [c["id"] for c in (await client.get(CATEGORIES)).json()] == [1, 2, 3, 4, 5, 6]


async def test_a_taken_name_is_a_conflict(client: httpx.AsyncClient) -> None:
    mine = await create(client, name="复盘")
    await create(client, name="其它")
    for name in ("知识库", "其它"):
        response = await client.put(f"{CATEGORIES}/{mine['id']}", json={"name": name})
        assert response.status_code == 409
        response = await client.post(CATEGORIES, json={"name": name})
        assert response.status_code == 409
        assert name in response.json()["detail"]
    # Its own name is no conflict.
    response = await client.put(f"{CATEGORIES}/{mine['id']}", json={"name": "复盘"})
    assert response.status_code == 200


async def test_update_changes_what_was_sent_and_minus_one_clears_auto_save(
    client: httpx.AsyncClient,
) -> None:
    mine = await create(client, name="复盘", prompt_template="{doc}", auto_save_category_id=1)
    url = f"{CATEGORIES}/{mine['id']}"
    changed = (await client.put(url, json={"prompt_template": "写 {doc}"})).json()
    assert changed == {**mine, "prompt_template": "写 {doc}"}
    changed = (await client.put(url, json={"auto_save_category_id": -1})).json()
    assert changed["auto_save_category_id"] is None
    assert (await client.get(url)).json()["auto_save_category_id"] is None


async def test_auto_save_to_an_unknown_category_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post(CATEGORIES, json={"name": "复盘", "auto_save_category_id": 99})
    assert response.status_code == 404
    assert len((await client.get(CATEGORIES)).json()) == 5


async def test_unknown_category_is_not_found(client: httpx.AsyncClient) -> None:
    for response in (
        await client.get(f"{CATEGORIES}/77"),
        await client.put(f"{CATEGORIES}/77", json={"name": "x"}),
        await client.delete(f"{CATEGORIES}/77"),
    ):
        assert response.status_code == 404
        assert response.json()["detail"] == "Category not found"


async def test_a_builtin_category_is_never_deleted(client: httpx.AsyncClient) -> None:
    response = await client.delete(f"{CATEGORIES}/3")
    assert response.status_code == 409
    assert (await client.get(f"{CATEGORIES}/3")).status_code == 200


async def test_a_category_is_deleted_only_without_documents(client: httpx.AsyncClient) -> None:
    mine = await create(client, name="复盘")
    other = await create(client, name="日报", auto_save_category_id=mine["id"])
    url = f"{CATEGORIES}/{mine['id']}"
    document = {"project_id": 1, "category_id": mine["id"], "filename": "a.md", "content": "x"}
    ids = [(await client.post("/v1/plan/documents", json=document)).json()["id"] for _ in range(2)]
    response = await client.delete(url)
    assert response.status_code == 409
    assert "2" in response.json()["detail"]
    for id_ in ids:
        await client.delete(f"/v1/plan/documents/{id_}")
    response = await client.delete(url)
    assert response.status_code == 200
    assert response.json() == {"message": "Category deleted"}
    assert (await client.get(url)).status_code == 404
    left = (await client.get(f"{CATEGORIES}/{other['id']}")).json()
    assert left["auto_save_category_id"] is None


WRONG_CATEGORIES: list[dict[str, Any]] = [
    {},
    {"name": ""},
    {"name": "  "},
    {"name": "a\nb"},
    {"name": "x" * 501},
    {"name": {"$gt": ""}},
    {"name": "x", "auto_save_category_id": -2},
    {"name": "x", "auto_save_category_id": 2**63},
    {"name": "x", "prompt_template": "\x00"},
]


async def test_a_wrong_category_is_one_sentence(client: httpx.AsyncClient) -> None:
    for body in WRONG_CATEGORIES:
        response = await client.post(CATEGORIES, json=body)
        assert response.status_code == 422
        assert isinstance(response.json()["detail"], str)
        assert len((await client.get(CATEGORIES)).json()) == 5


async def test_seeding_again_keeps_a_users_edits(
    client: httpx.AsyncClient, database: Database
) -> None:
    await client.put(f"{CATEGORIES}/1", json={"name": "需求评审", "prompt_template": "{doc}!"})
    before = (await client.get(CATEGORIES)).json()
    await PlanCategory.create_builtin()
    assert (await client.get(CATEGORIES)).json() == before
    assert before[0]["name"] == "需求评审"


async def test_seeding_restores_a_missing_category_and_lifts_the_counter(
    client: httpx.AsyncClient, database: Database
) -> None:
    await PlanCategory.of(SHARED_OWNER).delete_one({"_id": 4})
    await Counter.collection().update_one({"_id": "plan_categories"}, {"$set": {"value": 0}})
    await PlanCategory.create_builtin()
    assert (await client.get(f"{CATEGORIES}/4")).json()["name"] == "整改计划"
    assert (await create(client, name="复盘"))["id"] == 6


async def test_one_owner_of_several_sees_builtin_categories_and_cannot_change_them(
    client: httpx.AsyncClient, database: Database
) -> None:
    mine = await PlanCategory.create_new("default", {"name": "复盘"})
    assert [raw["_id"] for raw in await PlanCategory.by_id("stranger")] == [1, 2, 3, 4, 5]
    with pytest.raises(Forbidden):
        await PlanCategory.change("stranger", 1, {"name": "x"})
    # Names are free where another owner uses them.
    other = await PlanCategory.create_new("stranger", {"name": "复盘"})
    assert other["_id"] > mine["_id"]
