"""A client that stores its history itself, and a key that lets the server keep it, too."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from proxy.database import Database
from proxy.dialects.responses.threads import not_kept_yet, thread_of
from proxy.documents.chat_message import ChatMessage
from tests.conftest import client_of, make_settings, running_app
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.chat_replies import called

ADMIN = "sk-admin-0123456789"
CODEX = {"thread-id": "t-1", "session-id": "s-1"}


@pytest.fixture
async def client(mock: Database, upstream: OpenAIUpstream) -> AsyncIterator[httpx.AsyncClient]:
    settings = make_settings(openai_base_url=upstream.base_url, openai_api_key="k", api_keys=ADMIN)
    async with running_app(mock, settings) as app, client_of(app) as client:
        client.headers["authorization"] = f"Bearer {ADMIN}"
        yield client


async def key_of(client: httpx.AsyncClient, **fields: Any) -> dict[str, str]:
    made = (await client.post("/v1/keys", json={"name": "codex", **fields})).json()
    assert made["remember_unstored"] is fields.get("remember_unstored", False)
    return {"authorization": f"Bearer {made['key']}"}


async def ask(client: httpx.AsyncClient, headers: dict[str, str], history: list[Any]) -> list[Any]:
    """One call as Codex makes it; the items of its answer."""
    body = {"model": "test-model", "input": history, "store": False, "instructions": "Agent."}
    answer = await client.post("/v1/responses", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["output"])


async def kept(client: httpx.AsyncClient, headers: dict[str, str]) -> list[list[str]]:
    """The texts of every conversation."""
    found = (await client.get("/v1/chat/conversations", headers=headers)).json()
    rows = found if isinstance(found, list) else found["conversations"]
    texts = []
    for row in rows:
        where = f"/v1/chat/conversations/{row.get('id') or row['conversation_id']}/messages"
        messages = (await client.get(where, headers=headers)).json()["messages"]
        texts.append([f"{m['role']}: {m['content']}" for m in messages])
    return texts


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


async def test_a_thread_is_one_conversation(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    headers = {**await key_of(client, remember_unstored=True), **CODEX}
    upstream.play(
        called(upstream, "shell", [("c1", "{}")]), upstream.reply("Made"), upstream.reply("Again")
    )
    history: list[Any] = [user("context"), user("Make it")]
    history += await ask(client, headers, history)
    history.append({"type": "function_call_output", "call_id": "c1", "output": "ok"})
    history += await ask(client, headers, history)
    history.append(user("Make it"))
    history += await ask(client, headers, history)
    assert await kept(client, headers) == [
        [
            "user: context",
            "user: Make it",
            "assistant: ",
            "tool: ok",
            "assistant: Made",
            "user: Make it",
            "assistant: Again",
        ]
    ]
    # What the model saw is what the client sent.
    assert [m["role"] for m in upstream.requests[2].json["messages"]] == [
        *("system", "user", "assistant", "tool", "assistant", "user")
    ]


async def test_a_history_that_was_summed_up_goes_on(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    headers = {**await key_of(client, remember_unstored=True), **CODEX}
    upstream.play(upstream.reply("One"), upstream.reply("Two"))
    first = [user("context"), user("a")]
    await ask(client, headers, first)
    await ask(client, headers, [user("context"), user("Summary: a was done"), user("b")])
    assert await kept(client, headers) == [
        [
            "user: context",
            "user: a",
            "assistant: One",
            "user: Summary: a was done",
            "user: b",
            "assistant: Two",
        ]
    ]
    assert "One" not in str(upstream.requests[1].json)


async def test_a_call_that_is_sent_again_stores_its_reply_alone(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    headers = {**await key_of(client, remember_unstored=True), **CODEX}
    upstream.play(upstream.reply("One"), upstream.reply("Two"))
    for _ in range(2):
        await ask(client, headers, [user("a")])
    assert await kept(client, headers) == [["user: a", "assistant: One", "assistant: Two"]]


@pytest.mark.parametrize(
    ("remember", "headers"), [(False, CODEX), (True, {}), (True, {"thread-id": "x" * 201})]
)
async def test_nothing_is_kept_without_both_a_key_and_a_thread(
    client: httpx.AsyncClient, upstream: OpenAIUpstream, remember: bool, headers: dict[str, str]
) -> None:
    key = await key_of(client, remember_unstored=remember)
    upstream.play(upstream.reply("One"))
    await ask(client, {**key, **headers}, [user("a")])
    assert await kept(client, key) == []


async def test_threads_and_owners_are_apart(
    client: httpx.AsyncClient, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.reply("One"))
    mine = await key_of(client, remember_unstored=True)
    other = await key_of(client, remember_unstored=True, owner="other", name="other")
    for key in (mine, other):
        await ask(client, {**key, **CODEX}, [user("a")])
    await ask(client, {**mine, **CODEX, "thread-id": "t-2"}, [user("b")])
    assert sorted(await kept(client, mine)) == [
        ["user: a", "assistant: One"],
        ["user: b", "assistant: One"],
    ]
    assert await kept(client, other) == [["user: a", "assistant: One"]]


def test_an_agent_below_a_session_has_its_own_thread() -> None:
    assert thread_of({"thread-id": "t", "session-id": "s"}) == "t"
    assert thread_of({"session_id": "s"}) == "s"
    assert thread_of({}) == ""


def test_the_same_words_again_are_new() -> None:
    stored: Any = [{"role": "user", "content": "yes"}, {"role": "assistant", "content": "ok"}]
    yes = ChatMessage("user", "yes")
    sent = [yes, ChatMessage("assistant", "ok"), yes]
    assert not_kept_yet(sent, stored) == [yes]
    assert not_kept_yet(sent[:2], stored) == []
