"""Log probabilities of tokens: asked for, told with the text, kept, and given back if asked for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.database import Database
from tests.conftest import client_of, make_settings, running_app
from tests.dialects.responses.conftest import Served
from tests.fakes.openai_upstream import OpenAIUpstream, chunk, frame
from tests.fakes.responses_upstream import ResponsesUpstream, event, message
from tests.fakes.scripted import Script, whole
from tests.support.response_events import events_of, text_in

LOGPROBS = "message.output_text.logprobs"
ASKED: dict[str, Any] = {"input": "Hi", "include": [LOGPROBS], "top_logprobs": 1}


def token(text: str, logprob: float = -0.5) -> dict[str, Any]:
    """What is known of a token, with another one that was as likely."""
    other = {"token": "x", "bytes": [120], "logprob": logprob}
    return {
        "token": text,
        "bytes": list(text.encode()),
        "logprob": logprob,
        "top_logprobs": [other],
    }


TOKENS = [token("Hel"), token("lo"), token(" 漢", -1)]


def told(text: str, *tokens: dict[str, Any]) -> bytes:
    """A chunk of a chat stream with what is known of its tokens."""
    logprobs = {"content": list(tokens), "refusal": None}
    return frame({"choices": [{"index": 0, "delta": {"content": text}, "logprobs": logprobs}]})


def chat_reply(upstream: OpenAIUpstream) -> Script:
    first = told("Hello", TOKENS[0], TOKENS[1])
    return upstream.chunks(first, told(" 漢", TOKENS[2]), upstream.end())


def native_reply(upstream: ResponsesUpstream) -> Script:
    at = {"output_index": 0, "item_id": "msg_up", "content_index": 0}
    item = message("Hello 漢", logprobs=TOKENS)
    return upstream.events(
        event("response.output_item.added", output_index=0, item={**item, "content": []}),
        event("response.output_text.delta", **at, delta="Hello", logprobs=TOKENS[:2]),
        event("response.output_text.delta", **at, delta=" 漢", logprobs=TOKENS[2:]),
        event("response.output_item.done", output_index=0, item=item),
        event("response.completed", response={"id": "up", "status": "completed", "output": [item]}),
    )


@asynccontextmanager
async def before(mock: Database, kind: str, **fields: Any) -> AsyncIterator[Served]:
    models = {"test-model": {"responses": kind}}
    async with ResponsesUpstream() as upstream:
        upstream.play(native_reply(upstream) if kind == "native" else chat_reply(upstream))
        settings = make_settings(
            openai_base_url=upstream.base_url, openai_api_key="k", models=models, **fields
        )
        async with running_app(mock, settings) as app, client_of(app) as client:
            yield Served(client, upstream)


def tokens_of(response: dict[str, Any]) -> Any:
    return response["output"][0]["content"][0]["logprobs"]


async def stream_of(served: Served, **body: Any) -> list[dict[str, Any]]:
    asked = {"model": "test-model", "stream": True, **body}
    return events_of((await served.client.post("/v1/responses", json=asked)).content)


@pytest.mark.parametrize("kind", ["chat", "native"])
async def test_they_come_with_their_text_and_are_kept(mock: Database, kind: str) -> None:
    async with before(mock, kind) as served:
        events = await stream_of(served, **ASKED)
        body = served.upstream.requests[0].json
        made = events[-1]["response"]
        url, include = f"/v1/responses/{made['id']}", {"include[]": LOGPROBS}
        got = (await served.client.get(url, params=include)).json()
        plain = (await served.client.get(url)).json()
        stream = {**include, "stream": "true"}
        replay = events_of((await served.client.get(url, params=stream)).content)
        items = f"/v1/conversations/{made['conversation_id']}/items"
        listed = (await served.client.get(items, params=include)).json()["data"][0]
        bare = (await served.client.get(items)).json()["data"][0]
        one = (await served.client.get(f"{items}/{listed['id']}", params=include)).json()
    if kind == "chat":
        assert (body["logprobs"], body["top_logprobs"]) == (True, 1)
    else:
        assert body["include"] == ["message.output_text.logprobs"]
    assert made["top_logprobs"] == 1
    for each in (events, replay):
        deltas = [e for e in each if e["type"] == "response.output_text.delta"]
        assert [token for delta in deltas for token in delta["logprobs"]] == TOKENS
        done = next(e for e in each if e["type"] == "response.output_text.done")
        assert done["logprobs"] == TOKENS
        assert tokens_of(each[-1]["response"]) == TOKENS
    assert tokens_of(got) == listed["content"][0]["logprobs"] == TOKENS
    assert one == listed
    assert tokens_of(plain) == bare["content"][0]["logprobs"] == []


@pytest.mark.parametrize("stream", [True, False])
async def test_they_come_where_nothing_is_kept(mock: Database, stream: bool) -> None:
    async with before(mock, "chat") as served:
        body = {"model": "test-model", "store": False, "stream": stream, **ASKED}
        answer = await served.client.post("/v1/responses", json=body)
    assert "x-proxy-ignored" not in answer.headers
    made = events_of(answer.content)[-1]["response"] if stream else answer.json()
    assert tokens_of(made) == TOKENS


async def test_what_nobody_asked_for_is_not_kept(mock: Database) -> None:
    async with before(mock, "chat") as served:
        made = await served.respond(input="Hi")
        include = {"include[]": LOGPROBS}
        got = await served.client.get(f"/v1/responses/{made['id']}", params=include)
    assert "logprobs" not in served.upstream.requests[0].json
    assert tokens_of(made) == tokens_of(got.json()) == []


async def test_a_whole_answer_has_them_too(mock: Database) -> None:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "Hello 漢"},
        "logprobs": {"content": TOKENS},
        "finish_reason": "stop",
    }
    async with before(mock, "chat") as served:
        served.upstream.play(whole(200, {"object": "chat.completion", "choices": [choice]}))
        made = await served.respond(**ASKED)
    assert tokens_of(made) == TOKENS


async def test_what_is_above_the_limit_is_left_out_and_said(mock: Database) -> None:
    async with before(mock, "chat", logprobs_bytes=300) as served:
        made = await served.respond(**ASKED)
        include = {"include[]": LOGPROBS}
        got = await served.client.get(f"/v1/responses/{made['id']}", params=include)
    for response in (made, got.json()):
        part = response["output"][0]["content"][0]
        assert part["text"] == "Hello 漢"
        assert part["logprobs"] == TOKENS[:2]
        assert part["proxy:logprobs_left_out"] == 1


async def test_lists_of_messages_leave_them_out_and_an_export_keeps_them(mock: Database) -> None:
    async with before(mock, "chat") as served:
        made = await served.respond(**ASKED)
        conversation = f"/v1/chat/conversations/{made['conversation_id']}"
        listed = (await served.client.get(f"{conversation}/messages")).json()["messages"][-1]
        exported = (await served.client.get(f"{conversation}/export")).json()["messages"][-1]
    assert "logprobs" not in listed
    assert '"token":"Hel"' in exported["logprobs"]


async def test_an_edited_text_has_none_any_more(mock: Database) -> None:
    async with before(mock, "chat") as served:
        made = await served.respond(**ASKED)
        id_ = made["output"][0]["id"].removeprefix("msg_")
        edited = await served.client.put(f"/v1/chat/messages/{id_}", json={"content": "Hallo"})
        include = {"include[]": LOGPROBS}
        got = await served.client.get(f"/v1/responses/{made['id']}", params=include)
    assert edited.status_code == 200
    assert "logprobs" not in await stored_message(mock, int(id_))
    assert tokens_of(got.json()) == TOKENS


async def stored_message(database: Database, id_: int) -> Any:
    found = await database.database["conversations"].find_one({"messages.id": id_})
    return next(each for each in found["messages"] if each["id"] == id_)


async def test_who_goes_on_within_the_text_gets_the_rest(mock: Database) -> None:
    async with before(mock, "chat") as served:
        made = await served.respond(**ASKED)
        url = f"/v1/responses/{made['id']}?stream=true&include[]={LOGPROBS}"
        whole_stream = events_of((await served.client.get(url)).content)
        (delta,) = [e for e in whole_stream if e["type"] == "response.output_text.delta"]
        # The last unit of "Hello 漢" is the delta's number; two units of it are " 漢".
        after = delta["sequence_number"] - 2
        rest = events_of((await served.client.get(f"{url}&starting_after={after}")).content)
    assert text_in(rest) == " 漢"
    assert rest[0]["logprobs"] == TOKENS[2:]
    assert rest[1]["logprobs"] == TOKENS


async def test_each_stretch_of_text_has_its_own(mock: Database) -> None:
    async with before(mock, "chat") as served:
        upstream = served.upstream
        upstream.play(
            upstream.chunks(
                *(chunk({"reasoning_content": "Hm"}), told("Hello", *TOKENS[:2])),
                *(chunk({"reasoning_content": "So"}), told(" 漢", TOKENS[2]), upstream.end()),
            )
        )
        events = await stream_of(served, **ASKED)
    done = [e["logprobs"] for e in events if e["type"] == "response.output_text.done"]
    texts = [item for item in events[-1]["response"]["output"] if item["type"] == "message"]
    assert done == [item["content"][0]["logprobs"] for item in texts] == [TOKENS[:2], TOKENS[2:]]


async def test_an_import_refuses_what_is_none(mock: Database) -> None:
    async with before(mock, "chat") as served:
        made = await served.respond(**ASKED)
        conversation = f"/v1/chat/conversations/{made['conversation_id']}"
        file = (await served.client.get(f"{conversation}/export")).json()
        for wrong in ("[]", '{"groups":[[1,[{"token":1}]]],"left_out":0}', '{"groups":1}'):
            file["messages"][-1]["logprobs"] = wrong
            answer = await served.client.post("/v1/chat/conversations/import", json=file)
            assert answer.status_code == 422
            assert "logprobs" in answer.json()["detail"]
