"""The OpenAPI document, written once a process where it is read: that takes half a second."""

from functools import cache
from typing import Any

from proxy.app import create_app
from tests.conftest import make_settings


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
