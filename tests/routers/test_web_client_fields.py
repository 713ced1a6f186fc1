"""Each request of the two published web clients, and every field that they read of its answer."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.database import Database
from proxy.documents.user import User
from tests.conftest import client_of, make_settings, running_app
from tests.support.passwords import quick_hash

FIXTURES = Path(__file__).parents[1] / "fixtures"
KEY = "sk-test-0123456789"


def filled(value: Any, kept: dict[str, Any]) -> Any:
    """A body with what earlier answers gave; a text that is one name alone becomes its value."""
    if isinstance(value, dict):
        return {key: filled(each, kept) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, kept) for each in value]
    return kept.get(value[1:-1], value) if isinstance(value, str) else value


def at(answer: Any, path: str) -> Any:
    """The value at `items.0.id`; an error names what is missing."""
    for name in path.split("."):
        answer = answer[int(name)] if isinstance(answer, list) else answer[name]
    return answer


def frames(body: str) -> list[Any]:
    """The frames of a stream before `[DONE]`, cut as the clients cut them."""
    blocks = [block[5:].strip() for block in body.split("\n\n") if block.startswith("data:")]
    assert blocks[-1] == "[DONE]"
    return [json.loads(block) for block in blocks[:-1]]


async def play(client: httpx.AsyncClient, step: dict[str, Any], kept: dict[str, Any]) -> None:
    method, path, *body = step["do"]
    response = await client.request(
        method, path.format(**kept), json=filled(body[0], kept) if body else None
    )
    where = f"{method} {path}: {response.text[:300]}"
    assert response.status_code == step.get("fails", 200), where
    if "events" in step:
        found = frames(response.text)
        first, text, last = step["events"]
        for frame, names in ((found[0], first), (found[1], text), (found[-1], last)):
            assert set(names) <= frame.keys(), where
        return
    answer = response.json()
    for name in step["reads"]:
        try:
            at(answer, name)
        except (KeyError, IndexError, TypeError):
            pytest.fail(f"{name} is missing. {where}")
    kept |= {name: at(answer, at_) for name, at_ in step.get("keeps", {}).items()}


@pytest.mark.parametrize("client_name", ["desktop", "mobile"])
async def test_every_field_that_a_client_reads_is_there(wire: Database, client_name: str) -> None:
    file = FIXTURES / f"web_client_{client_name}.json"
    fixture = json.loads(file.read_text(encoding="utf-8"))
    async with running_app(wire, make_settings(api_keys=[KEY])) as app, client_of(app) as client:
        client.headers.update(fixture["headers"])
        await User.create_new("anna", "anna", quick_hash("a long sentence"), ["admin"])
        kept: dict[str, Any] = {}
        for step in fixture["steps"]:
            await play(client, step, kept)
