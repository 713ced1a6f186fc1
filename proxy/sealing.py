"""`encrypted_content`: what a client carries for the server, and nobody else can read."""

import base64
import os
from typing import Any

import orjson
from cryptography.fernet import Fernet, InvalidToken


def new_key() -> str:
    """Make a key for `Sealer`."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


class Sealer:
    """Seals a small object to a text that only the same key opens."""

    def __init__(self, key: str) -> None:
        self._fernet = Fernet(key)

    def seal(self, value: dict[str, Any]) -> str:
        """Return the value as an opaque text."""
        return self._fernet.encrypt(orjson.dumps(value)).decode()

    def unseal(self, text: str) -> dict[str, Any] | None:
        """Open a text; None when it is not of this server, or was changed."""
        try:
            value = orjson.loads(self._fernet.decrypt(text))
        except (InvalidToken, ValueError):
            return None
        return value if isinstance(value, dict) else None
