"""Responses through the clients people run, before three upstreams at once.

A chat-only one, one that speaks Responses itself, and Poe's bot protocol. The names of the tests'
scenarios are those of the scripts; a client is a process that plays all of them with every model.

What each client breaks on, and the scenario that would show it:

- OpenAI's `responses.stream()`: the first event, ids that change, items and parts in their order,
  an index twice, a whole that lacks an item: `text`, `calls`.
- `stream(response_id=…, starting_after=n)` asks from the start, `retrieve` sends the number:
  `text`.
- Pages of a conversation's items, both ways: `conversation`, and `calls` of the Agents SDK.
- `@ai-sdk/openai` sends `item_reference`: `calls`; after an edit: `test_conversations.py` of the
  dialect. With `conversation` it leaves out what has an id, and sends the rest again:
  `conversation`.
- The Agents SDK raises on `response.failed` and `response.incomplete`: `refusals`. Its session adds
  twenty items at once and takes the newest back: `calls`.
- Reasoning is shown as its summary alone: `reasoning`.
- Codex: `test_codex.py`. Its threads, kept: `test_threads.py` of the dialect.
- A model that pauses: a sign of life comes in each `text`.
"""

import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from proxy.database import Database
from tests.conftest import make_settings, running_app
from tests.fakes.answering_model import CALLS, LINK, PICTURE, AnsweringModel
from tests.fakes.live import serve
from tests.sdk.conftest import HERE, KEY, Run, answer, needed

pytestmark = pytest.mark.slow

MODELS = ["of-chat", "of-native", "of-poe"]
REFUSED = {"refused": "text.format"}
"""Poe's bot protocol has no JSON schema: a refusal that names the field that the client sent."""


@pytest.fixture
async def base_url(mock: Database) -> AsyncIterator[str]:
    async with AnsweringModel() as model:
        settings = make_settings(
            openai_base_url=model.base_url,
            openai_api_key="k-upstream",
            poe_base_url=model.poe_url,
            poe_upload_url=model.upload_url,
            poe_api_key="p-key-0123456789",
            api_keys=KEY,
            # Many signs of life in each pause of the model: no client trips over one.
            heartbeat_seconds=0.03,
            models={
                "of-chat": {"route": ["openai/of-chat"], "responses": "chat"},
                "of-native": {"route": ["openai/of-native"], "responses": "native"},
                "of-poe": {"route": ["poe/of-poe"]},
            },
        )
        async with running_app(mock, settings) as app, serve(app) as url:
            yield f"{url}/v1"


def environment(base_url: str) -> dict[str, str]:
    return {
        "BASE_URL": base_url,
        "KEY": KEY,
        "OPENAI_API_KEY": KEY,
        "MODELS": " ".join(MODELS),
        "IMAGE": PICTURE,
    }


def thought(model: str) -> str:
    # Poe's bots tell it as a quotation of whole lines.
    return "I think\n" if model == "of-poe" else "I think"


def seen(model: str) -> str:
    return f"I see {LINK if model == 'of-poe' else PICTURE[:31]}"


def parsed(model: str) -> Any:
    return REFUSED if model == "of-poe" else {"name": "Ulm"}


def wanted(client: str, **scenarios: Any) -> dict[str, Any]:
    """What each scenario comes to, some by the model."""
    scenarios = {"reasoning": thought, "image": seen, "schema": parsed} | scenarios
    return {
        f"{client}, {model}, {scenario}": said(model) if callable(said) else said
        for model in MODELS
        for scenario, said in scenarios.items()
    }


FOLLOWED = {
    "text": "Hello 漢",
    "resumed": "Hello 漢",
    "stored": "Hello 漢",
    "isBehind": True,
    "gone": 404,
}
CALLED = [[list(call) for call in CALLS], "2 sunny"]


async def test_clients_for_node(node: str, run: Run, base_url: str) -> None:
    for package in ("openai-6", "ai-7", "ai-sdk-openai-3", "@ai-sdk/openai"):
        if not (HERE / "node_modules" / package).is_dir():
            needed(None, f"The Node package {package}")
    script = str(HERE / "responses_client.mjs")
    found = await answer(run, node, script, **environment(base_url))
    expected: dict[str, Any] = {}
    for client in ("openai 7", "openai 6"):
        expected |= wanted(client, text=FOLLOWED, calls=CALLED, conversation=[5, True])
    for client in ("ai 7", "ai 6"):
        items = ["user", "function_call", "function_call", *["function_call_output"] * 2]
        expected |= wanted(
            client,
            text=["Hello 漢", "number", "stop"],
            # `item_reference`: what the SDK names by its id alone reaches the model.
            calls=[["Sunny in Ulm", "Sunny in Bonn"], "2 sunny", "Hello 漢"],
            conversation=[
                "2 sunny",
                "Hello 漢",
                [*items, "assistant", "user", "assistant"],
            ],
        )
    assert found == expected


async def test_openais_package_for_python_of_an_older_version(run: Run, base_url: str) -> None:
    # The one of our own environment; `tools` has the newest.
    script = str(HERE / "responses_client.py")
    found = await answer(run, sys.executable, script, "openai", **environment(base_url))
    assert found == of_openai()


def of_openai() -> dict[str, Any]:
    return wanted("openai", text=FOLLOWED, calls=CALLED, conversation=[5, 4, True])


async def test_clients_for_python(importing: Callable[..., Run], base_url: str) -> None:
    script = str(HERE / "responses_client.py")
    names = ["openai", "langchain", "litellm", "agents"]
    run = importing("langchain_openai", "litellm", "agents")
    found = await answer(run, script, *names, **environment(base_url))
    expected = of_openai()
    expected |= wanted("langchain", text="Hello 漢", calls=[["Ulm", "Bonn"], "2 sunny"])
    expected |= wanted("litellm", text="Hello 漢", calls=[2, "2 sunny"])
    expected |= wanted(
        "agents",
        text="Hello 漢",
        calls={
            "first": "2 sunny",
            "second": "Hello 漢",
            "calls": [2, 2],
            "popped": "22",
            "left": 1,
            "newest": ["20", "21"],
        },
        # The SDK raises on `response.failed` and on `response.incomplete`.
        refusals={"Fail": "ModelBehaviorError", "Cut": "ModelBehaviorError"},
    )
    assert found == expected
