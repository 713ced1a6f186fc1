"""The built-in echo: a model that needs no account, so that a first start shows a stream."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from proxy.errors import ModelNotFound
from proxy.providers.base import CompletionRequest, Delta, Usage

MODEL = "echo"
NOTICE = (
    "This is the built-in echo: no model is configured "
    "(set OPENAI_API_KEY or POE_API_KEY to talk to one). You said:\n\n"
)
PIECES = 200
PIECE_CHARACTERS = 8
CHARACTERS_PER_TOKEN = 4


class EchoProvider:
    """Says that it is the echo, then repeats the user's last message; see `Provider`.

    `delay_seconds` lies between two pieces, so that a stream looks like one.
    """

    def __init__(self, *, name: str = "echo", delay_seconds: float = 0.01) -> None:
        self.name = name
        self._delay_seconds = delay_seconds

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        """Repeat the last user message in small pieces.

        Raises:
            ModelNotFound: another model than `echo` was asked for.
        """
        if request.model != MODEL:
            raise ModelNotFound(
                f"The echo does not know the model '{request.model[:100]}'; "
                "set OPENAI_API_KEY or POE_API_KEY to talk to one"
            )
        yield Delta()
        texts = [_text(message.get("content")) for message in request.messages]
        users = [
            text
            for text, message in zip(texts, request.messages, strict=True)
            if message.get("role") == "user"
        ]
        reply = NOTICE + (users[-1] if users else "")
        size = max(PIECE_CHARACTERS, -(-len(reply) // PIECES))
        for start in range(0, len(reply), size):
            await asyncio.sleep(self._delay_seconds)
            yield Delta(text=reply[start : start + size])
        yield Delta(
            finish_reason="stop",
            usage=Usage(_tokens("".join(texts)), _tokens(reply), "estimated"),
        )

    async def list_models(self) -> list[dict[str, Any]]:
        """Return the one model there is."""
        return [{"id": MODEL, "object": "model", "created": 0, "owned_by": "proxy"}]

    async def close(self) -> None:
        """Nothing is open."""


def _text(content: Any) -> str:
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)
