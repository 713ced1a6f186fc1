"""Once, stop, resume, crash and shutdown, between servers that are processes of their own."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from proxy.database import connect
from tests.conftest import client_of, make_settings, running_app
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.scripted import script, stall, wait
from tests.support.clients import client_at
from tests.support.command import Process, running
from tests.support.depth import cases
from tests.support.replies import (
    CONVERSATIONS,
    MESSAGES,
    answer_of,
    create,
    history,
    joining,
    say,
    stored,
    streaming,
)

pytestmark = pytest.mark.slow


@dataclass
class Server:
    """`python -m proxy serve`, and a client of it."""

    process: Process
    client: httpx.AsyncClient

    async def ended(self) -> str:
        """Wait for its end, which must be an orderly one; what it wrote to its log."""
        _, log = await asyncio.to_thread(self.process.communicate)
        assert self.process.returncode == 0, log
        assert "Traceback" not in log
        return log


class Servers:
    """Starts servers on one database of their own, in front of one upstream."""

    def __init__(self, folder: Path, variables: dict[str, str], stack: AsyncExitStack) -> None:
        self._folder = folder
        self._variables = variables
        self._stack = stack

    async def start(self, *arguments: str, **variables: str) -> Server:
        """One more, once it answers."""
        starting = running(self._folder, "serve", *arguments, **{**self._variables, **variables})
        url, process = await asyncio.to_thread(starting.__enter__)
        self._stack.push_async_callback(asyncio.to_thread, starting.__exit__, None, None, None)
        client = client_at(url)
        await self._stack.enter_async_context(client)
        return Server(process, client)

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client of an application in this process, on the same database."""
        names = ("PROXY_MONGODB_URI", "PROXY_MONGODB_DATABASE")
        database = connect(*(self._variables[name] for name in names))
        async with running_app(database, make_settings()) as app, client_of(app) as client:
            yield client
        database.close()


@pytest.fixture
async def servers(wire_uri: str, openai: OpenAIUpstream, tmp_path: Path) -> AsyncIterator[Servers]:
    name = f"test_{uuid4().hex[:12]}"
    variables = {
        "PROXY_MONGODB_URI": wire_uri,
        "PROXY_MONGODB_DATABASE": name,
        "OPENAI_BASE_URL": openai.base_url,
        "OPENAI_API_KEY": "sk-test",
        "PROXY_CHECKPOINT_SECONDS": "0.1",
        "PROXY_SHUTDOWN_GRACE_SECONDS": "0",
    }
    async with AsyncExitStack() as stack:
        yield Servers(tmp_path, variables, stack)
    database = connect(wire_uri, name)
    await database.client.drop_database(name)
    database.close()


async def test_copies_at_one_moment_on_three_workers_happen_once(
    servers: Servers, openai: OpenAIUpstream
) -> None:
    one, two, other = await asyncio.gather(*(servers.start() for _ in range(3)))
    clients = [one.client, other.client, two.client] * 8
    # Open connections: the copies come within few milliseconds.
    await asyncio.gather(*(client.get("/health") for client in clients))
    for round_ in range(1, cases(4, in_ci=10) + 1):
        go_on, stream = asyncio.Event(), round_ % 2 == 0
        openai.play(openai.reply_when(go_on, "a", "b"))
        id_ = await create(one.client)
        copies = [asyncio.create_task(answer_of(c, id_, stream=stream)) for c in clients]
        await openai.wait_for_requests(round_)
        for server in (one, other):
            answer = await say(server.client, id_, "another body", key="k", stream=stream)
            assert answer.status_code == 422
            assert answer.json()["error"]["code"] == "idempotency_key_reused"
        go_on.set()
        answers = set(await asyncio.gather(*copies))
        user, reply = await history(other.client, id_)
        assert answers == {(user["id"], reply["id"], "ab")}
        assert (user["content"], reply["content"]) == ("Hi", "ab")
        assert len(openai.requests) == round_


