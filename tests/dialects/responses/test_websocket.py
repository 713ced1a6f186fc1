"""Responses over a WebSocket, by the `websockets` library as a client of a live server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import openai
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Opcode

from proxy.database import Database
from proxy.documents.api_key import ApiKey
from proxy.web.protocol import protocol_of
from tests.conftest import make_settings, running_app
from tests.fakes.live import serve
from tests.fakes.openai_upstream import OpenAIUpstream, chunk
from tests.fakes.responses_upstream import ResponsesUpstream, message
from tests.fakes.scripted import head, script, wait
from tests.support.clients import client_at
from tests.support.keys import ADMIN, bearer, make_key

ENDS = {"response.completed", "response.incomplete", "response.failed", "error"}


@dataclass
class Server:
    """A live server; `app` is its application."""

    app: Any
    url: str

    def connect(self, key: str = "", path: str = "/v1/responses", **options: Any) -> connect:
        headers = {**(bearer(key) if key else {}), **options.pop("headers", {})}
        address = "ws" + self.url.removeprefix("http") + path
        return connect(address, additional_headers=headers, proxy=None, **options)

    def client(self, **options: Any) -> httpx.AsyncClient:
        return client_at(self.url, **options)


@asynccontextmanager
async def served(database: Database, **fields: Any) -> AsyncIterator[Server]:
    settings = make_settings(**fields)
    async with (
        running_app(database, settings) as app,
        serve(app, http=protocol_of(settings), ws="none") as url,
    ):
        yield Server(app, url)


Live = Callable[..., AbstractAsyncContextManager[Server]]


@pytest.fixture
def live(mock: Database) -> Live:
    """`async with live(**settings) as server`."""
    return partial(served, mock)


def before(upstream: OpenAIUpstream, **fields: Any) -> dict[str, Any]:
    return {"openai_base_url": upstream.base_url, "openai_api_key": "k", **fields}


async def send(socket: ClientConnection, **body: Any) -> None:
    event = {"type": "response.create", "model": "test-model", **body}
    await socket.send(json.dumps(event))


async def events_until_end(socket: ClientConnection) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] not in ENDS:
        text = await socket.recv()
        assert isinstance(text, str)
        events.append(json.loads(text))
    return events


async def asked(socket: ClientConnection, **body: Any) -> dict[str, Any]:
    """The response to a message, or its error."""
    await send(socket, **body)
    last = (await events_until_end(socket))[-1]
    found: dict[str, Any] = last if last["type"] == "error" else last["response"]
    return found


def text_of(response: dict[str, Any]) -> str:
    text: str = response["output"][0]["content"][0]["text"]
    return text


# What is said


async def test_the_events_are_those_of_the_stream(live: Live, upstream: OpenAIUpstream) -> None:
    upstream.play(upstream.reply("Hello"))
    async with live(**before(upstream)) as server:
        async with server.connect() as socket:
            await send(socket, input="Hi")
            events = await events_until_end(socket)
        async with server.client() as client:
            stored = await client.get(f"/v1/responses/{events[-1]['response']['id']}")
    kinds = [event["type"] for event in events]
    assert kinds[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert kinds[-1] == "response.completed"
    assert [event["sequence_number"] for event in events] == sorted(
        event["sequence_number"] for event in events
    )
    assert stored.json() == events[-1]["response"]


async def test_a_stored_response_is_gone_on_from_on_any_connection(
    live: Live, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.reply("Hello"))
    async with live(**before(upstream)) as server:
        async with server.connect() as socket:
            first = await asked(socket, input="Hi")
        async with server.connect() as socket:
            second = await asked(socket, input="And?", previous_response_id=first["id"])
    assert second["previous_response_id"] == first["id"]
    assert second["conversation_id"] == first["conversation_id"]
    assert [each["content"] for each in upstream.requests[-1].json["messages"]] == [
        *("Hi", "Hello", "And?"),
    ]


async def test_what_nobody_keeps_is_gone_on_from_on_its_own_connection(
    live: Live, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.reply("Hello"))
    async with live(**before(upstream)) as server, server.connect() as socket:
        first = await asked(socket, input="Hi", store=False)
        second = await asked(socket, input="And?", store=False, previous_response_id=first["id"])
        third = await asked(
            socket, input=[{"role": "user", "content": "So?"}], previous_response_id=second["id"]
        )
        gone = await asked(socket, input="Hm", store=False, previous_response_id=first["id"])
        async with server.connect() as other:
            foreign = await asked(other, input="Hm", store=False, previous_response_id=second["id"])
    assert [second["previous_response_id"], third["previous_response_id"]] == [
        *(first["id"], second["id"]),
    ]
    assert [each["content"] for each in upstream.requests[2].json["messages"]] == [
        *("Hi", "Hello", "And?", "Hello", "So?"),
    ]
    assert len(upstream.requests) == 3
    for refused in (gone, foreign):
        assert refused["status"] == 404
        assert refused["error"]["code"] == "previous_response_not_found"
        assert refused["error"]["param"] == "previous_response_id"


async def test_a_call_of_a_tool_is_answered_with_its_result_alone(
    live: Live, upstream: OpenAIUpstream
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    calling = chunk({"tool_calls": [{"index": 0, **call}]}) + chunk(finish_reason="tool_calls")
    thought = chunk({"reasoning_content": "Hm"})
    upstream.play(
        upstream.chunks(thought, calling, b"data: [DONE]\n\n"), upstream.reply("It is here")
    )
    async with live(**before(upstream)) as server, server.connect() as socket:
        first = await asked(socket, input="Where?", store=False)
        result = {"type": "function_call_output", "call_id": "c1", "output": "here"}
        second = await asked(socket, input=[result], store=False, previous_response_id=first["id"])
    assert text_of(second) == "It is here"
    question, called, answer = upstream.requests[1].json["messages"]
    assert question["content"] == "Where?"
    assert called["tool_calls"] == [call]
    assert called["reasoning_content"] == "Hm"
    assert answer == {"role": "tool", "tool_call_id": "c1", "content": "here"}


async def test_a_failed_continuation_forgets_what_it_went_on_from(
    live: Live, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.reply("Hello"))
    async with live(**before(upstream)) as server, server.connect() as socket:
        first = await asked(socket, input="Hi", store=False)
        result = {"type": "function_call_output", "call_id": "nobody", "output": "here"}
        on = {"store": False, "previous_response_id": first["id"]}
        failed = await asked(socket, input=[result], **on)
        gone = await asked(socket, input="Hm", **on)
        fresh = await asked(socket, input="Hi", store=False)
    assert failed["error"]["param"] == "input"
    assert "'nobody'" in failed["error"]["message"]
    assert gone["error"]["code"] == "previous_response_not_found"
    assert text_of(fresh) == "Hello"


@pytest.mark.parametrize("store", [True, False])
async def test_a_warm_up_asks_no_model(live: Live, upstream: OpenAIUpstream, store: bool) -> None:
    upstream.play(upstream.reply("Hello"))
    async with live(**before(upstream)) as server, server.connect() as socket:
        await send(socket, input="Hi", store=store, generate=False, instructions="Be brief")
        events = await events_until_end(socket)
        assert upstream.requests == []
        warm = events[-1]["response"]
        made = await asked(socket, input="And?", store=store, previous_response_id=warm["id"])
    assert [event["type"] for event in events] == [
        *("response.created", "response.in_progress", "response.completed"),
    ]
    assert warm["output"] == []
    assert warm["instructions"] == "Be brief"
    assert warm["usage"]["total_tokens"] == 0
    assert text_of(made) == "Hello"
    shown = [each["content"] for each in upstream.requests[0].json["messages"]]
    assert "\n\n".join(shown) == "Hi\n\nAnd?"


async def test_a_native_upstream_is_gone_on_from_as_well(live: Live) -> None:
    async with ResponsesUpstream() as upstream:
        upstream.play(upstream.respond(message("Hello")))
        models = {"test-model": {"route": ["openai/test-model"], "responses": "native"}}
        async with live(**before(upstream, models=models)) as server, server.connect() as socket:
            first = await asked(socket, input="Hi", store=False)
            second = await asked(
                socket, input="And?", store=False, previous_response_id=first["id"]
            )
    assert second["previous_response_id"] == first["id"]
    body = upstream.requests[1].json
    assert body.get("previous_response_id") is None
    assert [item["role"] for item in body["input"]] == ["user", "assistant", "user"]
    assert "id" not in body["input"][1]


async def test_what_an_upstream_does_not_get_is_named(live: Live, upstream: OpenAIUpstream) -> None:
    upstream.play(upstream.reply("Hello"))
    async with live(**before(upstream)) as server, server.connect() as socket:
        made = await asked(socket, input="Hi", tools=[{"type": "web_search"}])
    assert made["proxy:ignored"] == ["web_search"]


async def test_two_messages_at_once_are_answered_one_after_the_other(
    live: Live, upstream: OpenAIUpstream
) -> None:
    go_on = asyncio.Event()
    upstream.play(upstream.reply_when(go_on, "One"), upstream.reply("Two"))
    async with live(**before(upstream)) as server, server.connect() as socket:
        await send(socket, input="1")
        await send(socket, input="2")
        go_on.set()
        first, second = await events_until_end(socket), await events_until_end(socket)
    assert [text_of(each[-1]["response"]) for each in (first, second)] == ["One", "Two"]
    assert {event["response"]["id"] for event in first if "response" in event} == {
        first[-1]["response"]["id"]
    }


async def test_more_than_may_wait_is_refused(live: Live, upstream: OpenAIUpstream) -> None:
    go_on = asyncio.Event()
    upstream.play(script(head(), chunk({"content": "One"}), wait(go_on), upstream.end()))
    fields = before(upstream, pipelined_requests=1)
    async with live(**fields) as server, server.connect() as socket:
        await send(socket, input="1")
        while json.loads(await socket.recv())["type"] != "response.output_text.delta":
            pass
        await send(socket, input="2")
        await send(socket, input="3")
        refused = (await events_until_end(socket))[-1]
        go_on.set()
        for _ in range(2):
            assert (await events_until_end(socket))[-1]["type"] == "response.completed"
    assert refused["status"] == 429
    assert refused["error"]["code"] == "rate_limit_exceeded"


# What is wrong


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b'{"type": "response.create"}', "invalid_message"),
        ("{", "invalid_json"),
        ("[]", "invalid_message"),
        ('{"type": "response.steer"}', "unknown_event"),
        ('{"input": "Hi"}', "unknown_event"),
        ('{"type": "response.create", "input": "Hi", "background": true}', "invalid_value"),
        ('{"type": "response.create", "input": 1}', "invalid_value"),
        ('{"type": "response.create", "input": "Hi", "previous_response_id": 7}', "invalid_value"),
    ],
)
async def test_a_wrong_message_is_an_error_and_the_connection_stays(
    live: Live, sent: str | bytes, code: str
) -> None:
    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.reply("Hello"))
        async with live(**before(upstream)) as server, server.connect() as socket:
            await socket.send(sent)
            (event,) = await events_until_end(socket)
            assert event["type"] == "error"
            assert event["status"] == 400
            assert event["error"]["code"] == code
            assert event["error"]["message"]
            assert text_of(await asked(socket, input="Hi")) == "Hello"


async def test_a_failure_of_the_provider_is_an_error(live: Live, upstream: OpenAIUpstream) -> None:
    upstream.play(upstream.status(429))
    async with live(**before(upstream)) as server, server.connect() as socket:
        failed = await asked(socket, input="Hi")
    assert failed["status"] == 429
    assert failed["error"]["type"] == "rate_limit_error"


async def test_a_reply_that_breaks_is_a_failed_response(
    live: Live, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.cut_after("Hel"))
    async with live(**before(upstream)) as server, server.connect() as socket:
        failed = await asked(socket, input="Hi")
    assert failed["status"] == "failed"
    assert text_of(failed) == "Hel"


async def test_a_message_that_is_too_long_closes_the_connection(live: Live) -> None:
    async with live(body_bytes=2000) as server, server.connect() as socket:
        await send(socket, input="x" * 2000)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_a_continuation_that_has_grown_too_long_is_an_error(
    live: Live, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.reply("Hello"))
    async with live(**before(upstream, body_bytes=2000)) as server, server.connect() as socket:
        first = await asked(socket, input="x" * 1200, store=False)
        failed = await asked(
            socket, input="x" * 1200, store=False, previous_response_id=first["id"]
        )
    assert failed["status"] == 413


# Who may come in


@pytest.mark.parametrize(
    ("key", "headers", "status", "code"),
    [
        ("", {}, 401, None),
        ("wrong", {}, 401, "invalid_api_key"),
        (ADMIN, {"Origin": "https://evil.example"}, 403, "foreign_origin"),
        (ADMIN, {"Cookie": "a=" + "b" * 9000}, 431, None),
    ],
)
async def test_a_handshake_is_refused_as_a_request_is(
    live: Live, key: str, headers: dict[str, str], status: int, code: str | None
) -> None:
    async with live(api_keys=[ADMIN]) as server:
        with pytest.raises(InvalidStatus) as refused:
            await server.connect(key, headers=headers)
    response = refused.value.response
    assert response.status_code == status
    error = json.loads(response.body or b"")["error"]
    assert error["code"] == code
    assert response.headers["x-request-id"].startswith("req_")


async def test_a_page_of_another_origin_opens_none_without_keys(live: Live) -> None:
    async with live() as server:
        with pytest.raises(InvalidStatus) as refused:
            await server.connect(headers={"Origin": "https://evil.example"})
        assert refused.value.response.status_code == 403
        async with server.connect(headers={"Origin": "http://localhost:5173"}) as socket:
            assert (await asked(socket, input="Hi", model="echo"))["status"] == "completed"


async def test_a_listed_page_opens_one(live: Live) -> None:
    page = "https://chat.example"
    async with (
        live(api_keys=[ADMIN], cors_origins=[page]) as server,
        server.connect(ADMIN, headers={"Origin": page}) as socket,
    ):
        assert (await asked(socket, input="Hi", model="echo"))["status"] == "completed"


async def test_another_owners_response_is_not_found(live: Live) -> None:
    async with live(api_keys=[ADMIN]) as server:
        mine, theirs = await make_key("ann"), await make_key("bob")
        async with server.connect(mine) as socket:
            made = await asked(socket, input="Hi", model="echo")
        async with server.connect(theirs) as socket:
            failed = await asked(socket, input="Hi", model="echo", previous_response_id=made["id"])
    assert failed["error"]["code"] == "previous_response_not_found"


async def test_a_revoked_key_ends_its_connection(live: Live) -> None:
    async with live(api_keys=[ADMIN]) as server:
        key = await make_key("ann")
        async with server.connect(key) as socket:
            assert (await asked(socket, input="Hi", model="echo"))["status"] == "completed"
            stored = await ApiKey.find_one({"owner": "ann"})
            assert stored is not None
            await ApiKey.revoke("ann", stored.id)
            server.app.state.authenticator.forget()
            failed = await asked(socket, input="Hi", model="echo")
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
    assert failed["status"] == 401
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


async def test_every_message_counts_as_a_request(wire: Database) -> None:
    async with served(wire, api_keys=[ADMIN]) as server:
        key = await make_key("ann", requests_per_minute=2)
        async with server.connect(key) as socket:
            assert (await asked(socket, input="Hi", model="echo"))["status"] == "completed"
            failed = await asked(socket, input="Hi", model="echo")
    assert failed["status"] == 429


async def test_it_counts_as_a_connection_until_it_ends(live: Live) -> None:
    async with live(connections_per_address=1) as server:
        async with server.connect(), server.client() as another:
            # Not by `websockets`: on uvloop it takes an answer that comes before its question for
            # a mistake of its own.
            assert (await another.get("/livez")).status_code == 503
        async with server.connect() as socket:
            assert (await asked(socket, input="Hi", model="echo"))["status"] == "completed"


async def test_messages_and_their_connection_are_logged(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "proxy.access")
    async with live(access_log=True) as server, server.connect() as socket:
        assert socket.response is not None
        assert socket.response.headers["x-request-id"].startswith("req_")
        await asked(socket, input="Hi", model="echo")
    said = [line.getMessage() for line in caplog.records if line.name == "proxy.access"]
    assert [line.split(" ")[:3] for line in said] == [
        ["POST", "/v1/responses", "200"],
        ["GET", "/v1/responses", "101"],
    ]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/", "/v1/responses/"])
async def test_nothing_else_is_a_websocket(live: Live, path: str) -> None:
    async with live() as server:
        with pytest.raises(InvalidStatus) as refused:
            await server.connect(path=path)
    assert refused.value.response.status_code in (200, 404, 405)


# How it ends


async def test_a_client_that_leaves_loses_no_stored_reply(
    live: Live, upstream: OpenAIUpstream
) -> None:
    go_on = asyncio.Event()
    hel, lo = upstream.text("Hel"), upstream.text("lo")
    upstream.play(script(head(), hel, wait(go_on), lo, upstream.end()))
    async with live(**before(upstream)) as server, server.client() as client:
        async with server.connect() as socket:
            await send(socket, input="Hi")
            id_ = json.loads(await socket.recv())["response"]["id"]
        go_on.set()
        async with client.stream("GET", f"/v1/responses/{id_}?stream=true") as stream:
            await stream.aread()
        stored = (await client.get(f"/v1/responses/{id_}")).json()
    assert stored["status"] == "completed"
    assert text_of(stored) == "Hello"


async def test_a_client_that_leaves_ends_what_nobody_keeps(
    live: Live, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.stall_after("Hel"))
    async with live(**before(upstream)) as server:
        async with server.connect() as socket:
            await send(socket, input="Hi", store=False)
            await socket.recv()
        await upstream.wait_for_abort()


async def test_an_old_connection_says_so_and_ends(live: Live) -> None:
    async with live(websocket_seconds=0.05) as server, server.connect() as socket:
        event = json.loads(await socket.recv())
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert event["error"]["code"] == "websocket_connection_limit_reached"
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000


async def test_an_idle_connection_ends(live: Live) -> None:
    async with live(websocket_idle_seconds=0.05) as server, server.connect() as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.reason == "no message came for 0.05 seconds"


class Pinged(ClientConnection):
    """A client that knows when it was pinged."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.pinged = asyncio.Event()

    def process_event(self, event: Any) -> None:
        if getattr(event, "opcode", None) is Opcode.PING:
            self.pinged.set()
        super().process_event(event)


