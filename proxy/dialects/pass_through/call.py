"""What is passed on: a JSON body, or a form with files (`upload.py`)."""

from typing import Any, NamedTuple, Protocol

from proxy.providers.base import Usage
from proxy.providers.registry import Route
from proxy.providers.upstream import StreamedBody
from proxy.responses import dumps
from proxy.streaming.generation import estimate_tokens

COUNTED = frozenset({"/embeddings", "/audio/speech"})
"""Where what goes in is paid by its length: estimated where the upstream does not count it."""


class Content(Protocol):
    """The body of a call, whose model can be another one for every upstream."""

    @property
    def wants_stream(self) -> bool:
        """Whether the client asks for events."""
        ...

    def body_for(self, model: str) -> bytes | StreamedBody:
        """Return the body that asks this model; an empty name leaves it to the upstream."""
        ...

    def estimate(self) -> Usage | None:
        """Return about what goes in, where that can be told."""
        ...

    def close(self) -> None:
        """Let go of what is kept for it."""
        ...


class PassedCall(NamedTuple):
    """A call on its way: `path` is what follows the upstream's base URL."""

    owner: str
    path: str
    routes: list[Route]
    content: Content


class JsonContent:
    """A JSON body: `raw` are the bytes of `body` as the client sent them."""

    def __init__(self, body: dict[str, Any], raw: bytes, path: str) -> None:
        self._body = body
        self._raw = raw
        self._is_counted = path in COUNTED

    @property
    def wants_stream(self) -> bool:
        """Whether the client asks for events."""
        return self._body.get("stream") is True or self._body.get("stream_format") == "sse"

    def body_for(self, model: str) -> bytes:
        """Return the client's own bytes wherever nothing has to change."""
        if self._body.get("model", "") == model:
            return self._raw
        rest = {key: value for key, value in self._body.items() if key != "model"}
        return dumps({**rest, "model": model} if model else rest)

    def estimate(self) -> Usage | None:
        """Return about how many tokens the input has; numbers in it are tokens."""
        if not self._is_counted:
            return None
        given = self._body.get("input")
        parts = given if isinstance(given, list) else [given]
        tokens = sum(
            len(part) if isinstance(part, list) else isinstance(part, int) for part in parts
        )
        return Usage(estimate_tokens(parts) + tokens, 0, "estimated")

    def close(self) -> None:
        """Nothing is kept."""
