"""One reply, from reserved ids to stored text.

A `Generation` is a task of the server. It reads deltas from a provider, keeps them in
memory as a `Draft`, is checkpointed to its message now and then, and stores how it ended.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal

from pymongo.errors import PyMongoError, WriteError

from proxy.documents.base import Raw, is_too_large, utc_now
from proxy.documents.chat_message import text_of
from proxy.documents.message import Status, packed
from proxy.documents.message_parts import as_markdown
from proxy.errors import (
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
from proxy.providers.token_usage import bounded
from proxy.settings import Settings
from proxy.streaming.draft import Draft
from proxy.streaming.sink import ReplySink

log = logging.getLogger(__name__)

EndReason = Literal["stopped", "deleted", "shutdown", "too_long"]
"""Why a reply was ended from this side."""

Compose = Callable[[list[dict[str, Any]], Route], list[dict[str, Any]]]
"""Makes the messages of a prompt ones that the model of a route takes."""

NOT_STORED = "The database does not answer; the reply could not be stored"


class Generation(Draft):
    """A reply while it is written, and for its followers a little longer.

    `Engine.begin` makes and runs it. After `ended` is set, `status`, `finish_reason`, `error`,
    `usage` and `result` (the reply's stored fields) are final and stored.
    """

    def __init__(
        self,
        *,
        sink: ReplySink,
        message_id: int,
        attempt: str,
        routes: Sequence[Route],
        request: CompletionRequest,
        settings: Settings,
        retry_budget_seconds: float,
        project_id: int = 0,
        omitted_messages: int = 0,
        tail_size: tuple[int, int] | None = None,
        compose: Compose | None = None,
    ) -> None:
        super().__init__(settings.logprobs_bytes)
        self.sink = sink
        self.message_id = message_id
        self.attempt = attempt
        self.request = request
        self.routes = list(routes)
        self.provider = self.routes[0].provider.name
        self.model = self.routes[0].model
        self.is_native = self.routes[0].is_native
        """Whether the upstream that was asked last speaks Responses itself."""
        self.project_id = project_id
        """The label of its conversation, for whoever counts."""
        self.omitted_messages = omitted_messages
        """Messages of the history that its prompt left out."""
        self.tail_size = tail_size
        """Messages and bytes of the tail that it was appended to, where it was."""
        self._compose = compose
        self._settings = settings
        self._retry_budget_seconds = retry_budget_seconds

        self.status: Status = "streaming"
        self.error: ProxyError | None = None
        self.result: Raw = {}
        self.duration_ms: int | None = None
        self.asked_at: float | None = None
        """The Unix time at which the last route was asked."""
        self._accepted = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._end_reason: EndReason | None = None
        self.checkpointed_at = self._clock_start
        self._checkpointed: tuple[int, ...] = (0, 0, 0, 0, 0)
        # A checkpoint on its way when the reply ends would be written over its end.
        self._writing = asyncio.Lock()

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
        # What cancelled it holds this object, by the frames it came through: a circle.
        self._reader = None
        self.duration_ms = self.elapsed_ms()
        self.result = self._lay_out()
        try:
            # Those who wait for the upstream's answer learn of a failure once it is stored.
            async with self._writing:
                await self._store()
        except Exception:
            log.exception("reply %d cannot be stored", self.message_id)
            self._fail(StorageUnavailable(NOT_STORED))
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
            budget_seconds=self._retry_budget_seconds,
            has_begun=lambda: self.has_begun,
        )

    async def _read_route(self, route: Route) -> None:
        self.provider, self.model = route.provider.name, route.model
        self.is_native = route.is_native
        request = self.request
        if request.model != route.model:
            request = replace(request, model=route.model)
        if self._compose is not None:
            request = replace(request, messages=self._compose(request.messages, route))
        self.asked_at = time.time()
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

    def _lay_out(self) -> Raw:
        """Return the fields of the message, now that the reply has ended; raises nothing.

        What cannot be laid out is left out and named in `error`: the text is there whatever
        else an upstream sent.
        """
        fields: Raw = {
            "content": self.text,
            "status": self.status,
            "updated_at": utc_now(),
            "model": self.model,
            "provider": self.provider,
            "duration_ms": self.duration_ms,
        }
        if self._reasoning:
            fields["reasoning"] = self.reasoning
        if self.omitted_messages:
            fields["omitted_messages"] = self.omitted_messages
        if self.finish_reason is not None:
            fields["finish_reason"] = self.finish_reason
        if self.first_token_ms is not None:
            fields["first_token_ms"] = self.first_token_ms
        if self.suggestions:
            fields["suggestions"] = self.suggestions
        if self.error is not None:
            fields["error"] = _error_fields(self.error)
        left_out = []
        for name, lay_out in (
            ("usage", self._usage_fields),
            ("payload", self._payload),
            ("order", lambda: self.order),
            ("items", lambda: self.native_fields.get("items")),
            ("encrypted_reasoning", lambda: self.native_fields.get("encrypted_reasoning")),
            ("logprobs", self.logprobs.packed),
        ):
            try:
                if (value := lay_out()) is not None:
                    fields[name] = value
            except Exception:
                log.exception("reply %d: its %s cannot be laid out", self.message_id, name)
                left_out.append(name)
        if left_out:
            self.usage = None if "usage" in left_out else self.usage
            fields.setdefault("usage", {"provenance": "unknown"})
            fields.setdefault("error", _not_kept(left_out))
        return fields

    def _payload(self) -> str | None:
        payload = self.payload
        return None if payload is None else packed(payload)

    def _plain_fields(self) -> Raw:
        """Return the end of a reply with nothing but what any database takes."""
        kept = ("status", "updated_at", "model", "provider", "duration_ms")
        return {
            **{key: self.result[key] for key in kept},
            "content": self.text.encode("utf-8", "replace").decode().replace("\x00", ""),
            "error": self.result.get("error") or _not_kept(["all but the text"]),
        }

    def show(self, part: Raw, number: int) -> str:
        """Return what stands in the text for the part with this number."""
        return as_markdown(part, self.message_id, number)

    def _usage_fields(self) -> Raw:
        usage = self.usage
        if usage is None and not self.has_begun:
            return {"provenance": "unknown"}
        if usage is None:
            usage = Usage(
                estimate_tokens(text_of(m.get("content")) for m in self.request.messages),
                estimate_tokens((self.text, self.reasoning)),
                "estimated",
            )
        self.usage = bounded(usage)
        return usage_fields(self.usage)

    def _fail(self, error: ProxyError, status: Status = "failed") -> None:
        """Correct the end of a reply that could not be stored as it ended."""
        self.status, self.error = status, error
        self.result = {**self.result, "status": status, "error": _error_fields(error)}

    async def _store(self) -> None:
        """Write the end of the reply, again until it is on disk or the time is up."""
        fields = self.result
        deadline = self._loop.time() + self._settings.storage_retry_seconds
        wait = 0.1
        refusals = 0
        while True:
            try:
                if not await self.sink.write(fields, is_final=True):
                    self._fail(ReplyDeleted(), "stopped")
                return
            except Exception as error:
                is_late = self._loop.time() > deadline
                if isinstance(error, PyMongoError) and is_too_large(error) and "content" in fields:
                    if is_late or not await self._make_room():
                        fields = self._without_text()
                    continue
                # A value that cannot be encoded never can; what a server refuses twice, neither.
                refusals += 1 if isinstance(error, WriteError) else 0
                if (refusals == 2 or not isinstance(error, PyMongoError)) and "usage" in fields:
                    log.exception("reply %d: only its text can be stored", self.message_id)
                    fields = self._plain_fields()
                    self.result = {**fields, "usage": {"provenance": "unknown"}}
                    continue
                if not isinstance(error, PyMongoError):
                    raise
                if is_late:
                    log.exception("reply %d could not be stored", self.message_id)
                    self._fail(StorageUnavailable(NOT_STORED))
                    return
                log.warning("storing reply %d: %s, trying again", self.message_id, type(error))
                await asyncio.sleep(wait)
                wait = min(wait * 2, 2.0)

    async def _make_room(self) -> bool:
        """Whether the reply may fit now; where the database does not answer it may later."""
        try:
            return await self.sink.make_room()
        except PyMongoError:
            return True

    def _without_text(self) -> Raw:
        """Return the end of a reply whose page is full: its text stays as it was last written."""
        self._fail(TooLarge("The reply does not fit beside its neighbours; its start is stored"))
        kept = ("status", "updated_at", "model", "provider", "duration_ms", "usage", "error")
        return {key: self.result[key] for key in kept}

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
        if self.status != "streaming":
            return
        async with self._writing:
            await self._write_checkpoint()

    async def _write_checkpoint(self) -> None:
        self.checkpointed_at = self._loop.time()
        extent = self.extent
        fields: Raw = {"content": self.text, **self.native_fields}
        if self._reasoning:
            fields["reasoning"] = self.reasoning
        if (order := self.order) is not None:
            fields["order"] = order
        try:
            stored = await self.sink.write(fields, is_final=False)
        except PyMongoError as error:
            if not is_too_large(error):
                raise
            await self.sink.make_room()
            return
        if stored:
            self._checkpointed = extent
        else:
            self.end("deleted")


def _error_fields(error: ProxyError) -> Raw:
    return {"type": error.type, "code": error.code, "message": error.detail}


def estimate_tokens(texts: Any) -> int:
    """About how many tokens texts are: four bytes each, the usual rule of thumb."""
    return sum((len(text.encode()) + 3) // 4 for text in texts if isinstance(text, str))


def usage_fields(usage: Usage) -> Raw:
    """Return a usage as it is stored: `{"prompt_tokens": 11, …, "provenance": "reported"}`."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "provenance": usage.provenance,
        **({"details": usage.details} if usage.details else {}),
    }


def _not_kept(what: list[str]) -> Raw:
    message = f"The text is whole; what the provider sent besides is not kept: {', '.join(what)}"
    return {"type": "incomplete_record", "code": None, "message": message}
