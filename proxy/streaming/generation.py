"""One reply, from reserved ids to stored text.

A `Generation` is a task of the server. It reads deltas from a provider, keeps them in
memory as a `Draft`, is checkpointed to its message now and then, and stores how it ended.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from pymongo.errors import PyMongoError

from proxy.documents.base import Raw, is_too_large, utc_now
from proxy.documents.conversation import Conversation
from proxy.documents.message import Status, packed
from proxy.documents.message_place import Place, Placed
from proxy.errors import (
    NotFound,
    ProxyError,
    ReplyDeleted,
    ReplyInterrupted,
    ReplyTruncated,
    StorageUnavailable,
    TooLarge,
    UpstreamError,
)
from proxy.providers.base import CompletionRequest, Usage
from proxy.providers.fallback import ask_in_turn
from proxy.providers.registry import Route
from proxy.settings import Settings
from proxy.streaming.draft import Draft, Progress

log = logging.getLogger(__name__)

EndReason = Literal["stopped", "deleted", "shutdown", "too_long"]
"""Why a reply was ended from this side."""

WRITE_ATTEMPTS = 8
"""How often a message that moved meanwhile is looked for in one write."""

UNSTORED = "The database does not answer; the reply could not be stored"

__all__ = [
    "Draft",
    "Generation",
    "Progress",
    "estimate_tokens",
]


class Generation(Draft):
    """A reply while it is written, and for its followers a little longer.

    After `ended` is set, `status`, `finish_reason`, `error` and `usage` are final and stored.
    """

    def __init__(
        self,
        *,
        place: Place,
        message_id: int,
        attempt: str,
        user_message_id: int | None,
        routes: Sequence[Route],
        request: CompletionRequest,
        settings: Settings,
        conversation_fields: Raw | None = None,
    ) -> None:
        super().__init__()
        self.place = place
        self.message_id = message_id
        self.attempt = attempt
        self.user_message_id = user_message_id
        self.request = request
        self.routes = list(routes)
        self.provider = self.routes[0].provider.name
        self.model = self.routes[0].model
        self._settings = settings
        self._conversation_fields = conversation_fields

        self.status: Status = "streaming"
        self.error: ProxyError | None = None
        self.tail_size: tuple[int, int] | None = None
        """Messages and bytes of the tail that it was appended to, where it was."""
        self.omitted_messages = 0
        """Messages of the history that its prompt left out."""
        self.project_id = 0
        """The label of its conversation, for whoever counts."""

        self.started_at: datetime = utc_now()
        self.duration_ms: int | None = None
        self._accepted = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._end_reason: EndReason | None = None
        self.checkpointed_at = self._clock_start
        self._checkpointed: tuple[int, int, int] = (0, 0, 0)

    async def opened(self, timeout_seconds: float) -> None:
        """Wait until the upstream accepted the request, and not longer than the time-out.

        Raises:
            ProxyError: it failed before anything arrived; the error is stored already.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._accepted.wait()
        except TimeoutError:
            return
        if self.error is not None and not self.has_begun:
            await self.ended.wait()
            raise self.error

    # Writing

    async def run(self, on_end: Callable[["Generation"], None]) -> None:
        """Read the reply to its end, whatever that is, and store it; raises nothing."""
        self._reader = asyncio.create_task(self._read())
        if self._end_reason is not None:
            self._reader.cancel()
        await asyncio.wait((self._reader,))
        self._judge(self._reader)
        self.duration_ms = self.elapsed_ms()
        try:
            # Those who wait for the upstream's answer learn of a failure once it is stored.
            await self._store()
        except Exception:
            log.exception("reply %d cannot be stored", self.message_id)
            self.status, self.error = "failed", StorageUnavailable(UNSTORED)
        on_end(self)
        self.ended.set()
        self._accepted.set()
        self.wake()

    def end(self, reason: EndReason) -> None:
        """Close the upstream connection now; the text so far stays."""
        if self._end_reason is None and self.status == "streaming":
            self._end_reason = reason
            if self._reader is not None:
                self._reader.cancel()

    async def _read(self) -> None:
        """Ask the routes in turn until one answers or none will.

        Raises:
            UpstreamError: the last failure.
        """
        await ask_in_turn(
            self.routes,
            self._read_route,
            budget_seconds=self._settings.retry_budget_seconds,
            has_begun=lambda: self.has_begun,
        )

    async def _read_route(self, route: Route) -> None:
        self.provider, self.model = route.provider.name, route.model
        request = self.request
        if request.model != route.model:
            request = replace(request, model=route.model)
        async with aclosing(route.provider.stream(request)) as deltas:
            async for delta in deltas:
                self._accepted.set()
                self.add(delta)
                if self._bytes > self._settings.reply_bytes:
                    self._end_reason = "too_long"
                    return

    def _judge(self, reader: asyncio.Task[None]) -> None:
        failure = None if reader.cancelled() else reader.exception()
        reason = self._end_reason
        if reason == "stopped":
            self.status, self.finish_reason = "stopped", "stop"
        elif reason == "deleted":
            self.status, self.error = "stopped", ReplyDeleted()
        elif reason == "too_long":
            self.status, self.finish_reason = "complete", "length"
        elif reason == "shutdown" or reader.cancelled():
            self.status, self.error = "interrupted", ReplyInterrupted(retry_after_seconds=5)
        elif isinstance(failure, ProxyError):
            self.status, self.error = "failed", failure
        elif failure is not None:
            log.error("a provider broke its contract", exc_info=failure)
            self.status, self.error = "failed", UpstreamError()
        elif self.finish_reason is None:
            self.status, self.error = "truncated", ReplyTruncated()
        else:
            self.status = "complete"

    # Storing

    def result_fields(self) -> Raw:
        """The fields of the message once the reply has ended."""
        fields: Raw = {
            "content": self.text,
            "status": self.status,
            "updated_at": utc_now(),
            "model": self.model,
            "provider": self.provider,
            "duration_ms": self.duration_ms,
            "usage": self._usage_fields(),
        }
        if self._reasoning:
            fields["reasoning"] = self.reasoning
        if self.omitted_messages:
            fields["omitted_messages"] = self.omitted_messages
        if self.finish_reason is not None:
            fields["finish_reason"] = self.finish_reason
        if self.first_token_ms is not None:
            fields["first_token_ms"] = self.first_token_ms
        if self.error is not None:
            error = self.error
            fields["error"] = {"type": error.type, "code": error.code, "message": error.detail}
        if self._calls:
            fields["payload"] = packed(
                {
                    "role": "assistant",
                    "content": self.text or None,
                    "tool_calls": self.tool_calls,
                }
            )
        return fields

    def _usage_fields(self) -> Raw:
        usage = self.usage
        if usage is None and not self.has_begun:
            return {"provenance": "unknown"}
        if usage is None:
            usage = Usage(
                estimate_tokens(m.get("content") for m in self.request.messages),
                estimate_tokens((self.text, self.reasoning)),
                "estimated",
            )
            self.usage = usage
        return {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "provenance": usage.provenance,
            **({"details": counts} if (counts := _counts(usage.details)) else {}),
        }

    async def _store(self) -> None:
        """Write the end to the message, again until it is on disk or the time is up."""
        fields = self.result_fields()
        deadline = self._loop.time() + self._settings.storage_retry_seconds
        wait = 0.1
        is_full = False
        while True:
            try:
                if is_full:
                    await self._make_room()
                stored = await self._write(
                    fields, unset=("worker",), conversation_fields=self._conversation_fields
                )
            except PyMongoError as error:
                is_full = is_too_large(error)
                if is_full and "content" in fields:
                    if self.place.in_page or self._loop.time() > deadline:
                        fields = self._without_text()
                    continue
                if self._loop.time() > deadline:
                    log.exception("reply %d could not be stored", self.message_id)
                    self.status, self.error = "failed", StorageUnavailable(UNSTORED)
                    return
                log.warning("storing reply %d: %s, trying again", self.message_id, type(error))
                await asyncio.sleep(wait)
                wait = min(wait * 2, 2.0)
            else:
                if not stored:
                    self.status, self.error = "stopped", ReplyDeleted()
                return

    async def _write(self, fields: Raw, **options: Any) -> bool:
        """Write to the message, wherever it has moved to; False when it is gone."""
        for _ in range(WRITE_ATTEMPTS):
            if await self.place.write(self.attempt, fields, counts_as_change=True, **options):
                return True
            try:
                placed = await Placed.find(self.place.owner, self.message_id)
            except NotFound:
                return False
            if placed.message.get("attempt") != self.attempt:
                return False
            self.place = placed.place
        raise PyMongoError("the message is there, and cannot be written")

    async def _make_room(self) -> None:
        """Move older messages out of a tail that is full."""
        if not self.place.in_page:
            await Conversation.move_tail(
                self.place.conversation_id,
                max_messages=self._settings.tail_messages,
                max_bytes=self._settings.tail_bytes,
            )

    def _without_text(self) -> Raw:
        """The end of a reply whose page is full: its text stays as it was last written."""
        self.status = "failed"
        self.error = TooLarge("The reply does not fit beside its neighbours; its start is stored")
        kept = ("status", "updated_at", "model", "provider", "duration_ms", "usage", "error")
        fields = self.result_fields()
        return {key: fields[key] for key in kept}

    def checkpoint_is_due(self, now: float) -> bool:
        """Whether there is new text and the last checkpoint is long enough ago."""
        return (
            self.status == "streaming"
            and now - self.checkpointed_at >= self._settings.checkpoint_seconds
            and self.extent != self._checkpointed
        )

    async def checkpoint(self) -> None:
        """Write the text so far to the message: `$set` on its element, nothing else moves.

        Raises:
            PyMongoError: the database does not answer; the next one will try again.
        """
        self.checkpointed_at = self._loop.time()
        extent = self.extent
        fields: Raw = {"content": self.text}
        if self._reasoning:
            fields["reasoning"] = self.reasoning
        try:
            stored = await self._write(fields, touch=False)
        except PyMongoError as error:
            if not is_too_large(error):
                raise
            await self._make_room()
            return
        if stored:
            self._checkpointed = extent
        else:
            self.end("deleted")


def estimate_tokens(texts: Any) -> int:
    """About how many tokens texts are: four bytes each, the usual rule of thumb."""
    return sum((len(text.encode()) + 3) // 4 for text in texts if isinstance(text, str))


def _counts(details: Raw) -> Raw:
    """The numbers of an upstream's usage, and nothing else that it may hold."""
    counts: Raw = {}
    for name, value in details.items():
        found = _counts(value) if isinstance(value, dict) else value
        if not name.startswith("$") and isinstance(found, int | float | dict) and found != {}:
            counts[name] = found
    return counts
