"""Tags of plan documents and the search by them."""

import asyncio
from typing import Any

import httpx
import pytest

from proxy.database import Database
from proxy.documents.base import utc_now
from proxy.documents.plan_file import MAX_TAGS, PlanFile, Tag
from tests.conftest import client_of, make_settings, running_app
from tests.support.plans import DOCUMENTS, save


async def tags(client: httpx.AsyncClient, document_id: int) -> list[str]:
    response = await client.get(f"{DOCUMENTS}/{document_id}/tags")
    assert response.status_code == 200
    body = response.json()
    assert body["document_id"] == document_id
    return [tag["tag_name"] for tag in body["tags"]]


async def add(client: httpx.AsyncClient, document_id: int, *names: str) -> None:
    response = await client.post(f"{DOCUMENTS}/{document_id}/tags:batch", json={"add": names})
    assert response.status_code == 200, response.text


async def search(client: httpx.AsyncClient, **params: Any) -> list[str]:
    response = await client.get(f"{DOCUMENTS}/search-by-tags", params=params)
    assert response.status_code == 200, response.text
    return [f"{d['filename']} {d['version']}" for d in response.json()]


async def test_adding_a_tag_twice_is_a_success(client: httpx.AsyncClient) -> None:
    document = await save(client)
    url = f"{DOCUMENTS}/{document['id']}/tags"
    first = await client.post(url, json={"tag_name": " 重要 "})
    assert first.status_code == 200
    tag = first.json()["tag"]
    assert set(tag) == {"id", "document_id", "tag_name", "created_time"}
    assert (tag["tag_name"], tag["document_id"]) == ("重要", document["id"])
    assert (await client.post(url, json={"tag_name": "重要"})).json() == first.json()
    assert await tags(client, document["id"]) == ["重要"]


async def test_a_tag_is_removed_by_its_name_whatever_is_in_it(client: httpx.AsyncClient) -> None:
    document = await save(client)
    for name in ("重要", "前端/后端", "a b?#%", "x" * 100):
        await add(client, document["id"], name)
        url = httpx.URL(f"{DOCUMENTS}/{document['id']}/tags/").copy_with(
            raw_path=f"{DOCUMENTS}/{document['id']}/tags/{_quoted(name)}".encode()
        )
        response = await client.delete(f"http://127.0.0.1:8000{url.raw_path.decode()}")
        assert response.status_code == 200
        assert response.json() == {"message": "Tag removed", "removed_count": 1}
        again = await client.delete(f"http://127.0.0.1:8000{url.raw_path.decode()}")
        assert again.json()["removed_count"] == 0
    assert await tags(client, document["id"]) == []


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


async def test_batch_adds_removes_and_counts(client: httpx.AsyncClient) -> None:
    document = await save(client)
    await add(client, document["id"], "一", "二")
    response = await client.post(
        f"{DOCUMENTS}/{document['id']}/tags:batch",
        json={"add": ["二", "三", "四"], "remove": ["一", "没有"]},
    )
    assert response.json() == {
        "message": "Tags updated",
        "added": {"requested": 3, "added": 2, "duplicates": 1},
        "removed": {"requested": 2, "removed": 1},
    }
    assert await tags(client, document["id"]) == sorted(["二", "三", "四"])


async def test_a_wrong_tag_is_one_sentence(client: httpx.AsyncClient) -> None:
    document = await save(client)
    url = f"{DOCUMENTS}/{document['id']}/tags"
    for name in ("", "  ", "x" * 101, "a\x00", 5, None, {"$ne": ""}):
        for response in (
            await client.post(url, json={"tag_name": name}),
            await client.post(f"{url}:batch", json={"add": [name]}),
            await client.post(f"{url}:batch", json={"remove": [name]}),
        ):
            assert response.status_code == 422
            assert isinstance(response.json()["detail"], str)
    assert await tags(client, document["id"]) == []
    long = (await client.post(url, json={"tag_name": "长" * 101})).json()["detail"]
    assert long == "tag_name: String should have at most 100 characters"
    empty = (await client.post(url, json={"tag_name": ""})).json()["detail"]
    assert empty == "tag_name: String should have at least 1 character"


async def test_tags_stay_with_the_file_when_it_gets_a_new_version(
    client: httpx.AsyncClient,
) -> None:
    first = await save(client)
    await add(client, first["id"], "重要")
    second = await save(client)
    assert await tags(client, second["id"]) == ["重要"]
    assert await search(client, project_id=1, tags="重要") == ["a.md 2"]
    await client.delete(f"{DOCUMENTS}/{first['id']}")
    assert await tags(client, second["id"]) == ["重要"]
    deleted = (await client.delete(f"{DOCUMENTS}/{second['id']}")).json()["deleted"]
    assert deleted["document_tags"] == 1


async def test_search_by_tags_matches_any_or_all(client: httpx.AsyncClient) -> None:
    a, b, c = [await save(client, f"{name}.md") for name in "abc"]
    await add(client, a["id"], "一", "二")
    await add(client, b["id"], "二", "三")
    await add(client, c["id"], "四")
    other = await save(client, "d.md", project_id=2)
    await add(client, other["id"], "二")
    assert await search(client, project_id=1, tags="一,三") == ["b.md 1", "a.md 1"]
    assert await search(client, project_id=1, tags="二, 一", match="all") == ["a.md 1"]
    assert await search(client, project_id=1, tags="二", match="") == ["b.md 1", "a.md 1"]
    assert await search(client, project_id="", tags="二") == ["d.md 1", "b.md 1", "a.md 1"]
    assert await search(client, project_id=1, tags="五") == []
    for params in ({"tags": ""}, {"tags": " , "}, {}, {"tags": "一", "match": "none"}):
        response = await client.get(f"{DOCUMENTS}/search-by-tags", params=params)
        assert response.status_code == 422


async def test_a_file_takes_a_bounded_number_of_tags(client: httpx.AsyncClient) -> None:
    document = await save(client)
    names = [f"t{n}" for n in range(MAX_TAGS)]
    there: list[Tag] = [
        {"id": n, "name": name, "created_at": utc_now()} for n, name in enumerate(names[:-10], 1)
    ]
    await PlanFile.collection().update_one({}, {"$set": {"tags": there}})
    await add(client, document["id"], *names[-10:])
    url = f"{DOCUMENTS}/{document['id']}/tags"
    assert (await client.post(url, json={"tag_name": "t5"})).status_code == 200
    assert (await client.post(url, json={"tag_name": "one more"})).status_code == 409
    assert len(await tags(client, document["id"])) == MAX_TAGS


async def test_concurrent_additions_of_one_tag_add_it_once(wire: Database) -> None:
    async with running_app(wire, make_settings()) as app, client_of(app) as client:
        document = await save(client)
        url = f"{DOCUMENTS}/{document['id']}/tags"
        responses = await asyncio.gather(
            *(client.post(url, json={"tag_name": f"t{n % 4}"}) for n in range(20))
        )
        assert {response.status_code for response in responses} == {200}
        assert await tags(client, document["id"]) == ["t0", "t1", "t2", "t3"]
        assert len({response.json()["tag"]["id"] for response in responses}) == 4


@pytest.mark.parametrize("tag", [".", "..", "a,b"])
async def test_a_tag_that_no_address_or_list_can_name_is_refused(
    client: httpx.AsyncClient, tag: str
) -> None:
    url = f"{DOCUMENTS}/{(await save(client))['id']}/tags"
    response = await client.post(url, json={"tag_name": tag})
    assert response.status_code == 422
    assert "must not be" in response.text
    response = await client.post(f"{url}:batch", json={"add": [tag]})
    assert response.status_code == 422
