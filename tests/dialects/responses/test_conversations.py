"""`/v1/conversations`: the same conversations, as OpenAI has them."""

from typing import Any

import pytest

from tests.dialects.responses.conftest import Served
from tests.fakes.openai_upstream import chunk


async def items(served: Served, id_: str, **query: Any) -> Any:
    answer = await served.client.get(f"/v1/conversations/{id_}/items", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_one_is_made_changed_and_deleted(served: Served) -> None:
    client = served.client
    made = (await client.post("/v1/conversations", json={"metadata": {"a": "1"}})).json()
    assert made["id"].startswith("conv_")
    assert (made["object"], made["metadata"]) == ("conversation", {"a": "1"})
    url = f"/v1/conversations/{made['id']}"
    assert (await client.get(url)).json() == made
    changed = (await client.post(url, json={"metadata": {"b": "2"}})).json()
    assert changed["metadata"] == {"b": "2"}
    listed = (await client.get("/v1/conversations")).json()
    assert [each["id"] for each in listed["data"]] == [made["id"]]
    gone = (await client.delete(url)).json()
    assert gone == {"id": made["id"], "object": "conversation.deleted", "deleted": True}
    assert (await client.get(url)).status_code == 404


async def test_a_turn_of_every_dialect_is_in_it_under_one_id(served: Served) -> None:
    served.upstream.play(*(served.upstream.reply(text) for text in ("one", "two", "three")))
    client = served.client
    conversation = (await client.post("/v1/conversations", json={})).json()["id"]
    made = await served.respond(input="1", conversation=conversation)
    assert made["conversation"] == {"id": conversation}
    bare = conversation.removeprefix("conv_")
    path = f"/v1/chat/conversations/{bare}/messages"
    await client.post(path, json={"content": "2", "model": "test-model"})
    await client.post(
        "/v1/chat/completions",
        json={
            "model": "test-model",
            "conversation": bare,
            "messages": [{"role": "user", "content": "3"}],
        },
    )
    assert [m["content"] for m in served.sent] == ["1", "one", "2", "two", "3"]
    stored = (await client.get(path)).json()["messages"]
    page = await items(served, conversation, order="asc")
    assert [item["id"] for item in page["data"]] == [f"msg_{m['id']}" for m in stored]
    assert page["data"][1]["content"][0]["text"] == "one"
    assert (await client.get(f"/v1/responses/resp_{stored[-1]['id']}_0")).json()["status"] == (
        "completed"
    )
    assert made["output"][0]["id"] == f"msg_{stored[1]['id']}"


async def test_items_page_both_ways(served: Served) -> None:
    given = [{"role": "user", "content": str(number)} for number in range(12)]
    made = (await served.client.post("/v1/conversations", json={"items": given})).json()
    for order in ("asc", "desc"):
        found: list[Any] = []
        query: dict[str, Any] = {"order": order, "limit": 5}
        for _ in range(3):
            page = await items(served, made["id"], **query)
            assert page["first_id"] == page["data"][0]["id"]
            found += page["data"]
            query["after"] = page["last_id"]
            if not page["has_more"]:
                break
        texts = [item["content"][0]["text"] for item in found]
        expected = [str(number) for number in range(12)]
        assert texts == (expected if order == "asc" else expected[::-1])
    empty = (await served.client.post("/v1/conversations", json={})).json()
    assert await items(served, empty["id"]) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


async def test_a_paged_history_is_listed_whole(served: Served) -> None:
    made = (await served.client.post("/v1/conversations", json={})).json()
    url = f"/v1/conversations/{made['id']}/items"
    for start in range(0, 200, 20):
        given = [{"role": "user", "content": f"m{n}"} for n in range(start, start + 20)]
        answer = await served.client.post(url, json={"items": given})
        assert len(answer.json()["data"]) == 20
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = await items(served, made["id"], order="desc", limit=33, **after)
        found += [item["content"][0]["text"] for item in page["data"]]
        if not page["has_more"]:
            break
        after = {"after": page["last_id"]}
    assert found == [f"m{n}" for n in reversed(range(200))]


async def test_a_part_of_a_reply_is_deleted_and_the_rest_stays(served: Served) -> None:
    function = {"name": "f", "arguments": "{}"}
    fragments = [
        {"index": n, "id": f"c{n}", "type": "function", "function": function} for n in (0, 1)
    ]
    served.upstream.play(
        served.upstream.chunks(
            chunk({"reasoning_content": "think"}),
            chunk({"content": "text"}),
            chunk({"tool_calls": fragments}),
            chunk(finish_reason="tool_calls"),
            b"data: [DONE]\n\n",
        )
    )
    made = await served.respond(input="x")
    conversation = f"conv_{made['conversation_id']}"
    kinds = ["message", "reasoning", "message", "function_call", "function_call"]
    while True:
        page = await items(served, conversation, order="asc")
        assert [item["type"] for item in page["data"]] == kinds
        if not kinds:
            break
        newest = page["data"][-1]["id"]
        url = f"/v1/conversations/{conversation}/items/{newest}"
        assert (await served.client.get(url)).json() == page["data"][-1]
        gone = (await served.client.delete(url)).json()
        assert gone["id"] == conversation
        assert (await served.client.get(url)).status_code == 404
        kinds.pop()


async def test_the_text_of_an_item_is_edited(served: Served) -> None:
    given = [{"role": "user", "content": "before"}]
    made = (await served.client.post("/v1/conversations", json={"items": given})).json()
    item = (await items(served, made["id"]))["data"][0]["id"]
    url = f"/v1/conversations/{made['id']}/items/{item}"
    edited = (await served.client.post(url, json={"content": "after"})).json()
    assert edited["content"][0]["text"] == "after"
    assert edited["id"] == item


async def test_a_reference_to_an_edited_item_is_resolved(served: Served) -> None:
    served.upstream.play(served.upstream.reply("one"), served.upstream.reply("two"))
    first = await served.respond(input="1")
    item = first["output"][0]["id"]
    url = f"/v1/conversations/{first['conversation_id']}/items/{item}"
    await served.client.post(url, json={"content": "uno"})
    await served.respond(
        input=[
            {"role": "user", "content": "1"},
            {"type": "item_reference", "id": item},
            {"role": "user", "content": "2"},
        ]
    )
    assert [m["content"] for m in served.sent] == ["1", "uno", "2"]


async def test_an_unknown_reference_is_a_404_that_names_it(served: Served) -> None:
    for id_ in ("msg_99", "rs_abc", "whatever"):
        answer = await served.client.post(
            "/v1/responses",
            json={"model": "test-model", "input": [{"type": "item_reference", "id": id_}]},
        )
        assert answer.status_code == 404
        assert id_ in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "param"),
    [
        ("GET", "/v1/responses/resp_1_0?stream=maybe", "stream"),
        ("GET", "/v1/responses/resp_1_0?stream=true&starting_after=x", "starting_after"),
        ("GET", "/v1/responses/resp_1_0/input_items?limit=101", "limit"),
        ("GET", "/v1/responses/resp_1_0/input_items?order=up", "order"),
        ("GET", "/v1/conversations/c/items?limit=0", "limit"),
        ("POST", "/v1/conversations/c/items/msg_1", "content"),
    ],
)
async def test_a_wrong_value_is_a_bad_request_as_at_openai(
    served: Served, method: str, path: str, param: str
) -> None:
    answer = await served.client.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
