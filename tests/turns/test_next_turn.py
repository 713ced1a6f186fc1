"""The next turn of a conversation that holds something odd, behind strict upstreams."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import LiveServer
from tests.fakes.openai_upstream import chunk
from tests.fakes.scripted import Script
from tests.fakes.strict_upstream import Kind, StrictUpstream
from tests.support.completions import PATH, call
from tests.support.replies import MESSAGES, create, history, provider, say

DONE = b"data: [DONE]\n\n"
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


class Upstream(StrictUpstream):
    """Strict, and plays one script first."""

    first: Script | None = None

    def answer_to(self, request: Any) -> Script:
        script, self.first = self.first, None
        return script or super().answer_to(request)


@pytest.fixture(params=["openai", "deepseek", "anthropic", "template"])
async def strict(request: pytest.FixtureRequest) -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        kind: Kind = request.param
        server.kind = kind
        yield server


def tool_call(server: Upstream, **more: Any) -> Script:
    fragment = {
        "index": 0,
        "id": "a",
        "type": "function",
        "function": {"name": "weather", "arguments": "{}"},
        **more,
    }
    return server.chunks(
        # OpenAI itself tells no reasoning.
        chunk({} if server.kind == "openai" else {"reasoning_content": "Hm"}),
        chunk({"tool_calls": [fragment]}),
        chunk(finish_reason="tool_calls") + DONE,
    )


@pytest.mark.parametrize("has_result", [False, True])
async def test_a_tool_call_with_and_without_its_result(
    live: LiveServer, strict: Upstream, has_result: bool
) -> None:
    extra = {} if strict.kind == "openai" else {"extra_content": {"google": {"sig": "S=="}}}
    strict.first = tool_call(strict, **extra)
    async with live(providers=[provider(strict)]) as client:
        id_ = await create(client)
        first = await client.post(PATH, json=call("Weather?", conversation=id_, tools=TOOLS))
        copy = first.json()["choices"][0]["message"]
        result = {"role": "tool", "tool_call_id": "a", "content": "21"}
        new = [copy, result] if has_result else [{"role": "user", "content": "Well?"}]
        answer = await client.post(
            PATH, json={"model": "test-model", "conversation": id_, "messages": new}
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"] == "ok"
        (sent,) = [m for m in strict.requests[-1].json["messages"] if m.get("tool_calls")]
        assert sent.get("reasoning_content") == (None if strict.kind == "openai" else "Hm")
        assert sent["tool_calls"][0].get("extra_content") == extra.get("extra_content")
        assert (await say(client, id_, "and now?")).status_code == 200


async def test_two_questions_in_a_row_after_a_failed_turn(
    live: LiveServer, strict: Upstream
) -> None:
    strict.first = strict.status(500)
    async with live(providers=[provider(strict)]) as client:
        id_ = await create(client, system_prompt="Be brief")
        assert (await say(client, id_, "one")).status_code == 502
        assert (await say(client, id_, "two")).json()["reply"] == "ok"


async def test_an_edited_picture_stays_in_the_prompt(live: LiveServer, strict: Upstream) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    question = {"role": "user", "content": [{"type": "text", "text": "What?"}, picture]}
    async with live(providers=[provider(strict)]) as client:
        id_ = await create(client)
        body = {"model": "test-model", "conversation": id_, "messages": [question]}
        assert (await client.post(PATH, json=body)).status_code == 200
        asked, _ = await history(client, id_)
        edited = await client.put(f"{MESSAGES}/{asked['id']}", json={"content": "And this?"})
        assert edited.status_code == 200
        assert (await say(client, id_, "again")).status_code == 200
        assert strict.requests[-1].json["messages"][0]["content"] == [
            {"type": "text", "text": "And this?"},
            picture,
        ]
        assert (await history(client, id_))[0]["content"] == "And this?"


async def test_a_regeneration_uses_what_the_first_reply_had(
    live: LiveServer, strict: Upstream
) -> None:
    async with live(providers=[provider(strict)]) as client:
        id_ = await create(client)
        messages = [{"role": "system", "content": "Formal"}, {"role": "user", "content": "Hi"}]
        body = {"model": "test-model", "conversation": id_, "messages": messages}
        await client.post(PATH, json={**body, "tools": TOOLS, "temperature": 0.5})
        _, reply = await history(client, id_)
        assert "request" not in reply
        again = await client.post(f"{MESSAGES}/{reply['id']}/regenerate", json={})
        assert again.status_code == 200, again.text
        first, second = (request.json for request in strict.requests)
        assert second == first


@pytest.mark.parametrize("count", ["0", "1"])
async def test_the_sdks_own_repetition_joins_the_turn(
    live: LiveServer, strict: Upstream, count: str
) -> None:
    async with live(providers=[provider(strict)]) as client:
        id_ = await create(client)
        body = call("Hi", conversation=id_)
        first = await client.post(PATH, json=body, headers={"x-stainless-retry-count": "0"})
        again = await client.post(PATH, json=body, headers={"x-stainless-retry-count": count})
        other = await client.post(
            PATH, json=call("Ho", conversation=id_), headers={"x-stainless-retry-count": count}
        )
        is_same = again.json()["assistant_message_id"] == first.json()["assistant_message_id"]
        assert is_same == (count == "1")
        assert other.json()["assistant_message_id"] > first.json()["assistant_message_id"]
        assert len(strict.requests) == (2 if is_same else 3)


@pytest.mark.parametrize("count", ["0", "1"])
async def test_a_message_that_an_sdk_sends_again_by_itself_is_one_turn(
    live: LiveServer, strict: Upstream, count: str
) -> None:
    async with live(providers=[provider(strict)]) as client:
        path = f"/v1/chat/conversations/{await create(client)}/messages"

        async def send(content: str, count: str) -> Any:
            headers = {"x-stainless-retry-count": count}
            return (await client.post(path, json={"content": content}, headers=headers)).json()

        first, again, other = await send("Hi", "0"), await send("Hi", count), await send("Ho", "1")
        is_same = again["assistant_message_id"] == first["assistant_message_id"]
        assert is_same == (count == "1")
        assert again["reply"] == first["reply"] == "ok"
        assert other["assistant_message_id"] > again["assistant_message_id"]


async def test_the_sdks_repetition_of_a_failed_call_is_a_new_try(
    live: LiveServer, strict: Upstream
) -> None:
    strict.first = strict.status(500)
    async with live(providers=[provider(strict)]) as client:
        id_ = await create(client)
        body = call("Hi", conversation=id_)
        first = await client.post(PATH, json=body, headers={"x-stainless-retry-count": "0"})
        assert first.status_code == 502
        again = await client.post(PATH, json=body, headers={"x-stainless-retry-count": "1"})
        assert again.json()["choices"][0]["message"]["content"] == "ok"
        assert [m["content"] for m in await history(client, id_)] == ["Hi", "ok"]
