"""The description that people and tools read: complete, with examples, and without the internet."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
from fastapi.openapi.utils import get_openapi

from proxy.app import create_app
from proxy.database import Database
from proxy.web.openapi import ERRORS, REF, TAGS
from tests.conftest import client_of, make_settings, running_app
from tests.support.openapi import PLACEHOLDERS, document, example_of, operations, resolved

OPEN_PATHS = ("/", "/health", "/livez", "/readyz")


def with_references(schema: Any) -> Any:
    """A schema with what it refers to filled in, so that a validator needs no store."""
    if isinstance(schema, list):
        return [with_references(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = resolved(schema) if "$ref" in schema else schema
    return {key: with_references(value) for key, value in found.items() if key != "examples"}


def misfits(schema: dict[str, Any], example: Any) -> list[str]:
    validator = jsonschema_rs.validator_for(with_references(schema))
    return [error.message for error in validator.iter_errors(example)]


def bodies() -> list[tuple[str, dict[str, Any]]]:
    """The schema of every request's body."""
    return [
        (f"{method} {path} {media}", content["schema"])
        for path, method, operation in operations()
        for media, content in operation.get("requestBody", {}).get("content", {}).items()
    ]


def parts_of(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema, and those of its fields and items that are written out in it."""
    yield schema
    within = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    for part in [*within, schema.get("items"), schema.get("additionalProperties")]:
        if isinstance(part, dict):
            yield from parts_of(part)


def test_every_route_is_described() -> None:
    for path, method, operation in operations():
        route = f"{method} {path}"
        assert operation["summary"][0].isupper(), route
        assert operation["description"].strip(), route
        assert len(operation["tags"]) == 1, route
        assert operation["tags"][0] in TAGS, route
        assert "200" in operation["responses"], route
        if path not in OPEN_PATHS:
            for status in ERRORS:
                content = operation["responses"][status]["content"]["application/json"]
                assert content["schema"] == {"$ref": f"{REF}ErrorBody"}, route


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
    responses = document()["paths"][path]["post"]["responses"]
    for status in ("402", "502", "504"):
        content = responses[status]["content"]["application/json"]
        assert content["schema"] == {"$ref": f"{REF}ErrorBody"}
    assert "text/event-stream" in responses["200"]["content"]


def test_an_error_is_described_once_and_as_it_is_sent() -> None:
    schemas = document()["components"]["schemas"]
    assert set(schemas["ErrorBody"]["properties"]) == {"detail", "message", "error", "errors"}
    assert schemas["ErrorBody"]["properties"]["error"] == {"$ref": f"{REF}ErrorDetail"}
    assert "HTTPValidationError" not in json.dumps(document())


def test_a_route_carries_no_error_models() -> None:
    # Ten models for each of some seventy routes were most of what a start cost.
    undescribed = get_openapi(title="", version="", routes=create_app(make_settings()).routes)
    assert len(undescribed["paths"]) > 40
    assert "ErrorBody" not in undescribed["components"]["schemas"]


def test_what_the_page_shows_of_a_body_fits_its_schema() -> None:
    assert len(bodies()) > 40
    for route, schema in bodies():
        assert misfits(schema, example_of(schema)) == [], route
    schemas = document()["components"]["schemas"]
    assert len(schemas) > 80
    for name, schema in schemas.items():
        assert misfits(schema, example_of(schema)) == [], name


def test_every_example_fits_its_schema() -> None:
    parameters = [each for _, _, one in operations() for each in one.get("parameters", ())]
    schemas = [
        *document()["components"]["schemas"].items(),
        *bodies(),
        *((each["name"], each["schema"]) for each in parameters),
    ]
    fitting = 0
    for name, schema in schemas:
        for part in parts_of(schema):
            for example in part.get("examples", ()):
                assert misfits(part, example) == [], f"{name}: {example}"
                fitting += 1
    assert fitting > 200


def test_no_text_is_shown_as_a_placeholder() -> None:
    placeholder = json.dumps(PLACEHOLDERS["string"])
    shown = {**document()["components"]["schemas"]}
    for route, schema in bodies():
        # Of a request each field, also where the whole body has an example of its own.
        for option in schema.get("anyOf", [schema]):
            fields = resolved(option).get("properties", {})
            shown |= {f"{route}: {name}": field for name, field in fields.items()}
    assert len(shown) > 200
    for name, schema in shown.items():
        assert placeholder not in json.dumps(example_of(schema)), name


def test_every_failure_has_an_example_of_its_own() -> None:
    body = document()["components"]["schemas"]["ErrorBody"]
    validator = jsonschema_rs.validator_for(with_references(body))
    for path, method, operation in operations():
        route = f"{method} {path}"
        said = {}
        for status, response in operation["responses"].items():
            if status >= "400":
                example = response["content"]["application/json"]["example"]
                found = [error.message for error in validator.iter_errors(example)]
                assert found == [], route
                assert example["detail"] == example["error"]["message"], route
                said[status] = example["detail"]
        assert len(set(said.values())) == len(said), route
        if "{project_id}" in path:
            assert said["404"] == "Project not found", route


def test_a_stream_has_an_example_as_it_is_sent() -> None:
    streams = 0
    for _, _, operation in operations():
        for content in operation["responses"]["200"].get("content", {}).items():
            if content[0] == "text/event-stream":
                streams += 1
                blocks = content[1]["example"].removesuffix("\n\n").split("\n\n")
                assert [json.loads(block.partition("data: ")[2]) for block in blocks[:-1]]
                assert blocks[-1] == "data: [DONE]"
    assert streams == 9


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))


def test_operation_ids_are_names_that_a_generated_client_can_have() -> None:
    ids = {operation["operationId"] for _, _, operation in operations()}
    assert {"list_conversations", "create_message", "create_completion"} <= ids
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+){1,4}", name) for name in ids), ids


def test_tags_come_in_the_order_a_newcomer_needs() -> None:
    assert [tag["name"] for tag in document()["tags"]] == list(TAGS)
    used = {operation["tags"][0] for _, _, operation in operations()}
    assert used <= set(TAGS)


def test_the_key_can_be_entered_on_the_page() -> None:
    assert document()["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert {"key": []} in document()["security"]


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
        app.openapi_schema = {"openapi": "3.1.0"}
        assert (await client.get("/redoc")).headers["location"] == "/docs"
        for path in ("/docs", "/openapi.json", "/docs/assets/swagger-ui.css"):
            assert (await client.get(path)).status_code == 200
        missing = await client.get("/docs/assets/../../pyproject.toml")
        assert missing.status_code == 404


async def test_the_description_is_written_once(mock: Database) -> None:
    async with running_app(mock, make_settings()) as app, client_of(app) as client:
        made_in: list[threading.Thread] = []
        make = app.openapi

        def note() -> dict[str, Any]:
            made_in.append(threading.current_thread())
            found: dict[str, Any] = make()
            return found

        app.openapi = note
        first = await client.get("/openapi.json")
        # It takes too long for the thread that answers everybody.
        assert made_in != [threading.main_thread()]
        assert first.json() == json.loads(json.dumps(make()))
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
