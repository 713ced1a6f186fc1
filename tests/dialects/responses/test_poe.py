"""Responses on Poe's bot protocol, which lacks some of what they can ask for."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import LiveServer
from tests.dialects.responses.conftest import Served
from tests.fakes.answering_model import AnsweringModel

SCHEMA = {"type": "json_schema", "name": "city", "schema": {"type": "object"}}


@pytest.fixture
async def served(live: LiveServer) -> AsyncIterator[Served]:
    async with (
        AnsweringModel() as model,
        live(poe_base_url=model.poe_url, poe_api_key="p-key-0123456789") as client,
    ):
        yield Served(client, model)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text.format", {"text": {"format": SCHEMA}}),
        ("max_output_tokens", {"max_output_tokens": 9}),
        ("tool_choice", {"tool_choice": "required", "tools": [{"type": "function", "name": "f"}]}),
    ],
)
@pytest.mark.parametrize("store", [True, False])
async def test_a_refusal_names_the_field_that_was_sent(
    served: Served, field: str, value: dict[str, object], store: bool
) -> None:
    body = {"model": "test-model", "input": "Hello", "store": store, **value}
    answer = await served.client.post("/v1/responses", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == field
    assert f"'{field}'" in error["message"]


@pytest.mark.parametrize("store", [True, False])
async def test_verbosity_is_left_out_and_named(served: Served, store: bool) -> None:
    # Codex sends it by a model's name, whoever answers for that.
    body = {"input": "Hello", "store": store, "text": {"verbosity": "low"}}
    answer = await served.client.post("/v1/responses", json={"model": "test-model", **body})
    assert answer.status_code == 200
    assert answer.headers["x-proxy-ignored"] == "text.verbosity"


@pytest.mark.parametrize("store", [True, False])
async def test_log_probabilities_are_left_out_and_named(served: Served, store: bool) -> None:
    include = ["message.output_text.logprobs"]
    body = {"input": "Hello", "store": store, "include": include, "top_logprobs": 2}
    answer = await served.client.post("/v1/responses", json={"model": "test-model", **body})
    assert answer.status_code == 200
    assert answer.headers["x-proxy-ignored"] == "top_logprobs, message.output_text.logprobs"
