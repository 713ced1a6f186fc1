"""The OpenAPI document, written once a process: that takes most of a second."""

from typing import Any

from proxy.app import create_app
from tests.conftest import make_settings

DOCUMENT: dict[str, Any] = create_app(make_settings()).openapi()
