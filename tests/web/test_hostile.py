"""Hostile bodies at every route: a 4xx with one sentence, never a 5xx, nothing by accident."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from proxy.database import Database
from tests.support.depth import share
from tests.support.errors import check_error
from tests.support.hostile_server import BODIES, FIELDS, JSON, MUST_FAIL, VALUES
from tests.support.keys import ADMIN, bearer, locked
from tests.support.openapi import document
from tests.support.owners import PASSED, UNKNOWN, Things, bodies, everything_of, queries

pytestmark = pytest.mark.slow

PASSED_ON = {
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/responses/compact"),
    ("POST", "/v1/responses/input_tokens"),
    *(("POST", f"/v1/{path}") for path in PASSED),
}
"""What a model's provider judges, not we."""

READ_ALIKE = {f"/v1/{path}" for path in PASSED} - {"/v1/embeddings", "/v1/completions"}
"""Read by the function that reads embeddings: the same bodies again would tell nothing."""


@pytest.fixture
async def client(wire: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with locked(wire, source_write=True) as client:
        client.headers.update(bearer(ADMIN))
        yield client


def writes() -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation of every route that takes a JSON body."""
    return [
        (method.upper(), path, operation)
        for path, operations in document()["paths"].items()
        for method, operation in operations.items()
        if JSON in operation.get("requestBody", {}).get("content", {}) and path not in READ_ALIKE
    ]


def check(response: httpx.Response, where: str) -> None:
    assert response.status_code < 500, f"{where}: {response.text[:500]}"
    if response.status_code >= 400:
        sentence = check_error(response)
        assert len(sentence) < 2000, where
        assert "Traceback" not in response.text


async def test_two_hundred_hostile_bodies_at_every_route(client: httpx.AsyncClient) -> None:
    routes = writes()
    assert len(routes) > 20
    labels = {label for label, _ in MUST_FAIL}
    for number, (method, path, operation) in enumerate(routes):
        url = path.format(**UNKNOWN)
        required = operation["requestBody"].get("required")
        known = {*schema_of(operation).get("properties", ()), "name"}
        for label, body in share(BODIES, number, of=6):
            if label.partition(":")[0] in {*FIELDS} - known:
                # Not one of its fields, as the name is not: read past, or refused, like that one.
                continue
            response = await client.request(
                method, url, content=body, headers={"Content-Type": JSON}
            )
            where = f"{method} {path}: {label}"
            check(response, where)
            if path.endswith("/import") and body == b"[]":
                continue
            if label in labels and (required or body != b"null"):
                assert response.status_code >= 400, where
    assert (await client.get("/v1/chat/messages/1")).status_code == 404
    # No body says whose a thing is, or what a key may do.
    for name, documents in (await everything_of("*")).items():
        assert all(document["is_builtin"] for document in documents), name


async def test_no_field_takes_an_operator(client: httpx.AsyncClient) -> None:
    ids = await Things(client, ADMIN).make()
    operators = [value for label, value in VALUES.items() if "operator" in label]
    tried = 0
    for method, path, operation in writes():
        body = bodies(ids).get((method, path), {"userName": "x", "password": "x"})
        if (method, path) in PASSED_ON:
            continue
        schema = schema_of(operation)
        for field in schema.get("properties", ()):
            for operator in operators:
                response = await client.request(
                    method, path.format(**ids), json={**body, field: operator}
                )
                where = f"{method} {path} {field}: {operator}"
                assert response.status_code in (400, 422), f"{where}: {response.text}"
                check(response, where)
                tried += 1
    assert tried > 300


def schema_of(operation: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = operation["requestBody"]["content"][JSON]["schema"]
    for option in schema.get("anyOf", [schema]):
        if "$ref" in option:
            name = option["$ref"].rpartition("/")[2]
            found: dict[str, Any] = document()["components"]["schemas"][name]
            return found
    return schema


async def test_no_query_takes_an_operator(client: httpx.AsyncClient) -> None:
    ids = await Things(client, ADMIN).make()
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            known = queries(ids).get((method.upper(), path), {})
            for parameter in operation.get("parameters", []):
                if parameter["in"] != "query" or method != "get":
                    continue
                for name, value in (
                    (parameter["name"], '{"$gt": ""}'),
                    (parameter["name"] + "[$gt]", "0"),
                    (parameter["name"] + "[$ne]", ""),
                ):
                    response = await client.get(path.format(**ids), params={**known, name: value})
                    check(response, f"{path} {name}={value}")


async def test_paths_that_look_like_operators_are_unknown_ids(client: httpx.AsyncClient) -> None:
    for id_ in ('{"$gt":""}', "%00", "..%2f..%2fetc", "%F0%9F%98%80", "a" * 5000, "null", "$where"):
        response = await client.get(f"/v1/chat/conversations/{id_}")
        assert response.status_code in (404, 422), id_
        check(response, id_)
    for number in ("0", "-1", "9223372036854775808", "1e3", "１", "0x1", "%00", "1" * 5000):
        response = await client.get(f"/v1/chat/messages/{number}")
        assert response.status_code in (404, 422), number
        check(response, number)


async def test_operators_in_what_is_kept_stay_text(client: httpx.AsyncClient) -> None:
    """OpenAI's messages are kept as they are; their keys are never read as operators."""
    made = await client.post("/v1/chat/conversations", json={})
    conversation = made.json()["conversation_id"]
    deep: Any = "x"
    for _ in range(150):
        deep = {"a": deep}
    for content in (
        [{"type": "text", "text": "hi", "deep": deep}],
        [{"type": "text", "text": "hi", "$set": {"owner": "x"}}],
        [{"type": "text", "text": "hi", "a.b": {"$inc": 1}}],
        [{"type": "text", "text": "hi", "": {"": None}}],
        [{"type": "text", "text": "$$NOW"}],
    ):
        response = await client.post(
            "/v1/chat/completions",
            json={
                "model": "echo",
                "messages": [{"role": "user", "content": content}],
                "conversation": conversation,
            },
        )
        check(response, str(content))
    listed = (await client.get("/v1/chat/conversations")).json()
    assert [entry["id"] for entry in listed] == [conversation]


@pytest.mark.parametrize("pattern", ["(a+)+$", ".*", "[", "\\", "^", "$", "*", "(?#", "\x00"])
async def test_a_search_is_literal(client: httpx.AsyncClient, pattern: str) -> None:
    file = {"project_id": 1, "category_id": 1, "content": "x"}
    for name in ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", "b.md"):
        await client.post("/v1/plan/documents", json={**file, "filename": name})
    response = await client.get("/v1/plan/documents/latest", params={"query": pattern})
    check(response, pattern)
    if response.status_code == 200:
        assert response.json()["items"] == []
