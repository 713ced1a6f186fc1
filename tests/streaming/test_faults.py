"""The fault matrix: what the client saw and what is stored, for both protocols."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from proxy.app import create_app
from proxy.database import connect
from proxy.providers.openai import OpenAIProvider
from proxy.providers.poe import PoeProvider
from tests.conftest import make_settings, serving
from tests.fakes.faults import CHARACTER, FaultyUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.poe_upstream import PoeUpstream
from tests.fakes.scripted import Script, unused_url
from tests.support import providers as support
from tests.support.clients import client_at
from tests.support.completions import PATH, call, chunks, said
from tests.support.replies import create, history, provider, say, stored, streaming

pytestmark = pytest.mark.asyncio(loop_scope="module")

READ_TIMEOUT_SECONDS = 0.5


@dataclass
class Side:
    """An upstream and a client of a live server that asks it.

    Model `impatient/…` has a short read time-out, behind `dead/…` nothing listens.
    """

    upstream: FaultyUpstream
    client: httpx.AsyncClient


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[OpenAIUpstream, PoeUpstream], ids=["openai", "poe"]
)
async def side(
    request: pytest.FixtureRequest, wire_uri: str, engine_database_name: str
) -> AsyncIterator[Side]:
    """One live server for all cells of a protocol."""
    async with request.param() as upstream:
        kind = PoeProvider if isinstance(upstream, PoeUpstream) else OpenAIProvider
        impatient = provider(upstream, read_timeout_seconds=READ_TIMEOUT_SECONDS)
        impatient.name = "impatient"
        dead = kind(support.settings(), name="dead", base_url=unused_url())
        database = connect(wire_uri, engine_database_name)
        with pytest.MonkeyPatch.context() as environment:
            environment.delenv("PROXY_API_KEYS", raising=False)
            app = create_app(
                make_settings(),
                database=database,
                providers=[provider(upstream), impatient, dead],
            )
        async with serving(app) as url, client_at(url, timeout=30) as client:
            yield Side(upstream, client)
        database.close()


@dataclass
class Cell:
    """One fault and what comes of it.

    `http` is the answer to a turn that is not streamed, and to a streamed one where the
    upstream `refused` before it accepted.
    """

    script: Callable[[FaultyUpstream], Script]
    http: int
    status: str = "failed"
    error: str | None = None
    text: str = ""
    refused: bool = False
    retry_after: str | None = None
    model: str = "test-model"


CELLS = {
    "refused connection": Cell(
        lambda u: u.reply(),
        502,
        error="upstream_unreachable",
        refused=True,
        model="dead/test-model",
    ),
    "401": Cell(lambda u: u.status(401), 502, error="upstream_authentication_error", refused=True),
    "402": Cell(lambda u: u.status(402), 402, error="insufficient_quota", refused=True),
    "404 model": Cell(lambda u: u.status(404), 404, error="model_not_found", refused=True),
    "429": Cell(lambda u: u.status(429), 429, error="rate_limit_error", refused=True),
    "429 with Retry-After": Cell(
        lambda u: u.status(429, retry_after="7"),
        429,
        error="rate_limit_error",
        refused=True,
        retry_after="7",
    ),
    "500 HTML body": Cell(lambda u: u.html_error(), 502, error="upstream_error", refused=True),
    "200 with a body that is no stream": Cell(
        lambda u: u.not_a_stream(), 502, error="upstream_protocol_error", refused=True
    ),
    "cut before the head": Cell(
        lambda u: u.cut_before_the_head(), 502, error="upstream_unreachable", refused=True
    ),
    "cut before the first token": Cell(
        lambda u: u.cut_before_the_first_token(), 502, error="upstream_unreachable"
    ),
    "cut mid-stream": Cell(
        lambda u: u.cut_after("Hel", "lo"), 502, error="upstream_unreachable", text="Hello"
    ),
    "reset mid-stream": Cell(
        lambda u: u.reset_after("Hel", "lo"), 502, error="upstream_unreachable", text="Hello"
    ),
    "stall before the head": Cell(
        lambda u: u.stall_before_the_head(),
        504,
        error="upstream_timeout",
        refused=True,
        model="impatient/test-model",
    ),
    "stall longer than the read time-out": Cell(
        lambda u: u.stall_after("Hello"),
        504,
        error="upstream_timeout",
        text="Hello",
        model="impatient/test-model",
    ),
    "end without finish": Cell(
        lambda u: u.ends_without_finish("Hel", "lo"),
        200,
        status="truncated",
        error="truncated",
        text="Hello",
    ),
    "malformed JSON frame": Cell(
        lambda u: u.bad_json_after("Hel", "lo"), 200, status="complete", text="Hello"
    ),
    "error frame mid-stream": Cell(
        lambda u: u.error_after("Hel", "lo"), 502, error="upstream_error", text="Hello"
    ),
    "frame split inside a character": Cell(
        lambda u: u.split_inside_a_character(), 200, status="complete", text=CHARACTER
    ),
    "U+2028 in content": Cell(
        lambda u: u.line_separators(), 200, status="complete", text="a\u2028b\u2029c\u0085d"
    ),
    "empty reply": Cell(lambda u: u.empty_reply(), 200, status="complete"),
    "1 MB single delta": Cell(
        lambda u: u.one_large_delta(), 200, status="complete", text="x" * 1024 * 1024
    ),
    # Fifty thousand are read in tests/providers, and passed on in the test of the relay.
    "5,000 tiny deltas": Cell(
        lambda u: u.many_deltas(5_000),
        200,
        status="complete",
        text="".join(f"{i} " for i in range(5_000)),
    ),
}


def assert_stored(messages: list[dict[str, Any]], cell: Cell) -> None:
    """The conversation holds the user's message and the reply, and says how it ended."""
    user, reply = messages
    assert (user["role"], user["content"]) == ("user", "Hi")
    assert reply["content"] == cell.text
    assert reply["status"] == cell.status
    assert reply["reply_to"] == user["id"]
    assert reply["started_at"]
    assert reply["duration_ms"] >= 0
    assert reply["model"] == "test-model"
    assert reply["provider"] in ("openai", "poe", "impatient", "dead")
    assert reply["usage"]["provenance"] in ("reported", "estimated", "unknown")
    if cell.error is None:
        assert "error" not in reply
        assert reply["finish_reason"] == "stop"
    else:
        assert reply["error"]["type"] == cell.error
        assert "secret" not in str(reply)
    assert ("first_token_ms" in reply) == bool(cell.text)


