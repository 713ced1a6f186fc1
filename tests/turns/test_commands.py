"""What a turn asks of the database: four commands, the same at any length of the history."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.monitoring import CommandListener

from proxy.database import Database
from proxy.documents.base import DEFAULT_OWNER
from proxy.documents.conversation import Conversation
from proxy.documents.counter import Counter
from proxy.streaming.engine import TICK_SECONDS
from tests.conftest import LiveServer
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.scripted import script, wait
from tests.support.pages import message
from tests.support.replies import create, history, provider, say, streaming

# A worker's own sign of life, and counters that are written now and then, are no turn's.
ASIDE = {"workers", "usage", "api_keys", "key_activity", "users"}


class Recorder(CommandListener):
    """`(command, collection)` of everything that was sent, and the bytes that came back."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str]] = []

    def started(self, event: Any) -> None:
        collection = str(event.command.get(event.command_name))
        # Every two seconds a server without keys looks whether there are users by now.
        if collection not in ASIDE and (event.command_name, collection) != ("find", "counters"):
            self.commands.append((event.command_name, collection))

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...


@pytest.fixture
async def recorded(
    wire_uri: str, engine_database_name: str
) -> AsyncIterator[tuple[Database, Recorder]]:
    recorder = Recorder()
    client: Any = AsyncIOMotorClient(
        wire_uri, w="majority", journal=True, event_listeners=[recorder]
    )
    yield Database(client[engine_database_name]), recorder
    client.close()


async def fill(id_: str, count: int) -> None:
    """Give a conversation a long history, as turns would have."""
    for start in range(0, count, 50):
        size = min(50, count - start)
        first = await Counter.reserve("messages", size)
        messages = [
            message(first + n, f"message {n}", role="assistant" if n % 2 else "user")
            for n in range(size)
        ]
        assert await Conversation.append(DEFAULT_OWNER, id_, messages)
        while await Conversation.move_tail(id_, max_messages=64, max_bytes=128 * 1024):
            pass


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("length", [0, 10, 600])
async def test_a_turn_is_four_commands(
    recorded: tuple[Database, Recorder], live: LiveServer, stream: bool, length: int
) -> None:
    database, recorder = recorded
    async with OpenAIUpstream() as openai:
        openai.play(openai.reply("a", "b"))
        settings = {"context_tokens": 256, "lease_seconds": 600, "checkpoint_seconds": 600}
        async with live(providers=[provider(openai)], database=database, **settings) as client:
            id_ = await create(client, system_prompt="Be brief.")
            if length:
                await fill(id_, length)
            recorder.commands.clear()
            if stream:
                async with streaming(client, id_) as frames:
                    await frames.rest()
            else:
                await say(client, id_)
            assert sorted(recorder.commands) == [
                ("find", "conversations"),
                ("findAndModify", "counters"),
                ("update", "conversations"),
                ("update", "conversations"),
            ]
            assert len(await history(client, id_)) == length + 3


async def test_no_command_is_sent_for_a_chunk(
    recorded: tuple[Database, Recorder], live: LiveServer
) -> None:
    database, recorder = recorded
    go_on, end = asyncio.Event(), asyncio.Event()
    async with OpenAIUpstream() as openai:
        many = [openai.text(f"{n} ") for n in range(500)]
        openai.play(openai.texts("first ") + wait(go_on) + script(*many) + wait(end) + openai.end())
        settings = {"lease_seconds": 600, "checkpoint_seconds": 600}
        async with live(providers=[provider(openai)], database=database, **settings) as client:
            id_ = await create(client)
            async with streaming(client, id_) as stream:
                await stream.until("first ")
                recorder.commands.clear()
                go_on.set()
                await stream.until("first " + "".join(f"{n} " for n in range(500)))
                assert recorder.commands == []
                end.set()
                await stream.rest()
            assert recorder.commands == [("update", "conversations")]


async def test_checkpoints_are_bounded_by_time_not_by_chunks(
    recorded: tuple[Database, Recorder], live: LiveServer
) -> None:
    """Fifty replies at once and a budget of eight checkpoints a second."""
    database, recorder = recorded
    end = asyncio.Event()
    async with OpenAIUpstream() as openai:
        openai.play(openai.texts("a") + wait(end) + script(openai.text("b")) + openai.end())
        settings = {
            "lease_seconds": 600,
            "checkpoint_seconds": 0.01,
            "checkpoints_per_second": 8,
        }
        async with live(providers=[provider(openai)], database=database, **settings) as client:
            ids = [await create(client) for _ in range(50)]
            turns = [asyncio.create_task(say(client, id_)) for id_ in ids]
            await openai.wait_for_requests(50)
            engine = client.app.state.engine  # type: ignore[attr-defined]
            while not all(g.has_begun for g in engine.running.values()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            loop = asyncio.get_running_loop()
            began = loop.time()
            recorder.commands.clear()
            await asyncio.sleep(1)
            written = recorder.commands.count(("update", "conversations"))
            assert 0 < written <= 2 * ((loop.time() - began) / TICK_SECONDS + 1)
            end.set()
            await asyncio.gather(*turns)
