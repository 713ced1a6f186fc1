"""Forks: a copy of a conversation that goes on another way."""

from typing import Any

import pytest

from proxy.database import Database
from tests.conftest import LiveServer
from tests.dialects.responses.conftest import Served


async def messages(served: Served, id_: str) -> list[Any]:
    answer = await served.client.get(f"/v1/chat/conversations/{id_}/messages")
    return list(answer.json()["messages"])


async def test_a_fork_has_the_messages_up_to_one_and_the_prompt(served: Served) -> None:
    served.upstream.play(*(served.upstream.reply(text) for text in ("one", "two", "three")))
    client = served.client
    made = (
        await client.post("/v1/chat/conversations", json={"system_prompt": "P", "name": "N"})
    ).json()["conversation_id"]
    for text in ("1", "2"):
        await served.respond(input=text, conversation=made)
    before = await messages(served, made)
    answer = await client.post(
        f"/v1/chat/conversations/{made}/fork", json={"message_id": before[2]["id"]}
    )
    assert answer.status_code == 200, answer.text
    forked = answer.json()["conversation_id"]
    copies = await messages(served, forked)
    assert [m["content"] for m in copies] == ["P", "1", "one"]
    assert not {m["id"] for m in copies} & {m["id"] for m in before}
    assert copies[2]["reply_to"] == copies[1]["id"]
    assert await messages(served, made) == before
    about = (await client.get(f"/v1/chat/conversations/{forked}")).json()
    assert about["forked_from"] == {"conversation_id": made, "message_id": before[2]["id"]}
    assert (about["name"], about["system_prompt"]) == ("N", "P")
    await served.respond(input="other", conversation=forked)
    assert [m["content"] for m in served.sent] == ["P", "1", "one", "other"]


async def test_a_message_of_another_conversation_is_not_found(served: Served) -> None:
    served.upstream.play(served.upstream.reply("one"))
    made = await served.respond(input="1")
    other = (await served.client.post("/v1/chat/conversations")).json()["conversation_id"]
    number = int(made["id"].split("_")[1])
    for id_, message_id in ((other, number), (made["conversation_id"], 987654321)):
        answer = await served.client.post(
            f"/v1/chat/conversations/{id_}/fork", json={"message_id": message_id}
        )
        assert answer.status_code == 404


async def test_a_former_writing_goes_on_with_what_it_said(served: Served) -> None:
    served.upstream.play(*(served.upstream.reply(text) for text in ("one", "again", "next")))
    first = await served.respond(input="1")
    number = first["id"].split("_")[1]
    await served.client.post(f"/v1/chat/messages/{number}/regenerate", json={})
    await served.respond(input="2", previous_response_id=first["id"])
    assert [m["content"] for m in served.sent] == ["1", "one", "2"]
    former = (await served.client.get(f"/v1/responses/{first['id']}")).json()
    assert former["output"][0]["content"][0]["text"] == "one"
    present = (await served.client.get(f"/v1/responses/resp_{number}_1")).json()
    assert present["output"][0]["content"][0]["text"] == "again"


@pytest.mark.parametrize("key", [None, "a-key"])
async def test_a_repeated_call_joins_its_fork(served: Served, key: str | None) -> None:
    served.upstream.play(*(served.upstream.reply(text) for text in ("one", "two", "other")))
    first = await served.respond(input="1")
    await served.respond(input="2", previous_response_id=first["id"])
    body = {"model": "test-model", "input": "2b", "previous_response_id": first["id"]}
    headers = [{"Idempotency-Key": key} if key else {"x-stainless-retry-count": n} for n in "01"]
    answers = [
        (await served.client.post("/v1/responses", json=body, headers=each)).json()
        for each in headers
    ]
    assert answers[0] == answers[1]
    assert len(served.upstream.requests) == 3


async def test_an_sdks_own_retry_joins_and_a_deliberate_repetition_does_not(
    served: Served,
) -> None:
    served.upstream.play(served.upstream.status(500), served.upstream.reply("one"))
    body = {"model": "test-model", "input": "1"}
    ids = []
    for count in ("0", "1", "2", "0"):
        answer = await served.client.post(
            "/v1/responses", json=body, headers={"x-stainless-retry-count": count}
        )
        ids.append(answer.json().get("id"))
    # The first failed with nothing said: the retry is a new try, the next one joins that.
    assert ids[0] is None
    assert ids[1] == ids[2] != ids[3]
    assert len(served.upstream.requests) == 3


async def test_the_same_key_makes_one_conversation(served: Served) -> None:
    served.upstream.play(served.upstream.reply("one"))
    body = {"model": "test-model", "input": "1"}
    headers = {"Idempotency-Key": "k1"}
    answers = [
        (await served.client.post("/v1/responses", json=body, headers=headers)).json()
        for _ in range(3)
    ]
    assert len({each["id"] for each in answers}) == 1
    assert len(served.upstream.requests) == 1
    reused = await served.client.post("/v1/responses", json={**body, "input": "2"}, headers=headers)
    assert reused.json()["error"]["code"] == "idempotency_key_reused"


async def test_a_too_long_history_is_refused_unless_it_may_be_cut(
    live: LiveServer, wire: Database, served: Served
) -> None:
    served.upstream.play(served.upstream.reply("one"))
    settings = {"openai_base_url": served.upstream.base_url, "openai_api_key": "k"}
    async with live(context_tokens=256, **settings) as client:
        body: dict[str, Any] = {"model": "test-model", "input": "word " * 180}
        first = (await client.post("/v1/responses", json=body)).json()
        body["previous_response_id"] = first["id"]
        refused = await client.post("/v1/responses", json=body)
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "context_length_exceeded"
        cut = await client.post("/v1/responses", json={**body, "truncation": "auto"})
        assert cut.status_code == 200
