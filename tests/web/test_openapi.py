"""The description that people and tools read: complete, with examples, and without the internet."""

import base64
import hashlib
import json
import re
from typing import Any

import httpx
import jsonschema_rs
import pytest
from fastapi.openapi.utils import get_openapi

from proxy.app import create_app
from proxy.database import Database
from proxy.web.openapi import ERRORS, TAGS
from proxy.web.openapi_examples import EXAMPLES, REF
from tests.conftest import client_of, make_settings, running_app
from tests.support.openapi import DOCUMENT

OPERATIONS: list[Any] = [
    pytest.param(path, method, operation, id=f"{method.upper()} {path}")
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
OPEN_PATHS = ("/", "/health", "/livez", "/readyz")


def resolved(schema: Any) -> Any:
    """A schema with its references filled in, so that a validator needs no store."""
    if isinstance(schema, list):
        return [resolved(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return resolved(DOCUMENT["components"]["schemas"][schema["$ref"].removeprefix(REF)])
    return {key: resolved(value) for key, value in schema.items() if key != "examples"}


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
def test_a_route_is_described(path: str, method: str, operation: dict[str, Any]) -> None:
    assert operation["summary"][0].isupper()
    assert operation["description"].strip()
    assert len(operation["tags"]) == 1
    assert operation["tags"][0] in TAGS
    assert "200" in operation["responses"]
    if path not in OPEN_PATHS:
        for status in ERRORS:
            content = operation["responses"][status]["content"]["application/json"]
            assert content["schema"] == {"$ref": f"{REF}ErrorBody"}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/chat/conversations/{conversation_id}/messages",
        "/v1/chat/messages/{message_id}/regenerate",
        "/v1/plan/documents/generate",
    ],
)
def test_a_call_that_asks_a_model_says_how_its_provider_fails(path: str) -> None:
    responses = DOCUMENT["paths"][path]["post"]["responses"]
    for status in ("402", "502", "504"):
        content = responses[status]["content"]["application/json"]
        assert content["schema"] == {"$ref": f"{REF}ErrorBody"}
    assert "text/event-stream" in responses["200"]["content"]


def test_an_error_is_described_once_and_as_it_is_sent() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert set(schemas["ErrorBody"]["properties"]) == {"detail", "message", "error", "errors"}
    assert schemas["ErrorBody"]["properties"]["error"] == {"$ref": f"{REF}ErrorDetail"}
    assert "HTTPValidationError" not in json.dumps(DOCUMENT)


def test_a_route_carries_no_error_models() -> None:
    # Ten models for each of some seventy routes were most of what a start cost.
    undescribed = get_openapi(title="", version="", routes=create_app(make_settings()).routes)
    assert len(undescribed["paths"]) > 40
    assert "ErrorBody" not in undescribed["components"]["schemas"]


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
def test_a_body_has_an_example(path: str, method: str, operation: dict[str, Any]) -> None:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        if schema.get("examples"):
            continue
        options = [o for o in schema.get("anyOf", [schema]) if o.get("type") != "null"]
        for option in options:
            if "$ref" in option:
                name = option["$ref"].removeprefix(REF)
                option = DOCUMENT["components"]["schemas"][name]  # noqa: PLW2901
            assert option["examples"], option


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_an_example_fits_its_schema(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    for example in schema.get("examples", ()):
        jsonschema_rs.validate(resolved(schema), example)


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
def test_every_failure_has_an_example_of_its_own(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    schema = resolved({"$ref": f"{REF}ErrorBody"})
    said = {}
    for status, response in operation["responses"].items():
        if status >= "400":
            example = response["content"]["application/json"]["example"]
            jsonschema_rs.validate(schema, example)
            assert example["detail"] == example["error"]["message"]
            said[status] = example["detail"]
    assert len(set(said.values())) == len(said)
    if "{project_id}" in path:
        assert said["404"] == "Project not found"


def test_a_stream_has_an_example_as_it_is_sent() -> None:
    streams = 0
    for operation in OPERATIONS:
        for content in operation.values[2]["responses"]["200"].get("content", {}).items():
            if content[0] == "text/event-stream":
                streams += 1
                blocks = content[1]["example"].removesuffix("\n\n").split("\n\n")
                assert [json.loads(block.partition("data: ")[2]) for block in blocks[:-1]]
                assert blocks[-1] == "data: [DONE]"
    assert streams == 9


def test_an_example_of_one_schema_names_a_field_that_is_there() -> None:
    for name in EXAMPLES:
        if "." in name:
            schema, field = name.split(".")
            assert field in DOCUMENT["components"]["schemas"][schema]["properties"], name


def test_operation_ids_are_unique() -> None:
    ids = [operation.values[2]["operationId"] for operation in OPERATIONS]
    assert len(ids) == len(set(ids))


def test_operation_ids_are_names_that_a_generated_client_can_have() -> None:
    ids = {operation.values[2]["operationId"] for operation in OPERATIONS}
    assert {"list_conversations", "create_message", "create_completion"} <= ids
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+){1,4}", name) for name in ids), ids


def test_tags_come_in_the_order_a_newcomer_needs() -> None:
    assert [tag["name"] for tag in DOCUMENT["tags"]] == list(TAGS)
    used = {operation.values[2]["tags"][0] for operation in OPERATIONS}
    assert used <= set(TAGS)


def test_the_key_can_be_entered_on_the_page() -> None:
    assert DOCUMENT["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert {"key": []} in DOCUMENT["security"]


def test_no_setting_shows_through() -> None:
    document = json.dumps(create_app(make_settings(openai_api_key="sk-hidden")).openapi())
    assert "sk-hidden" not in document


async def test_the_page_loads_nothing_from_elsewhere(mock: Database) -> None:
    async with running_app(mock, make_settings()) as app, client_of(app) as client:
        html = (await client.get("/docs")).text
        assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", html)
        assets = re.findall(r"""(?:src|href)=["']([^"']+)""", html)
        assert len(assets) >= 2
        for asset in assets:
            answer: httpx.Response = await client.get(asset)
            assert answer.status_code == 200, asset
            if asset.endswith(".css"):
                assert answer.headers["content-type"].startswith("text/css")
                assert not re.findall(rb"""url\(["']?(?:https?:)?//|@import""", answer.content)
            if asset.endswith(".js"):
                assert "javascript" in answer.headers["content-type"]


async def test_the_page_needs_no_key(mock: Database) -> None:
    async with running_app(mock, make_settings(api_keys="sk-1")) as app, client_of(app) as client:
        assert (await client.get("/redoc")).headers["location"] == "/docs"
        for path in ("/docs", "/openapi.json", "/docs/assets/swagger-ui.css"):
            assert (await client.get(path)).status_code == 200
        missing = await client.get("/docs/assets/../../pyproject.toml")
        assert missing.status_code == 404


async def test_the_description_is_written_once(mock: Database) -> None:
    async with running_app(mock, make_settings()) as app, client_of(app) as client:
        first = await client.get("/openapi.json")
        assert first.json() == json.loads(json.dumps(app.openapi()))
        app.openapi = None
        assert (await client.get("/openapi.json")).content == first.content


async def test_the_page_keeps_no_key_and_runs_no_script_but_its_own(mock: Database) -> None:
    async with running_app(mock, make_settings()) as app, client_of(app) as client:
        page = await client.get("/docs")
    assert '"persistAuthorization": false' in page.text
    (policy,) = page.headers.get_list("content-security-policy")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == rules["script-src"].split()[0] == "'self'"
    scripts = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert len(scripts) == len(rules["script-src"].split()) - 1 == 1
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in rules["script-src"]