@pytest.mark.parametrize("name", CELLS)
async def test_a_fault_in_a_stream(side: Side, name: str) -> None:
    cell, upstream, client = CELLS[name], side.upstream, side.client
    upstream.play(cell.script(upstream)).requests.clear()
    id_ = await create(client)
    async with streaming(client, id_, model=cell.model) as stream:
        if cell.refused:
            assert stream.status == cell.http
            body = stream.json()
            assert body["error"]["type"] == cell.error
            assert isinstance(body["detail"], str)
            assert "secret" not in stream.response.text
            assert stream.response.headers.get("retry-after") == cell.retry_after
        else:
            assert stream.status == 200
            first, *content, last = await stream.rest()
            assert first["conversation_id"] == id_
            assert "".join(frame["content"] for frame in content) == cell.text
            if cell.error is None:
                assert last == {"content": "", "finish_reason": "stop"}
            else:
                assert set(last) == {"error"}
                assert set(last["error"]) == {"message", "type", "code"}
                assert last["error"]["type"] == cell.error
                assert "secret" not in str(last)
    assert_stored(await history(client, id_), cell)
    assert len(upstream.requests) == (0 if cell.model.startswith("dead") else 1)


@pytest.mark.parametrize("name", CELLS)
async def test_a_fault_in_a_turn_that_is_not_streamed(side: Side, name: str) -> None:
    cell, upstream, client = CELLS[name], side.upstream, side.client
    upstream.play(cell.script(upstream)).requests.clear()
    id_ = await create(client)
    response = await say(client, id_, model=cell.model)
    body = response.json()
    assert response.status_code == cell.http, body
    assert "secret" not in response.text
    assert response.headers.get("retry-after") == cell.retry_after
    messages = await history(client, id_)
    assert_stored(messages, cell)
    assert (body["user_message_id"], body["assistant_message_id"]) == (
        messages[0]["id"],
        messages[1]["id"],
    )
    assert body["conversation_id"] == id_
    if cell.http == 200:
        assert body["reply"] == cell.text
        assert body["status"] == cell.status
    else:
        assert body["error"]["type"] == cell.error
    assert len(upstream.requests) == (0 if cell.model.startswith("dead") else 1)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", CELLS)
