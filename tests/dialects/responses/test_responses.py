"""`/v1/responses` on an upstream that knows chat completions alone."""

import asyncio
from typing import Any

import pytest

from proxy.dialects.responses.ids import PREVIOUS_NOT_FOUND
from tests.dialects.responses.conftest import Served
from tests.fakes.openai_upstream import chunk, usage_chunk
from tests.fakes.scripted import head, script, stall
from tests.support.response_events import events_of, text_in

REQUIRED = [
    "id",
    "object",
    "created_at",
    "completed_at",
    "status",
    "incomplete_details",
    "model",
    "previous_response_id",
    "instructions",
    "output",
    "error",
    "tools",
    "tool_choice",
    "truncation",
    "parallel_tool_calls",
    "text",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "top_logprobs",
    "temperature",
    "reasoning",
    "usage",
    "max_output_tokens",
    "max_tool_calls",
    "store",
    "background",
    "service_tier",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
]


async def test_a_response_has_every_field_and_is_found_again(served: Served) -> None:
    served.upstream.play(served.upstream.reply("Hi 漢"))
    made = await served.respond(
        input="Hello", instructions="Be brief", metadata={"a": "b"}, temperature=0.5
    )
    assert set(REQUIRED) <= made.keys()
    assert made["status"] == "completed"
    assert made["output"][0]["content"][0] == {
        "type": "output_text",
        "text": "Hi 漢",
        "annotations": [],
        "logprobs": [],
    }
    assert made["usage"]["input_tokens"] == 11
    assert made["usage"]["output_tokens_details"] == {"reasoning_tokens": 3}
    assert (made["instructions"], made["metadata"]) == ("Be brief", {"a": "b"})
    assert (made["temperature"], made["top_p"]) == (0.5, 1.0)
    assert served.sent == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "Hello"},
    ]
    found = (await served.client.get(f"/v1/responses/{made['id']}")).json()
    assert found == made


async def test_it_goes_on_from_the_previous_response(served: Served) -> None:
    served.upstream.play(served.upstream.reply("one"), served.upstream.reply("two"))
    first = await served.respond(input="1", instructions="Be brief")
    second = await served.respond(input="2", previous_response_id=first["id"])
    assert served.sent == [
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "2"},
    ]
    assert second["conversation_id"] == first["conversation_id"]
    assert second["previous_response_id"] == first["id"]
    assert second["instructions"] is None


async def test_an_older_response_forks(served: Served) -> None:
    served.upstream.play(*(served.upstream.reply(text) for text in ("one", "two", "other")))
    first = await served.respond(input="1")
    await served.respond(input="2", previous_response_id=first["id"])
    other = await served.respond(input="2b", previous_response_id=first["id"])
    assert [m["content"] for m in served.sent] == ["1", "one", "2b"]
    assert other["conversation_id"] != first["conversation_id"]
    listed = (await served.client.get("/v1/chat/conversations")).json()
    fork = next(each for each in listed if each["id"] == other["conversation_id"])
    assert fork["forked_from"]["conversation_id"] == first["conversation_id"]


async def test_two_that_go_on_from_the_same_reply_do_not_see_each_other(served: Served) -> None:
    served.upstream.play(*(served.upstream.reply(text) for text in ("one", "x", "x", "x")))
    first = await served.respond(input="1")
    made = await asyncio.gather(
        *(served.respond(input=f"2{n}", previous_response_id=first["id"]) for n in "abc")
    )
    assert len({each["conversation_id"] for each in made}) == 3
    for request in served.upstream.requests[1:]:
        assert len(request.json["messages"]) == 3


