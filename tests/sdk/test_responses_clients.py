"""Responses through the clients people run, against a chat upstream and one that is native."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.database import Database
from tests.conftest import make_settings, running_app
from tests.fakes.live import serve
from tests.fakes.responses_upstream import ResponsesUpstream, call, message, reasoning
from tests.fakes.scripted import Script
from tests.sdk.conftest import HERE, KEY, Run, answer, needed
from tests.support.chat_replies import called, said

OPENAI = ["openai", "openai-6"]
AI = [("ai-7", "@ai-sdk/openai"), ("ai", "ai-sdk-openai-3")]
CALLS = [("c0", '{"city": "Ulm"}'), ("c1", '{"city": "Bonn"}')]


@dataclass
class Server:
    """A live server before an upstream that speaks Responses itself, or chat alone."""

    base_url: str
    upstream: ResponsesUpstream
    is_native: bool

    def said(self, text: str, thought: str = "") -> Script:
        """An answer of text, with reasoning before it."""
        if not self.is_native:
            return said(self.upstream, text, thought)
        items = [reasoning("sealed", thought)] if thought else []
        return self.upstream.respond(*items, message(text))

    def called(self) -> Script:
        """Two calls at once."""
        if not self.is_native:
            return called(self.upstream, "weather", CALLS)
        return self.upstream.respond(*(call(id_, "weather", said) for id_, said in CALLS))


@pytest.fixture(params=["chat", "native"])
async def server(request: pytest.FixtureRequest, mock: Database) -> AsyncIterator[Server]:
    async with ResponsesUpstream() as upstream:
        settings = make_settings(
            openai_base_url=upstream.base_url,
            openai_api_key="k-upstream",
            api_keys=KEY,
            models={"test-model": {"responses": request.param}},
        )
        async with running_app(mock, settings) as app, serve(app) as url:
            yield Server(f"{url}/v1", upstream, request.param == "native")


Play = Callable[..., Awaitable[Any]]


@pytest.fixture
def play(node: str, run: Run, server: Server) -> Play:
    """`await play("ai_client.mjs", "text", **environment)`: what the scenario came to."""

    async def start(script: str, scenario: str, **environment: str) -> Any:
        if not (HERE / "node_modules" / environment["PACKAGE"]).is_dir():
            needed(None, f"The Node package {environment['PACKAGE']}")
        basis = {"BASE_URL": server.base_url, "KEY": KEY}
        return await answer(run, node, str(HERE / script), scenario, **basis | environment)

    return start


@pytest.mark.parametrize("package", OPENAI)
async def test_node_streams_resumes_and_deletes(play: Play, server: Server, package: str) -> None:
    server.upstream.play(server.said("Hello 漢", "Hm"))
    found = await play("responses_client.mjs", "text", PACKAGE=package)
    assert (found["text"], found["resumed"], found["stored"]) == ("Hello 漢",) * 3
    assert found["rest"] > 0
    assert found["usage"] == 18


@pytest.mark.parametrize("package", OPENAI)
async def test_node_calls_two_tools(play: Play, server: Server, package: str) -> None:
    server.upstream.play(server.called(), server.said("Sunny"))
    found = await play("responses_client.mjs", "tools", PACKAGE=package)
    assert found == {"calls": [list(each) for each in CALLS], "text": "Sunny"}


@pytest.mark.parametrize("package", OPENAI)
async def test_node_parses_a_schema_and_pages_items(
    play: Play, server: Server, package: str
) -> None:
    server.upstream.play(server.said('{"name": "Ulm"}'))
    assert await play("responses_client.mjs", "schema", PACKAGE=package) == {"name": "Ulm"}
    found = await play("responses_client.mjs", "conversation", PACKAGE=package)
    assert found == {"found": 5, "same": True}


@pytest.mark.parametrize(("package", "provider"), AI)
async def test_vercel_streams(play: Play, server: Server, package: str, provider: str) -> None:
    server.upstream.play(server.said("Hello 漢"))
    found = await play("ai_client.mjs", "text", PACKAGE=package, PROVIDER=provider)
    assert found == {"text": "Hello 漢", "usage": 18, "reason": "stop"}


@pytest.mark.parametrize(("package", "provider"), AI)
async def test_vercel_sends_back_references(
    play: Play, server: Server, package: str, provider: str
) -> None:
    server.upstream.play(server.called(), server.said("Sunny"), server.said("Still sunny"))
    found = await play("ai_client.mjs", "tools", PACKAGE=package, PROVIDER=provider)
    assert found == {
        "first": "Sunny",
        "second": "Still sunny",
        "results": ["Sunny in Ulm", "Sunny in Bonn"],
    }
    sent = server.upstream.requests[-1].json
    history = sent["input"] if server.is_native else sent["messages"]
    texts = str(history)
    assert texts.index("Weather?") < texts.index("Sunny in Ulm") < texts.index("And now?")
    assert "item_reference" not in texts


@pytest.mark.parametrize(("package", "provider"), AI)
async def test_vercel_shows_reasoning(
    play: Play, server: Server, package: str, provider: str
) -> None:
    server.upstream.play(server.said("Hello", "I think"))
    found = await play("ai_client.mjs", "reasoning", PACKAGE=package, PROVIDER=provider)
    assert found == {"text": "Hello", "reasoning": "I think"}


@pytest.fixture
def play_python(tools: Path, run: Run, server: Server) -> Play:
    """`await play_python("agents")`: what the scenario came to."""

    async def start(scenario: str) -> Any:
        basis = {"BASE_URL": server.base_url, "KEY": KEY, "OPENAI_API_KEY": KEY}
        script = str(HERE / "responses_client.py")
        return await answer(run, str(tools / "python"), script, scenario, **basis)

    return start


@pytest.mark.slow
async def test_langchain_uses_responses(play_python: Play, server: Server) -> None:
    server.upstream.play(server.called(), server.said("Sunny"))
    found = await play_python("langchain")
    assert (found["calls"], found["text"]) == (2, "Sunny")
    assert found["usage"]["total_tokens"] == 18


@pytest.mark.slow
async def test_litellm_uses_responses(play_python: Play, server: Server) -> None:
    server.upstream.play(server.called(), server.said("Sunny"))
    assert await play_python("litellm") == {"calls": 2, "text": "Sunny"}


@pytest.mark.slow
async def test_agents_keep_their_session_here(play_python: Play, server: Server) -> None:
    server.upstream.play(server.called(), server.said("Sunny"), server.said("Still sunny"))
    found = await play_python("agents")
    assert (found["first"], found["second"]) == ("Sunny", "Still sunny")
    assert found["kinds"].count("function_call") == 2
    assert found["kinds"].count("function_call_output") == 2
    assert found["popped"] == "Still sunny"
    assert found["left"] == len(found["kinds"]) - 1
