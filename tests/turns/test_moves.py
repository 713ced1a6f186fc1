"""Older messages move to pages behind the turns, one move of a conversation at a time."""

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

from proxy.database import Database
from proxy.turns.begin import Turns
from tests.conftest import make_settings


class Background:
    """An engine that keeps what should be done, until the test does it."""

    def __init__(self) -> None:
        self.on_end: list[Callable[[Any], None]] = []
        self.works: list[Coroutine[Any, Any, None]] = []
        self.in_background = self.works.append


def ended(conversation_id: str, messages: int) -> Any:
    sink = SimpleNamespace(conversation_id=conversation_id)
    return SimpleNamespace(sink=sink, tail_size=(messages, 0), text="")


async def test_turns_that_end_during_a_move_begin_no_second_one(wire: Database) -> None:
    await wire.prepare(indexes=False)
    engine: Any = Background()
    nothing: Any = None
    Turns(make_settings(tail_messages=4), nothing, engine, nothing)
    (end,) = engine.on_end
    end(ended("short", 4))
    assert engine.works == []
    for _ in range(3):
        end(ended("long", 5))
    end(ended("another", 5))
    assert len(engine.works) == 2
    await asyncio.gather(*engine.works)
    end(ended("long", 5))
    assert len(engine.works) == 3
    await engine.works[2]