async def test_a_stream_is_stored_under_the_same_ids(served: Served) -> None:
    served.upstream.play(served.upstream.reply("Hel", "lo"))
    answer = await served.client.post(
        "/v1/responses", json={"model": "test-model", "input": "x", "stream": True}
    )
    events = events_of(answer.text)
    assert events[0]["type"] == "response.created"
    assert text_in(events) == "Hello"
    last = events[-1]["response"]
    assert answer.text.endswith("data: [DONE]\n\n")
    assert (await served.client.get(f"/v1/responses/{last['id']}")).json() == last
    again = await served.client.get(f"/v1/responses/{last['id']}?stream=true&starting_after=5")
    assert events_of(again.text) == [e for e in events_of(again.text) if e["sequence_number"] > 5]
    whole = await served.client.get(f"/v1/responses/{last['id']}?stream=true")
    assert text_in(events_of(whole.text)) == "Hello"
    assert events_of(whole.text)[-1] == events[-1]


async def test_nothing_is_kept_of_an_unstored_one(served: Served) -> None:
    served.upstream.play(served.upstream.reply("Hi"))
    made = await served.respond(input="Hello", store=False)
    assert made["output"][0]["content"][0]["text"] == "Hi"
    assert (await served.client.get(f"/v1/responses/{made['id']}")).status_code == 404
    assert (await served.client.get("/v1/chat/conversations")).json() == []
    refused = await served.client.post(
        "/v1/responses",
        json={"model": "test-model", "input": "x", "previous_response_id": made["id"]},
    )
    assert refused.status_code == 404
    assert made["id"] in refused.json()["error"]["message"]


async def test_an_unstored_one_goes_on_from_a_stored_one(served: Served) -> None:
    served.upstream.play(*(served.upstream.reply(text) for text in ("one", "two", "three")))
    first = await served.respond(input="1")
    second = await served.respond(input="2", previous_response_id=first["id"])
    third = await served.respond(
        input=[{"role": "developer", "content": "D"}, {"role": "user", "content": "3"}],
        previous_response_id=first["id"],
        instructions="Short.",
        store=False,
    )
    assert third["output"][0]["content"][0]["text"] == "three"
    assert third["previous_response_id"] == first["id"]
    assert [(m["role"], m["content"]) for m in served.sent] == [
        ("system", "Short."),
        ("user", "1"),
        ("assistant", "one"),
        ("user", "D\n\n3"),
    ]
    items = (await served.client.get(f"/v1/conversations/{second['conversation_id']}/items")).json()
    assert len(items["data"]) == 4


async def test_reasoning_and_calls_are_items_and_come_back(served: Served) -> None:
    function = {"name": "weather", "arguments": '{"city": "Ulm"}'}
    served.upstream.play(
        served.upstream.chunks(
            chunk({"reasoning_content": "think"}),
            chunk({"content": "Let me look"}),
            chunk(
                {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]}
            ),
            chunk(
                {"tool_calls": [{"index": 1, "id": "c2", "type": "function", "function": function}]}
            ),
            chunk(finish_reason="tool_calls"),
            usage_chunk(),
            b"data: [DONE]\n\n",
        ),
        served.upstream.reply("Sunny"),
    )
    tools = [{"type": "function", "name": "weather", "parameters": {"type": "object"}}]
    first = await served.respond(input="Weather?", tools=tools)
    assert [item["type"] for item in first["output"]] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert served.upstream.requests[-1].json["tools"][0]["function"]["name"] == "weather"
    results = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "sun"}
        for item in first["output"][2:]
    ]
    await served.respond(input=results, previous_response_id=first["id"], tools=tools)
    sent = served.sent
    assert [m["role"] for m in sent] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in sent[1]["tool_calls"]] == ["c1", "c2"]
    items = (
        await served.client.get(
            f"/v1/conversations/{first['conversation_id']}/items?order=asc&limit=100"
        )
    ).json()["data"]
    assert [item["type"] for item in items] == [
        "message",
        "reasoning",
        "message",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
        "message",
    ]


