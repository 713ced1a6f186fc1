"""Moves of messages to pages, killed at a step of choice."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from proxy.documents.base import DEFAULT_OWNER, Raw, utc_now
from proxy.documents.conversation import Conversation
from proxy.documents.message import StoredMessage, attempt_name
from proxy.documents.message_page import MessagePage

MAX_MESSAGES = 6


MAX_BYTES = 6_000


class Steps:
    """A conversation collection that calls a hook before each step of a move and at its end.

    The steps of `MessagePage.take_from`: 0 before it reads the tail, 1 before it closes the
    range that moves, 2 before the page is committed (it is written by then), 3 after that.
    """

    def __init__(self, hook: Callable[[int], Awaitable[None]]) -> None:
        self._hook = hook
        self._collection = Conversation.collection()

    async def find_one(self, *args: Any, **kwargs: Any) -> Any:
        await self._hook(0)
        return await self._collection.find_one(*args, **kwargs)

    async def find_one_and_update(self, *args: Any, **kwargs: Any) -> Any:
        await self._hook(1)
        return await self._collection.find_one_and_update(*args, **kwargs)

    async def update_one(self, *args: Any, **kwargs: Any) -> Any:
        await self._hook(2)
        result = await self._collection.update_one(*args, **kwargs)
        await self._hook(3)
        return result


async def move(id_: str, hook: Callable[[int], Awaitable[None]] | None = None) -> bool:
    async def nothing(_: int) -> None: ...

    return await MessagePage.take_from(
        Steps(hook or nothing), id_, max_messages=MAX_MESSAGES, max_bytes=MAX_BYTES
    )


def message(id_: int, content: str, **fields: Any) -> StoredMessage:
    now = utc_now()
    stored: Raw = {
        "id": id_,
        "role": "user",
        "content": content,
        "created_at": now,
        "updated_at": now,
        "status": "complete",
        "revision": 0,
        "attempt": attempt_name(id_, 0),
        **fields,
    }
    return cast(StoredMessage, stored)


async def listed(id_: str) -> list[StoredMessage]:
    return [m async for part in Conversation.history(DEFAULT_OWNER, id_) for m in part]