async def test_a_quiet_connection_is_pinged_and_answers_pings(live: Live) -> None:
    async with (
        live(heartbeat_seconds=0.02) as server,
        server.connect(ping_interval=None, create_connection=Pinged) as socket,
    ):
        assert isinstance(socket, Pinged)
        await socket.pinged.wait()
        await (await socket.ping())


async def test_a_stopping_server_says_that_it_starts_again(live: Live) -> None:
    async with live() as server:
        socket = await server.connect()
        await asked(socket, input="Hi", model="echo")
    with pytest.raises(ConnectionClosed) as closed:
        await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012


async def test_openais_own_client_goes_on_from_response_to_response(
    live: Live, upstream: OpenAIUpstream
) -> None:
    upstream.play(upstream.reply("Hello"))
    async with live(**before(upstream, api_keys=[ADMIN])) as server:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=ADMIN)
        async with client.responses.connect() as connection:
            previous: str | None = None
            for text in ("Hi", "And?"):
                await connection.response.create(
                    model="test-model", input=text, store=False, previous_response_id=previous
                )
                async for event in connection:
                    if event.type == "response.completed":
                        previous = event.response.id
                        assert event.response.output_text == "Hello"
                        break
        await client.close()
    assert len(upstream.requests[1].json["messages"]) == 3