async def test_custom_and_namespaced_tools_keep_their_names(served: Served) -> None:
    calls = [
        ("c1", "apply_patch", '{"input": "*** Begin Patch"}'),
        ("c2", "files__read", '{"path": "a"}'),
    ]
    fragments = [
        {"index": n, "id": id_, "type": "function", "function": {"name": name, "arguments": text}}
        for n, (id_, name, text) in enumerate(calls)
    ]
    served.upstream.play(
        served.upstream.chunks(
            chunk({"tool_calls": fragments}), chunk(finish_reason="tool_calls"), b"data: [DONE]\n\n"
        ),
        served.upstream.reply("done"),
    )
    tools: list[Any] = [
        {"type": "custom", "name": "apply_patch", "description": "Edits"},
        {
            "type": "namespace",
            "name": "files",
            "tools": [{"type": "function", "name": "read", "parameters": {"type": "object"}}],
        },
        {"type": "web_search"},
    ]
    answer = await served.client.post(
        "/v1/responses", json={"model": "test-model", "input": "go", "tools": tools, "store": False}
    )
    assert answer.headers["x-proxy-ignored"] == "web_search"
    output = answer.json()["output"]
    assert (output[0]["type"], output[0]["input"]) == ("custom_tool_call", "*** Begin Patch")
    assert (output[1]["namespace"], output[1]["name"]) == ("files", "read")
    history: list[Any] = [
        {"role": "user", "content": "go"},
        *output,
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"},
        {"type": "function_call_output", "call_id": "c2", "output": "text"},
    ]
    await served.respond(input=history, tools=tools, store=False)
    sent = served.sent
    assert [m["role"] for m in sent] == ["user", "assistant", "tool", "tool"]
    assert [c["function"]["name"] for c in sent[1]["tool_calls"]] == ["apply_patch", "files__read"]


async def test_sealed_reasoning_comes_back_to_the_upstream(served: Served) -> None:
    function = {"name": "f", "arguments": "{}"}
    served.upstream.play(
        served.upstream.chunks(
            chunk({"reasoning_content": "secret thoughts"}),
            chunk(
                {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]}
            ),
            chunk(finish_reason="tool_calls"),
            b"data: [DONE]\n\n",
        ),
        served.upstream.reply("ok"),
    )
    include = ["reasoning.encrypted_content"]
    first = await served.respond(input="x", store=False, include=include)
    reasoning = dict(first["output"][0])
    assert "secret" not in reasoning["encrypted_content"]
    reasoning.update(content=None, summary=[])
    await served.respond(
        input=[
            {"role": "user", "content": "x"},
            reasoning,
            first["output"][1],
            {"type": "function_call_output", "call_id": "c1", "output": "1"},
        ],
        store=False,
        include=include,
    )
    assert served.sent[1]["reasoning_content"] == "secret thoughts"


async def test_a_failure_before_anything_is_an_http_error(served: Served) -> None:
    served.upstream.play(served.upstream.status(429, retry_after="1"))
    answer = await served.client.post("/v1/responses", json={"model": "test-model", "input": "x"})
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"
    assert answer.json()["assistant_message_id"]


