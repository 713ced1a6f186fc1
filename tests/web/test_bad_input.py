"""Every field of every body, as it must not be: one sentence, nothing stored, no 500."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from proxy.schemas.common import NOT_UTF8
from tests.support.openapi import document, example_of, resolved

WRONG: dict[str, tuple[Any, ...]] = {
    "string": ("\ud800", True, {"$gt": ""}, ["x"]),
    "integer": (True, "x", 1.5, 2**63, -(2**70), {"$gt": 0}, [1]),
    "number": ("x", {"$gt": 0}, [1]),
    "boolean": ("perhaps", 7, {"$ne": 1}, [True]),
    "array": ("x", 5, {"$gt": ""}),
    "object": ("x", 5, ["x"]),
}
"""By the type that a schema asks for."""


def wrong(schema: dict[str, Any]) -> Iterator[Any]:
    """Values that a field of this schema does not take."""
    schema = resolved(schema)
    options = [resolved(one) for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if options:
        types = {option.get("type") for option in options}
        if len(types) == 1:
            yield from wrong(options[0])
        return
    yield from WRONG.get(schema.get("type", ""), ())
    if schema.get("type") == "array":
        for value in wrong(schema["items"]):
            yield [value]


READ_AS_BYTES = (
    *("/v1/chat/completions", "/v1/responses", "/v1/conversations", "/v1/completions"),
    *("/v1/embeddings", "/v1/moderations", "/v1/images", "/v1/audio"),
)
"""Their bodies are not read by FastAPI: half a character is found before any field is."""


def bodies() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and schema of every body."""
    for path, operations in document()["paths"].items():
        if path == "/v1/write-source-code":
            # Off here; its own tests send wrong bodies.
            continue
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            schema = resolved(content.get("application/json", {}).get("schema", {}))
            if schema.get("properties"):
                yield method, path, schema


@pytest.fixture
async def ids(client: httpx.AsyncClient) -> dict[str, Any]:
    """One of each that a path can name."""
    conversation = await client.post("/v1/chat/conversations", json={})
    id_ = conversation.json()["conversation_id"]
    turn = await client.post(f"/v1/chat/conversations/{id_}/messages", json={"content": "hi"})
    document = await client.post("/v1/plan/documents", json={"category_id": 1, "filename": "a"})
    return {
        "conversation_id": id_,
        "message_id": turn.json()["assistant_message_id"],
        "project_id": (await client.post("/v1/projects", json={"name": "one"})).json()["id"],
        "document_id": document.json()["id"],
        "category_id": 1,
    }


@pytest.mark.parametrize("database", ["mock"], indirect=True)
async def test_a_wrong_field_is_named_in_one_sentence(
    client: httpx.AsyncClient, ids: dict[str, Any]
) -> None:
    there = {**ids, "model": "echo", "conversation": ids["conversation_id"]}
    tried = set()
    for method, path, schema in bodies():
        shown = schema["examples"][-1] if "examples" in schema else example_of(schema)
        example = {key: value for key, value in shown.items() if value is not None}
        good = example | {key: there[key] for key in example.keys() & there}
        for name, field in schema["properties"].items():
            for value in wrong(field):
                response = await client.request(
                    method,
                    path.format_map({"key_id": "x", "user_id": "x", "item_id": "msg_1", **ids}),
                    content=json.dumps({**good, name: value}),
                    headers={"Content-Type": "application/json"},
                )
                said = f"{method} {path}: {name}: {value!r}: {response.status_code} {response.text}"
                assert response.status_code in (400, 422), said
                # A body that is passed on is looked at as bytes.
                sentence = response.json()["detail"]
                assert value != "\ud800" or "surrogate pair" in sentence, said
                passed_on = path.startswith(READ_AS_BYTES) and "surrogate" in sentence
                assert name in sentence or passed_on, said
                tried.add((method, path))
    assert len(tried) > 30


@pytest.mark.parametrize("database", ["mock"], indirect=True)
@pytest.mark.parametrize("body", [b"", b"[1]", b'"x"', b"5", b"null"])
async def test_a_body_that_is_no_object_is_told_so(client: httpx.AsyncClient, body: bytes) -> None:
    for path in ("/v1/projects", "/v1/chat/messages/delete", "/v1/chat/completions"):
        response = await client.post(
            path, content=body, headers={"Content-Type": "application/json"}
        )
        assert response.status_code in (400, 422)
        assert response.json()["detail"] in (
            "The request body must be a JSON object",
            "The request body is not valid JSON",
        )


@pytest.mark.parametrize("database", ["mock"], indirect=True)
@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_time_that_has_no_year_in_utc_is_refused(
    client: httpx.AsyncClient, ids: dict[str, Any], time: str
) -> None:
    response = await client.put(
        f"/v1/chat/messages/{ids['message_id']}", json={"content": "x", "created_at": time}
    )
    assert response.status_code == 422
    assert "between the years 1 and 9999" in response.json()["detail"]


JSON = {"Content-Type": "application/json"}
BODY = '{"model": "echo", "content": "你好", "messages": [{"role": "user", "content": "你好"}]}'


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/projects"])
async def test_a_body_in_another_encoding_is_told_so(client: httpx.AsyncClient, path: str) -> None:
    for encoding in ("gbk", "latin-1"):
        raw = BODY.replace("你好", "é" if encoding == "latin-1" else "你好").encode(encoding)
        response = await client.post(path, content=raw, headers=JSON)
        assert response.status_code == 400
        assert response.json()["detail"] == NOT_UTF8


async def test_a_byte_order_mark_says_nothing(client: httpx.AsyncClient) -> None:
    raw = b"\xef\xbb\xbf" + BODY.encode()
    answer = await client.post("/v1/chat/completions", content=raw, headers=JSON)
    assert answer.json()["choices"][0]["message"]["content"].endswith("你好")
    made = await client.post("/v1/chat/conversations", content=b"\xef\xbb\xbf{}", headers=JSON)
    assert made.status_code == 200
