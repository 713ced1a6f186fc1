"""Who counts calls is told of each, soon, once, and as whoever began it."""

import asyncio
import logging
import re
from contextvars import ContextVar

import httpx
import pytest

import proxy.streaming.completions as completions_module
from proxy.database import Database
from proxy.streaming.completions import TELL_SECONDS, TOLD_AT_ONCE, Completed, Completions
from tests.conftest import make_settings, running_app
from tests.fakes.live import serve
from tests.support.clients import client_at

WHO: ContextVar[str] = ContextVar("who", default="nobody")


def call(model: str = "m") -> Completed:
    return Completed("default", "openai", model, None, "complete", 0.0, None, 1)


async def test_those_that_end_together_are_told_together_and_once() -> None:
    completions = Completions()
    heard: list[str] = []
    completions.listeners.append(lambda ended: heard.append(ended.model))
    for model in ("a", "b"):
        completions.add(call(model))
    assert heard == []
    await asyncio.sleep(TELL_SECONDS * 3)
    assert heard == ["a", "b"]
    completions.add(call("c"))
    completions.tell()
    await asyncio.sleep(TELL_SECONDS * 3)
    assert heard == ["a", "b", "c"]


async def test_thousands_that_end_together_are_told_in_parts() -> None:
    """All at once they would hold up every other reply."""
    completions = Completions()
    heard: list[str] = []
    completions.listeners.append(lambda ended: heard.append(ended.model))
    most = 0
    for number in range(10 * TOLD_AT_ONCE + 1):
        before = len(heard)
        completions.add(call(str(number)))
        most = max(most, len(heard) - before)
    assert most == TOLD_AT_ONCE
    assert len(heard) == 10 * TOLD_AT_ONCE
    completions.tell()
    assert heard == [str(number) for number in range(10 * TOLD_AT_ONCE + 1)]


async def test_a_listener_runs_in_the_context_of_the_call() -> None:
    completions = Completions()
    heard: list[str] = []
    completions.listeners.append(lambda _: heard.append(WHO.get()))

    async def begin(who: str) -> None:
        WHO.set(who)
        completions.add(call())

    await asyncio.gather(*map(begin, ("one", "two")))
    completions.tell()
    assert heard == ["one", "two"]
    assert WHO.get() == "nobody"


async def test_a_listener_that_fails_keeps_no_call_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    completions = Completions()
    heard: list[str] = []

    def fail(_: Completed) -> None:
        raise RuntimeError("broken")

    completions.listeners += [fail, lambda ended: heard.append(ended.model)]
    completions.add(call("a"))
    completions.add(call("b"))
    with caplog.at_level(logging.ERROR):
        completions.tell()
    assert heard == ["a", "b"]
    assert caplog.text.count("RuntimeError: broken") == 2


async def test_nobody_misses_the_last_call_before_a_shutdown(
    mock: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions_module, "TELL_SECONDS", 60)
    heard: list[str] = []
    async with running_app(mock, make_settings()) as app:
        completions = app.state.engine.completions
        completions.listeners.append(lambda ended: heard.append(ended.model))
        completions.add(call("last"))
        assert heard == []
    assert heard == ["last"]


async def test_what_is_read_counts_every_call_that_has_ended(
    mock: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions_module, "TELL_SECONDS", 60)
    question = {"messages": [{"role": "user", "content": "Hello"}], "model": "echo"}
    async with (
        running_app(mock, make_settings()) as app,
        serve(app) as url,
        client_at(url) as client,
    ):

        async def ask() -> None:
            assert (await client.post("/v1/chat/completions", json=question)).status_code == 200

        counted = await replies_counted(client)
        await ask()
        assert app.state.last_answers.of("echo")["status"] == "complete"
        await ask()
        assert await replies_counted(client) == counted + 2
        await ask()
        await app.state.usage.flush()
        assert (await client.get("/v1/usage")).json()["total"]["requests"] == 3
        tokens = await app.state.usage.tokens_today("")
        await ask()
        assert await app.state.usage.tokens_today("") > tokens > 0


async def replies_counted(client: httpx.AsyncClient) -> float:
    metrics = (await client.get("/metrics")).text
    found = re.search(r'^proxy_replies_ended_total\{status="complete"\} (\S+)', metrics, re.M)
    return float(found[1]) if found else 0
