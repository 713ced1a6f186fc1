"""A checkpoint and the end of its reply, in the order in which they reach the database."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from proxy.providers.base import CompletionRequest, Delta
from proxy.providers.registry import Route
from proxy.streaming.generation import Generation
from tests.conftest import make_settings


class TwoWords:
    """A model that says `a`, and `b` when it is told to."""

    name = "test"

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def stream(self, request: CompletionRequest) -> AsyncIterator[Delta]:
        del request
        yield Delta("a")
        await self.go_on.wait()
        yield Delta("b", finish_reason="stop")


class SlowSink:
    """A store whose checkpoints take long, and whose last write does not."""

    owner = "ada"
    conversation_id = ""

    def __init__(self) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.stored: dict[str, Any] = {}

    async def write(self, fields: dict[str, Any], *, is_final: bool) -> bool:
        if not is_final:
            self.begun.set()
            await self.go_on.wait()
        self.stored.update(fields)
        return True

    async def make_room(self) -> bool:
        return False


async def test_a_checkpoint_on_its_way_is_never_written_over_the_end() -> None:
    model, sink = TwoWords(), SlowSink()
    generation = Generation(
        sink=sink,
        message_id=1,
        attempt="1:0",
        routes=[Route(model, "m")],  # type: ignore[arg-type]
        request=CompletionRequest(model="m", messages=[], parameters={}),
        settings=make_settings(),
        retry_budget_seconds=0,
        project_id=0,
        omitted_messages=0,
        tail_size=None,
        compose=None,
    )
    running = asyncio.create_task(generation.run(lambda _: None))
    await generation.opened(5)
    assert generation.text == "a"
    checkpoint = asyncio.create_task(generation.checkpoint())
    await sink.begun.wait()
    model.go_on.set()
    for _ in range(50):
        await asyncio.sleep(0)
    assert generation.status == "complete"
    sink.go_on.set()
    await asyncio.gather(running, checkpoint)
    assert (sink.stored["status"], sink.stored["content"]) == ("complete", "ab")
    await generation.checkpoint()
    assert sink.stored["status"] == "complete"
