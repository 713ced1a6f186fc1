"""The OpenAPI document, written once a process where it is read: that takes half a second."""

from functools import cache
from typing import Any

from proxy.app import create_app
from proxy.web.openapi import REF
from tests.conftest import make_settings

PLACEHOLDERS: dict[str, Any] = {
    "string": "string",
    "integer": 0,
    "number": 0,
    "boolean": True,
    "object": {},
    "null": None,
}
"""What Swagger UI shows of a field that says no more than its type."""

SAID = ("default", "const")
"""Where a schema says a value itself, in this order, if it has no example."""

FORMATS = {"date-time": "2026-01-01T00:00:00Z", "binary": ""}


@cache
def document() -> dict[str, Any]:
    return create_app(make_settings()).openapi()


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Every path with its methods and what is said of them."""
    return [
        (path, method, operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    ]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema, or the one that it refers to."""
    if "$ref" in schema:
        found: dict[str, Any] = document()["components"]["schemas"][
            schema["$ref"].removeprefix(REF)
        ]
        return found
    return schema


def example_of(schema: dict[str, Any]) -> Any:
    """What the page of the API shows for a schema, composed as Swagger UI does it."""
    said = [*schema.get("examples", ()), *(schema[key] for key in SAID if key in schema)]
    if said:
        return said[0]
    if "enum" in schema:
        return schema["enum"][0]
    if "$ref" in schema:
        return example_of(resolved(schema))
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0])
    return _placeholder(schema)


def _placeholder(schema: dict[str, Any]) -> Any:
    if schema["type"] == "array":
        return [example_of(schema["items"])]
    if "properties" in schema:
        return {name: example_of(field) for name, field in schema["properties"].items()}
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    return schema.get("minimum", PLACEHOLDERS[schema["type"]])
