"""A provider that remembers what it was asked."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from proxy.providers.base import CompletionRequest, Delta, Usage


class Listener:
    """Answers every request with the same pieces; waits for `gate` before the last one."""

    name = "listener"

    def __init__(self, *pieces: str, finish_reason: str | None = "stop") -> None:
        self.pieces = pieces or ("答", "复")
        self.finish_reason = finish_reason
        self.failure: Callable[[], Exception] | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.requests: list[CompletionRequest] = []

    @property
    def system_prompt(self) -> str | None:
        """Of the last request."""
        first = self.requests[-1].messages[0]
        return first["content"] if first["role"] == "system" else None

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        yield Delta()
        for piece in self.pieces[:-1]:
            yield Delta(text=piece)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure()
        yield Delta(text=self.pieces[-1])
        yield Delta(finish_reason=self.finish_reason, usage=Usage(3, 2, "reported"))

    async def list_models(self) -> list[dict[str, Any]]:
        return [{"id": "m", "object": "model", "created": 0, "owned_by": "listener"}]

    async def close(self) -> None:
        return None