async def test_a_reply_is_joined_and_stopped_from_another_worker(
    servers: Servers, openai: OpenAIUpstream
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.texts("so ") + script(wait(go_on), openai.text("far"), stall()))
    one, other = await asyncio.gather(servers.start(), servers.start())
    async with streaming(one.client, await create(one.client)) as stream:
        await stream.until("so ")
        async with joining(other.client, stream.message_id, after=1) as joined:
            await joined.until("o ")
            go_on.set()
            await joined.until("o far")
            response = await other.client.post(
                "/v1/chat/stop-stream", json={"session_id": stream.seen[0]["session_id"]}
            )
            assert response.status_code == 200
            message = await stored(other.client, stream.message_id)
            assert (message["status"], message["content"]) == ("stopped", "so far")
            await openai.wait_for_abort()
            for each in (stream, joined):
                assert (await each.rest())[-1] == {"content": "", "finish_reason": "stop"}
        assert (stream.text, joined.text) == ("so far", "o far")


async def test_the_reply_of_a_killed_worker_ends_for_who_follows_it_elsewhere(
    servers: Servers, openai: OpenAIUpstream
) -> None:
    go_on = asyncio.Event()
    openai.play(openai.stall_after("so far"), openai.reply_when(go_on, "a", "b"))
    one, other = await asyncio.gather(*(servers.start(PROXY_LEASE_SECONDS="4") for _ in range(2)))
    async with AsyncExitStack() as stack:
        cut = await stack.enter_async_context(streaming(one.client, await create(one.client)))
        await cut.until("so far")
        living = await stack.enter_async_context(
            streaming(other.client, await create(other.client))
        )
        await living.until("a")
        joined = await stack.enter_async_context(joining(other.client, cut.message_id))
        await joined.until("so far")
        one.process.kill()
        await asyncio.to_thread(one.process.communicate)
        assert (await joined.rest())[-1]["error"]["type"] == "interrupted"
        message = await stored(other.client, cut.message_id)
        assert (message["status"], message["content"]) == ("interrupted", "so far")
        go_on.set()
        assert (await living.rest())[-1] == {"content": "", "finish_reason": "stop"}
    assert (await stored(other.client, living.message_id))["status"] == "complete"


async def refused(client: httpx.AsyncClient, id_: str) -> None:
    """Take turns until the signal has arrived."""
    while (await say(client, id_)).status_code == 200:
        pass


async def test_a_signal_leaves_running_replies_their_grace_and_refuses_new_turns(
    servers: Servers, openai: OpenAIUpstream
) -> None:
    go_on = asyncio.Event()
    slow = openai.reply_when(go_on, "a", "b")
    openai.play(slow, openai.reply("quick"))
    server = await servers.start(PROXY_SHUTDOWN_GRACE_SECONDS="600")
    id_ = await create(server.client)
    async with streaming(server.client, id_) as stream:
        await stream.until("a")
        server.process.send_signal(signal.SIGTERM)
        await refused(server.client, await create(server.client))
        messages: list[Any] = [{"role": "user", "content": "new"}]
        for path, body in (
            (f"{CONVERSATIONS}/{id_}/messages", {"content": "new"}),
            (f"{CONVERSATIONS}/{id_}/messages", {"content": "new", "stream": True}),
            ("/v1/chat/completions", {"model": "m", "messages": messages}),
            ("/v1/chat/completions", {"messages": messages, "conversation": id_}),
            (f"{MESSAGES}/{stream.message_id}/regenerate", {}),
        ):
            answer = await server.client.post(path, json=body)
            assert answer.status_code == 503, path
            assert "shutting down" in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) >= 1
        go_on.set()
        assert (await stream.rest())[-1] == {"content": "", "finish_reason": "stop"}
        assert stream.text == "ab"
    await server.ended()


@pytest.mark.parametrize("arguments", [(), ("--workers", "2")], ids=["one", "two workers"])
async def test_after_the_grace_streams_end_with_an_error_and_their_text_is_kept(
    servers: Servers, openai: OpenAIUpstream, arguments: tuple[str, ...]
) -> None:
    openai.play(openai.stall_after("so far"))
    server = await servers.start(*arguments)
    id_ = await create(server.client)
    async with streaming(server.client, id_) as stream:
        await stream.until("so far")
        server.process.send_signal(signal.SIGTERM)
        last = (await stream.rest())[-1]
        assert last["error"]["type"] == "interrupted"
        assert isinstance(last["error"]["message"], str)
    await openai.wait_for_abort()
    await server.ended()
    async with servers.beside() as reader:
        message = (await history(reader, id_))[-1]
    assert (message["status"], message["content"]) == ("interrupted", "so far")
    assert message["error"]["type"] == "interrupted"