async def test_a_fault_in_a_completion_with_a_conversation(
    side: Side, name: str, stream: bool
) -> None:
    cell, upstream, client = CELLS[name], side.upstream, side.client
    upstream.play(cell.script(upstream)).requests.clear()
    id_ = await create(client)
    body = call("Hi", cell.model, conversation=id_, stream=stream)
    response = await client.post(PATH, json=body)
    assert "secret" not in response.text
    assert response.headers.get("retry-after") == cell.retry_after
    messages = await history(client, id_)
    assert_stored(messages, cell)
    if stream and not cell.refused:
        assert response.status_code == 200
        frames = chunks(response)
        told = frames[0]
        assert said(frames) == cell.text
        if cell.error is None:
            assert frames[-1]["choices"][0]["finish_reason"] == "stop"
        else:
            assert frames[-1]["error"]["type"] == cell.error
    else:
        # OpenAI's clients do not look at a `status`: what is cut short is an error for them.
        assert response.status_code == (502 if cell.status == "truncated" else cell.http)
        told = response.json()
        if response.status_code == 200:
            assert told["choices"][0]["message"]["content"] == cell.text
        else:
            assert told["error"]["type"] == cell.error
    assert (told["user_message_id"], told["assistant_message_id"]) == (
        messages[0]["id"],
        messages[1]["id"],
    )
    assert len(upstream.requests) == (0 if cell.model.startswith("dead") else 1)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", CELLS)
async def test_a_fault_in_a_completion_without_a_conversation(
    side: Side, name: str, stream: bool
) -> None:
    cell, upstream, client = CELLS[name], side.upstream, side.client
    upstream.play(cell.script(upstream)).requests.clear()
    response = await client.post(PATH, json=call("Hi", cell.model, stream=stream))
    assert response.headers.get("retry-after") == cell.retry_after
    if stream and (cell.text or cell.error is None):
        assert response.status_code == 200
        assert response.text.rstrip().endswith("data: [DONE]")
        # What is relayed is the upstream's own bytes, a broken frame among them.
        frames = list(filter(None, map(as_json, response.text.split("\n\n"))))
        assert said(frames) == cell.text
        assert [f["error"]["type"] for f in frames if "error" in f] == (
            [cell.error] if cell.error else []
        )
    elif cell.status == "complete":
        assert response.status_code == 200
        assert response.json()["choices"][0]["message"]["content"] == cell.text
    else:
        assert response.status_code == (502 if cell.status == "truncated" else cell.http)
        assert response.json()["error"]["type"] == cell.error
        assert "secret" not in response.text
    assert len(upstream.requests) == (0 if cell.model.startswith("dead") else 1)


def as_json(block: str) -> Any:
    """The JSON of a frame; None of `[DONE]` and of a broken one."""
    try:
        return json.loads(block.strip().removeprefix("data: "))
    except ValueError:
        return None


async def test_the_next_turn_works_after_a_failed_one(side: Side) -> None:
    upstream, client = side.upstream, side.client
    upstream.play(upstream.cut_after("Hel"), upstream.reply("Hello"))
    id_ = await create(client)
    assert (await say(client, id_)).status_code == 502
    again = await say(client, id_, "again")
    assert again.json()["reply"] == "Hello"
    assert [m["status"] for m in await history(client, id_)] == [
        "complete",
        "failed",
        "complete",
        "complete",
    ]


async def test_the_message_is_stored_before_the_provider_is_asked(side: Side) -> None:
    upstream, client = side.upstream, side.client
    upstream.requests.clear()
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "a", "b"))
    id_ = await create(client)
    turn = asyncio.create_task(say(client, id_))
    await upstream.wait_for_requests(1)
    user, reply = await history(client, id_)
    assert user["content"] == "Hi"
    assert (reply["status"], reply["content"]) == ("streaming", "")
    assert not {"worker", "attempt"} & set(reply)
    go_on.set()
    done = (await turn).json()
    assert (await stored(client, done["assistant_message_id"]))["content"] == "ab"
