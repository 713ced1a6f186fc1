"""A response that nobody keeps, where an upstream speaks Responses itself: passed on as it comes.

A route that does not is asked as everywhere, by a generation that nobody stores.
"""

from typing import Any, NamedTuple, cast
from uuid import uuid4

from proxy.dialects.chat_completions.stateless import Answer
from proxy.dialects.chat_completions.stateless import Call as ChatCall
from proxy.dialects.responses.answer import IGNORED, view_of
from proxy.dialects.responses.call import Call, in_own_names
from proxy.dialects.responses.events import ResponseFormat
from proxy.dialects.responses.relay import RelayedResponse
from proxy.dialects.responses.turn import chat_message, chat_messages
from proxy.dialects.sending import Headers
from proxy.dialects.watched import model_header, upstream_headers
from proxy.documents.base import Raw, utc_now
from proxy.documents.message import Status
from proxy.errors import ProxyError, ReplyTruncated, UpstreamError
from proxy.providers.base import CompletionRequest, Usage
from proxy.providers.openai import OpenAIProvider
from proxy.providers.registry import Route
from proxy.responses import dumps
from proxy.sealing import Sealer
from proxy.settings import Settings
from proxy.sse import DONE
from proxy.streaming.engine import Engine
from proxy.streaming.generation import Compose, Generation, estimate_tokens


class StatelessCall(NamedTuple):
    """A call that says all by itself: `raw` is its body as it came."""

    owner: str
    call: Call
    raw: bytes
    routes: list[Route]
    sealer: Sealer
    compose: Compose

    @property
    def body(self) -> Raw:
        """Its body."""
        return self.call.body

    @property
    def messages(self) -> list[Raw]:
        """What it brings, as chat messages: made where something reads them."""
        return chat_messages(self.call, list(map(chat_message, self.call.input.messages)))

    def body_for(self, model: str) -> bytes:
        """Return what a native upstream gets: the client's own bytes, its model's name apart."""
        if self.body.get("model") == model:
            return self.raw
        return dumps({**self.body, "model": model})

    def request_for(self, model: str) -> CompletionRequest:
        """Return the same for an upstream that knows chat completions alone."""
        return CompletionRequest(
            model=model,
            messages=self.messages,
            parameters=self.call.parameters(),
            user=str(self.body.get("user") or ""),
        )


class PassedAnswer(Answer):
    """The answer to such a call, while it arrives; a lost client ends it at once."""

    def __init__(self, call: StatelessCall, engine: Engine, settings: Settings) -> None:
        # What is asked of a call there, this one has, too.
        super().__init__(cast(ChatCall, call), engine, settings)
        self._asked = call

    async def _ask(self, route: Route) -> Any:
        if route.is_native and isinstance(route.provider, OpenAIProvider):
            body = self._asked.body_for(route.model)
            seconds = self._settings.stream_open_seconds if self._asked.body.get("stream") else None
            passed = await RelayedResponse.open(
                route.provider, body, route.model, open_seconds=seconds
            )
            self._relayed = cast(Any, passed)
            return passed
        try:
            return await self._generate(route, self._asked.compose)
        except ProxyError as error:
            raise in_own_names(error) from error.__cause__

    def _failure(self, error: ProxyError) -> bytes:
        if isinstance(self._relayed, RelayedResponse):
            return self._relayed.failure(error)
        return self._format("").ending(error, {}, differs=False)

    async def _relay(self, relayed: Any, sending: Any) -> Status:
        self._first_token_ms = self._elapsed_ms()
        headers = upstream_headers(relayed.response)
        headers += model_header(relayed.provider, relayed.model)
        if not self._asked.body.get("stream"):
            whole = await relayed.whole() if relayed.is_stream else relayed.first
            await sending.whole(whole, relayed.response.status, "application/json", headers)
            return _status_of(relayed)
        await sending.open(200, "text/event-stream; charset=utf-8", headers)
        if not relayed.is_stream:
            await sending.end(relayed.as_events() + DONE)
            return _status_of(relayed)
        sending.waiting = relayed.waiting
        try:
            while block := await relayed.read():
                await sending.write(block)
        except UpstreamError as error:
            await sending.end(relayed.failure(error))
            return "truncated" if isinstance(error, ReplyTruncated) else "failed"
        await sending.end(b"" if relayed.said_done else DONE)
        return _status_of(relayed)

    def _format(self, model: str) -> ResponseFormat:
        call, number = self._asked.call, f"u{uuid4().hex}"
        message: Raw = {
            "id": number,
            "role": "assistant",
            "content": "",
            "created_at": utc_now(),
            "model": model,
            "tool_names": call.tools.names,
        }
        view = view_of(call.request, self._asked.sealer, call.includes)
        return ResponseFormat(message, call.request, id_=f"resp_{number}", view=view)

    def _generated_headers(self, generation: Generation) -> Headers:
        headers = super()._generated_headers(generation)
        if ignored := self._asked.call.ignored:
            headers.append((IGNORED.lower().encode(), ", ".join(ignored)[:1000].encode()))
        return headers

    def _usage(self, relayed: Any) -> Usage:
        texts = (str(message.get("content") or "") for message in self._asked.messages)
        return relayed.usage or Usage(estimate_tokens(texts), relayed.deltas, "estimated")


def _status_of(relayed: RelayedResponse) -> Status:
    return "failed" if relayed.status in ("failed", "cancelled") else "complete"
