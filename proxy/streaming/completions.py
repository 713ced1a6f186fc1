"""Calls of models that have ended, and who counts them."""

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import NamedTuple

from proxy.documents.message import Status
from proxy.providers.base import Usage

log = logging.getLogger(__name__)

TELL_SECONDS = 0.02
"""How long a call waits for others that end: what counts many in a row takes a quarter each."""

TOLD_AT_ONCE = 100
"""As many do not wait for more: with a log line each they take the event loop some 3 ms."""


class Completed(NamedTuple):
    """What one call of a model came to, stored or not.

    `conversation_id` and `message_id` are empty for a stateless call.
    """

    owner: str
    provider: str
    model: str
    usage: Usage | None
    status: Status
    ended_at: float
    """In seconds since 1970."""
    first_token_ms: int | None
    duration_ms: int | None
    conversation_id: str = ""
    message_id: int | None = None
    project_id: int = 0
    error_type: str = ""
    """The `type` of the error that it ended with."""


class Completions:
    """Gives every call that has ended to all `listeners`, in the context of who began it."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[Completed], None]] = []
        self._untold: list[tuple[contextvars.Context, Completed]] = []

    def add(self, call: Completed) -> None:
        """Tell the listeners within `TELL_SECONDS`: nobody waits for what they do."""
        if not self._untold:
            asyncio.get_running_loop().call_later(TELL_SECONDS, self.tell)
        self._untold.append((contextvars.copy_context(), call))
        if len(self._untold) >= TOLD_AT_ONCE:
            self.tell()

    def tell(self) -> None:
        """Tell the listeners now; for whoever reads what they count."""
        untold, self._untold = self._untold, []
        for listener in self.listeners:
            for context, call in untold:
                context.run(_tell, listener, call)


def _tell(listener: Callable[[Completed], None], call: Completed) -> None:
    """Tell one listener; one that fails must not keep the call from the others."""
    try:
        listener(call)
    except Exception:
        log.exception("a call of a model was not counted")
