"""A client of a live server that reads streams frame by frame."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from proxy.providers.base import Provider
from tests.fakes.faults import FaultyUpstream
from tests.support.providers import provider_for

CONVERSATIONS = "/v1/chat/conversations"
MESSAGES = "/v1/chat/messages"
MODEL = "test-model"


def provider(upstream: FaultyUpstream, **settings: Any) -> Provider:
    """The provider that speaks the upstream's protocol."""
    return provider_for(upstream, **{"read_timeout_seconds": 30, **settings})


async def create(client: httpx.AsyncClient, **fields: Any) -> str:
    response = await client.post(CONVERSATIONS, json={"model": MODEL, **fields})
    assert response.status_code == 200, response.text
    return str(response.json()["conversation_id"])


async def say(
    client: httpx.AsyncClient, id_: str, content: str = "Hi", *, key: str = "", **fields: Any
) -> httpx.Response:
    """One turn, answered whole."""
    return await client.post(
        f"{CONVERSATIONS}/{id_}/messages",
        json={"content": content, **fields},
        headers={"Idempotency-Key": key} if key else {},
    )


async def history(client: httpx.AsyncClient, id_: str) -> list[dict[str, Any]]:
    response = await client.get(f"{CONVERSATIONS}/{id_}/messages")
    assert response.status_code == 200, response.text
    messages: list[dict[str, Any]] = response.json()["messages"]
    return messages


async def stored(client: httpx.AsyncClient, message_id: int) -> dict[str, Any]:
    response = await client.get(f"{MESSAGES}/{message_id}")
    assert response.status_code == 200, response.text
    message: dict[str, Any] = response.json()
    return message


class Stream:
    """The frames of one answer, as they come."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.status = response.status_code
        self.seen: list[dict[str, Any]] = []
        """Every frame so far."""
        self.heartbeats = 0
        self.done = False
        self._buffer = b""
        self._bytes = response.aiter_raw()

    @property
    def text(self) -> str:
        """What a client that only appends has."""
        return "".join(frame.get("content", "") for frame in self.seen)

    @property
    def message_id(self) -> int:
        return int(self.seen[0]["assistant_message_id"])

    async def frame(self) -> dict[str, Any] | None:
        """The next frame; None at `[DONE]` and at the end."""
        while not self.done:
            block, found, rest = self._buffer.partition(b"\n\n")
            if not found:
                self._buffer += await anext(self._bytes)
                continue
            self._buffer = rest
            if block.startswith(b":"):
                self.heartbeats += 1
                continue
            assert block.startswith(b"data: "), block
            if block == b"data: [DONE]":
                self.done = True
                break
            self.seen.append(json.loads(block[6:]))
            return self.seen[-1]
        return None

    async def until(self, text: str) -> None:
        """Read until the client has this text."""
        while self.text != text:
            frame = await self.frame()
            assert frame is not None, self.seen
            assert text.startswith(self.text), self.seen

    async def rest(self) -> list[dict[str, Any]]:
        """Read to the end; every frame. `[DONE]` must come, and nothing after it."""
        while await self.frame() is not None:
            pass
        assert self.done
        assert self._buffer == b""
        return self.seen

    def json(self) -> Any:
        return self.response.json()


@asynccontextmanager
async def streaming(
    client: httpx.AsyncClient, id_: str, content: str = "Hi", *, key: str = "", **fields: Any
) -> AsyncIterator[Stream]:
    """One streamed turn; leaving the block closes the connection."""
    async with client.stream(
        "POST",
        f"{CONVERSATIONS}/{id_}/messages",
        json={"content": content, "stream": True, **fields},
        headers={"Idempotency-Key": key} if key else {},
    ) as response:
        if response.status_code != 200:
            await response.aread()
        yield Stream(response)


async def answer_of(
    client: httpx.AsyncClient, id_: str, *, stream: bool, key: str = "k"
) -> tuple[int, int, str]:
    """One turn under a key: the id of its message, that of its reply, and the reply's text."""
    if not stream:
        body = (await say(client, id_, key=key)).json()
        return body["user_message_id"], body["assistant_message_id"], body["reply"]
    async with streaming(client, id_, key=key) as frames:
        first, *_ = await frames.rest()
        return first["user_message_id"], first["assistant_message_id"], frames.text


@asynccontextmanager
async def joining(
    client: httpx.AsyncClient, message_id: int, **params: Any
) -> AsyncIterator[Stream]:
    """A running or finished reply, joined."""
    async with client.stream("GET", f"{MESSAGES}/{message_id}/stream", params=params) as response:
        if response.status_code != 200:
            await response.aread()
        yield Stream(response)


def engine_of(client: httpx.AsyncClient) -> Any:
    """The engine of a `live` server."""
    return client.app.state.engine  # type: ignore[attr-defined]


async def ended(client: httpx.AsyncClient, message_id: int) -> None:
    """Return once the server has stored the end of a reply that it writes."""
    generation = engine_of(client).running.get(message_id)
    if generation is not None:
        await generation.ended.wait()