async def test_a_background_response_is_polled_and_cancelled(served: Served) -> None:
    served.upstream.play(script(head(), served.upstream.text("half"), stall()))
    made = await served.respond(input="x", background=True)
    assert made["status"] == "queued"
    url = f"/v1/responses/{made['id']}"
    assert (await served.client.get(url)).json()["status"] == "in_progress"
    cancelled = (await served.client.post(f"{url}/cancel")).json()
    assert cancelled["status"] == "cancelled"
    assert (await served.client.post(f"{url}/cancel")).json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": "x", "stream": "yes"}, "stream"),
        ({"input": "x", "background": True, "store": False}, "background"),
        ({"input": [{"type": "message", "role": "robot", "content": "x"}]}, "input[0].role"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_video"}]}]},
            "input[0].content[0].type",
        ),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "x", "metadata": {"a": 1}}, "metadata.a"),
        ({"input": "x", "temperature": 3}, "temperature"),
        ({"input": "x", "user": 3}, "user"),
        ({"input": "x", "reasoning": {"effort": 5}}, "reasoning.effort"),
        ({"input": "x", "text": {"verbosity": 5}}, "text.verbosity"),
        ({"input": "x", "tool_choice": "required"}, "tool_choice"),
        ({"input": "x", "tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"input": "x", "tool_choice": 7}, "tool_choice"),
        ({"input": "x", "metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"input": "x", "metadata": {"k" * 65: ""}}, "metadata"),
        ({"input": "x", "metadata": {"k": "v" * 513}}, "metadata"),
        ({"input": "x", "include": "all"}, "include"),
        ({"input": "x", "truncation": "some"}, "truncation"),
        ({"input": "x", "text": {"format": {"type": "xml"}}}, "text.format.type"),
        (
            {"input": "x", "conversation": "a", "previous_response_id": "resp_1_0"},
            "previous_response_id",
        ),
        ({"input": "x", "prompt": {"id": "p"}}, "prompt"),
    ],
)
async def test_what_cannot_be_done_names_its_field(served: Served, body: Any, param: str) -> None:
    answer = await served.client.post("/v1/responses", json={"model": "test-model", **body})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert served.upstream.requests == []


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"previous_response_id": "resp_9_0"}, "previous_response_id", PREVIOUS_NOT_FOUND),
        ({"previous_response_id": "mine"}, "previous_response_id", PREVIOUS_NOT_FOUND),
        ({"conversation": "mine"}, "conversation", None),
        ({"input": [{"type": "item_reference", "id": "msg_9"}]}, "input", None),
    ],
)
@pytest.mark.parametrize("store", [True, False])
async def test_what_is_not_there_is_named(
    served: Served, body: Any, param: str, code: str | None, store: bool
) -> None:
    asked = {"model": "test-model", "input": "x", "store": store, **body}
    answer = await served.client.post("/v1/responses", json=asked)
    if "conversation" in body and not store:
        assert answer.status_code == 400
        return
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)
    assert any(f"'{id_}'" in error["message"] for id_ in ("resp_9_0", "mine", "msg_9"))


async def test_whatever_a_chat_upstream_does_not_get_is_named(served: Served) -> None:
    served.upstream.play(served.upstream.reply("ok"))
    body = {
        "tools": [{"type": "web_search"}, {"type": "网络\r\nx: y"}],
        "service_tier": "flex",
        "max_tool_calls": 2,
        "top_logprobs": 3,
        "include": ["message.output_text.logprobs", "file_search_call.results"],
        "new_field": {"a": 1},
        "user": "u",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
    }
    answer = await served.client.post(
        "/v1/responses", json={"model": "test-model", "input": "x", **body}
    )
    assert answer.status_code == 200
    assert answer.headers["x-proxy-ignored"].split(", ") == [
        "web_search",
        "????x??y",
        "service_tier",
        "max_tool_calls",
        "new_field",
    ]


async def test_input_items_and_delete(served: Served) -> None:
    served.upstream.play(served.upstream.reply("ok"))
    given = [{"role": "developer", "content": "note"}, {"role": "user", "content": "x"}]
    made = await served.respond(input=given)
    url = f"/v1/responses/{made['id']}"
    items = (await served.client.get(f"{url}/input_items")).json()
    assert [item["role"] for item in items["data"]] == ["user", "developer"]
    after = items["data"][0]["id"]
    rest = (await served.client.get(f"{url}/input_items?after={after}")).json()
    assert [item["role"] for item in rest["data"]] == ["developer"]
    gone = (await served.client.delete(url)).json()
    assert gone == {"id": made["id"], "object": "response", "deleted": True}
    assert (await served.client.get(url)).status_code == 404
    assert (await served.client.delete(url)).status_code == 404


async def test_tokens_of_an_input_are_counted(served: Served) -> None:
    answer = await served.client.post("/v1/responses/input_tokens", json={"input": "Hello there"})
    assert answer.json()["object"] == "response.input_tokens"
    assert 2 <= answer.json()["input_tokens"] <= 20
