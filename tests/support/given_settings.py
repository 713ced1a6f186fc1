"""Settings that are what a test says."""

from typing import Any

from pydantic import BaseModel

from proxy.settings import Settings


class GivenSettings(Settings):
    """Take the given fields and the defaults, checked as ever.

    The environment and the files, which hold nothing in a test, would be asked for each field:
    five times the work, in every test that starts the application.
    """

    def __init__(self, **fields: Any) -> None:
        BaseModel.__init__(self, **fields)
