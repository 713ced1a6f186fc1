"""An upstream that speaks Responses itself: its items are kept, told and sent back to it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.database import Database
from tests.conftest import LiveServer, client_of, make_settings, running_app
from tests.dialects.responses.conftest import Served
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.responses_upstream import (
    ResponsesUpstream,
    call,
    event,
    item_frames,
    message,
    reasoning,
)
from tests.fakes.scripted import cut, script
from tests.support.response_events import events_of, text_in, units

SEARCH = {
    "id": "ws_up",
    "type": "web_search_call",
    "status": "completed",
    "action": {"type": "search", "query": "Ulm"},
}
CITATION = {
    "type": "url_citation",
    "start_index": 0,
    "end_index": 3,
    "url": "https://u",
    "title": "U",
}
ITEMS = [
    reasoning("sealed-1"),
    SEARCH,
    reasoning("sealed-2", "I ", "see"),
    message("Ulm 漢", annotations=[CITATION]),
    call("c1", "weather", '{"city": "Ulm"}'),
    call("c2", "weather", '{"city": "Bonn"}'),
]
TOOLS = [
    {"type": "function", "name": "weather", "parameters": {"type": "object"}},
    {"type": "web_search"},
    {"type": "custom", "name": "apply_patch"},
    {"type": "namespace", "name": "mcp", "tools": [{"type": "function", "name": "read"}]},
]


@pytest.fixture
async def native(live: LiveServer) -> AsyncIterator[Served]:
    async with (
        ResponsesUpstream() as upstream,
        live(
            openai_base_url=upstream.base_url,
            openai_api_key="k",
            models={"test-model": {"responses": "native"}},
        ) as client,
    ):
        yield Served(client, upstream)


def play(served: Served) -> ResponsesUpstream:
    assert isinstance(served.upstream, ResponsesUpstream)
    return served.upstream


async def streamed(served: Served, **body: Any) -> list[dict[str, Any]]:
    body = {"model": "test-model", "stream": True, **body}
    return events_of((await served.client.post("/v1/responses", json=body)).text)


async def replayed(served: Served, id_: str, after: int = -1) -> list[dict[str, Any]]:
    where = f"/v1/responses/{id_}?stream=true&starting_after={after}"
    return events_of((await served.client.get(where)).text)


async def test_a_turn_is_kept_told_and_sent_back(native: Served) -> None:
    upstream = play(native)
    upstream.play(upstream.respond(*ITEMS), upstream.respond(message("Sunny")))
    first = await native.respond(
        input="Weather?", instructions="Short.", tools=TOOLS, reasoning={"effort": "low"}
    )
    sent = upstream.requests[0]
    assert sent.path.endswith("/responses")
    assert sent.json["store"] is False
    assert sent.json["instructions"] == "Short."
    assert sent.json["tools"] == TOOLS
    assert sent.json["include"] == ["reasoning.encrypted_content"]
    kinds = [item["type"] for item in first["output"]]
    assert kinds == [item["type"] for item in ITEMS]
    assert first["output"][1]["action"] == SEARCH["action"]
    assert first["output"][3]["content"][0]["annotations"] == [CITATION]
    assert first["usage"]["output_tokens_details"] == {"reasoning_tokens": 3}
    assert len({item["id"] for item in first["output"]}) == len(ITEMS)

    results = [
        {"type": "function_call_output", "call_id": id_, "output": "sun"} for id_ in ("c1", "c2")
    ]
    second = await native.respond(input=results, previous_response_id=first["id"], tools=TOOLS)
    assert second["output"][0]["content"][0]["text"] == "Sunny"
    body = upstream.requests[1].json
    assert "previous_response_id" not in body
    given = body["input"]
    assert [item["type"] for item in given] == ["message", *kinds, *["function_call_output"] * 2]
    assert [i["encrypted_content"] for i in given if i["type"] == "reasoning"] == [
        "sealed-1",
        "sealed-2",
    ]
    assert not any("id" in item for item in given)
    assert [i["call_id"] for i in given if i["type"] == "function_call"] == ["c1", "c2"]


async def test_a_replay_stands_at_every_position_where_the_stream_did(native: Served) -> None:
    upstream = play(native)
    upstream.play(upstream.respond(*ITEMS, message("Again"), reasoning("x", "So"), SEARCH))
    live = await streamed(native, input="x", tools=TOOLS, reasoning={"summary": "auto"})
    final = live[-1]["response"]
    again = await replayed(native, final["id"])
    assert units(again[2:-1]) == units(live[2:-1])
    assert again[-1]["response"]["output"] == final["output"]
    assert text_in(live) == "Ulm 漢Again"
    assert text_in(live, "reasoning_summary_text") == "I \n\nseeSo"
    for after in range(0, live[-1]["sequence_number"], 7):
        rest = units(await replayed(native, final["id"], after))
        assert rest == {number: what for number, what in units(again).items() if number > after}


async def test_items_come_once_and_whole(native: Served) -> None:
    upstream = play(native)
    upstream.play(upstream.respond(*ITEMS))
    events = await streamed(native, input="x", tools=TOOLS)
    added = [e["item"] for e in events if e["type"] == "response.output_item.added"]
    done = [e["item"] for e in events if e["type"] == "response.output_item.done"]
    assert [item["id"] for item in added] == [item["id"] for item in done]
    assert [item["type"] for item in done] == [item["type"] for item in ITEMS]
    final = events[-1]["response"]["output"]
    assert [item["id"] for item in final] == [item["id"] for item in done]


async def test_encrypted_reasoning_goes_through_the_client_and_back(native: Served) -> None:
    upstream = play(native)
    upstream.play(upstream.respond(*ITEMS), upstream.respond(message("ok")))
    body: Any = {
        "input": [{"role": "user", "content": "x"}],
        "include": ["reasoning.encrypted_content"],
        "tools": TOOLS,
    }
    first = await native.respond(**body)
    sealed = [i["encrypted_content"] for i in first["output"] if i["type"] == "reasoning"]
    assert "sealed-1" not in "".join(sealed)
    body["input"] += [i for i in first["output"] if i["type"] != "web_search_call"]
    await native.respond(**body)
    given = upstream.requests[1].json["input"]
    assert [i["encrypted_content"] for i in given if i["type"] == "reasoning"] == [
        "sealed-1",
        "sealed-2",
    ]


async def test_custom_and_namespaced_tools_keep_their_names(native: Served) -> None:
    upstream = play(native)
    patch = {"id": "x", "type": "custom_tool_call", "call_id": "p", "name": "apply_patch"}
    upstream.play(
        upstream.respond({**patch, "input": "*** Begin"}, call("r", "read", "{}", namespace="mcp")),
        upstream.respond(message("done")),
    )
    first = await native.respond(input="x", tools=TOOLS)
    custom, function = first["output"]
    assert (custom["type"], custom["name"]) == ("custom_tool_call", "apply_patch")
    assert custom["input"] == "*** Begin"
    assert (function["name"], function["namespace"]) == ("read", "mcp")
    results = [
        {"type": "custom_tool_call_output", "call_id": "p", "output": "ok"},
        {"type": "function_call_output", "call_id": "r", "output": "text"},
    ]
    await native.respond(input=results, previous_response_id=first["id"], tools=TOOLS)
    given = upstream.requests[1].json["input"][1:]
    assert [item["type"] for item in given] == [
        "custom_tool_call",
        "function_call",
        "custom_tool_call_output",
        "function_call_output",
    ]
    assert (given[1]["name"], given[1]["namespace"]) == ("read", "mcp")
    assert given[0]["input"] == "*** Begin"


async def test_nothing_is_said_to_be_ignored(native: Served) -> None:
    play(native).play(play(native).respond(message("x")))
    answer = await native.client.post(
        "/v1/responses",
        json={"model": "test-model", "input": "x", "tools": TOOLS, "service_tier": "flex"},
    )
    assert "x-proxy-ignored" not in answer.headers
    assert native.upstream.requests[0].json["service_tier"] == "flex"


async def test_a_regeneration_asks_the_same_way(native: Served) -> None:
    upstream = play(native)
    upstream.play(upstream.respond(*ITEMS), upstream.respond(message("Second")))
    first = await native.respond(input="x", tools=TOOLS)
    number = first["id"].split("_")[1]
    answer = await native.client.post(f"/v1/chat/messages/{number}/regenerate", json={})
    assert answer.json()["reply"] == "Second"
    assert upstream.requests[1].path.endswith("/responses")
    assert upstream.requests[1].json["tools"] == TOOLS
    again = (await native.client.get(f"/v1/responses/resp_{number}_1")).json()
    assert [item["type"] for item in again["output"]] == ["message"]
    former = (await native.client.get(f"/v1/responses/{first['id']}")).json()
    assert former["output"] == first["output"]


async def test_a_chat_completion_goes_on_without_what_only_responses_say(native: Served) -> None:
    upstream = play(native)
    upstream.play(upstream.respond(*ITEMS[:4]), upstream.whole_reply("Chat"))
    first = await native.respond(input="x", tools=TOOLS)
    answer = await native.client.post(
        f"/v1/chat/conversations/{first['conversation_id']}/messages",
        json={"content": "more", "model": "test-model"},
    )
    assert answer.json()["reply"] == "Chat"
    assert upstream.requests[1].path.endswith("/chat/completions")
    given = upstream.requests[1].json["messages"]
    assert [m["content"] for m in given] == ["x", "Ulm 漢", "more"]
    assert all(m.keys() <= {"role", "content"} for m in given)


async def test_an_edited_text_is_what_goes_back(native: Served) -> None:
    upstream = play(native)
    upstream.play(upstream.respond(*ITEMS[:4]), upstream.respond(message("ok")))
    first = await native.respond(input="x")
    number = first["id"].split("_")[1]
    await native.client.put(f"/v1/chat/messages/{number}", json={"content": "Edited"})
    await native.respond(input="more", conversation=first["conversation_id"])
    said = [i for i in upstream.requests[1].json["input"] if i.get("role") == "assistant"]
    assert [item["content"][0]["text"] for item in said] == ["Edited"]


async def test_a_hosted_tools_item_is_deleted_alone(native: Served) -> None:
    play(native).play(play(native).respond(*ITEMS[:4]))
    first = await native.respond(input="x")
    where = f"/v1/conversations/{first['conversation_id']}/items"
    hosted = first["output"][1]["id"]
    assert (await native.client.delete(f"{where}/{hosted}")).status_code == 200
    left = (await native.client.get(where)).json()["data"]
    assert "web_search_call" not in [item["type"] for item in left]
    assert "Ulm 漢" in [i["content"][0].get("text") for i in left if i["type"] == "message"]


@pytest.mark.parametrize("stored", [True, False])
async def test_a_refusal_is_an_http_error(native: Served, stored: bool) -> None:
    native.upstream.play(native.upstream.coded(400, "invalid_value", "Bad tools"))
    answer = await native.client.post(
        "/v1/responses", json={"model": "test-model", "input": "x", "store": stored}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_value"


async def test_a_failure_and_a_cut_keep_what_arrived(native: Served) -> None:
    upstream = play(native)
    begun = list(item_frames(0, message("half")))[:-1]
    upstream.play(
        upstream.events(*begun, event("error", message="No luc", code="server_error")),
        upstream.events(*begun) + script(cut()),
        upstream.events(*begun),
    )
    for error in ("No luc", "broke", "early"):
        events = await streamed(native, input="x")
        assert events[-1]["type"] == "response.failed"
        response = events[-1]["response"]
        assert error in response["error"]["message"]
        assert response["output"][0]["content"][0]["text"] == "half"


async def test_a_body_instead_of_a_stream_is_read(native: Served) -> None:
    play(native).play(play(native).body(*ITEMS))
    events = await streamed(native, input="x", tools=TOOLS)
    assert text_in(events) == "Ulm 漢"
    assert events[-1]["type"] == "response.completed"


async def test_a_fallback_may_speak_chat_alone(wire: Database) -> None:
    async with ResponsesUpstream() as one, OpenAIUpstream(models=["other"]) as two:
        one.play(one.status(500))
        two.play(two.reply("From the other"))
        settings = make_settings(
            providers={
                "one": {"base_url": one.base_url, "api_key": "k", "responses": "native"},
                "two": {"base_url": two.base_url, "api_key": "k"},
            },
            models={"both": {"route": ["one/test-model", "two/other"]}},
        )
        async with running_app(wire, settings) as app, client_of(app) as client:
            served = Served(client, one)
            for store in (True, False):
                found = await served.respond(model="both", input="x", tools=TOOLS, store=store)
                assert found["output"][0]["content"][0]["text"] == "From the other"
                assert one.requests[-1].path.endswith("/responses")
                assert [t["type"] for t in two.requests[-1].json["tools"]] == ["function"] * 3
