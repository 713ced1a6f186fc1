"""A stateless chat completion: one question, passed on to whoever answers for the model.

An OpenAI-compatible upstream's answer is passed on as its own bytes (`relay.py`). Any other
provider's deltas are put into OpenAI's shape, by a generation that nobody stores.
"""

import itertools
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple
from uuid import uuid4

from starlette.types import Send

from proxy.dialects.chat_completions.relay import Relayed
from proxy.dialects.chat_completions.reshape import (
    chunks_of,
    frames_of,
    whole_of,
    whole_text_of,
)
from proxy.dialects.chat_completions.shapes import CompletionFormat
from proxy.dialects.endpoints import not_served
from proxy.dialects.sending import Headers, Sending, error_frames
from proxy.dialects.watched import WatchedAnswer, model_header, upstream_headers
from proxy.documents.message import Status
from proxy.errors import ProxyError, ReplyTruncated, UpstreamError
from proxy.providers.base import CompletionRequest, Usage
from proxy.providers.fallback import ask_in_turn
from proxy.providers.openai import CHAT_COMPLETIONS, OpenAIProvider
from proxy.providers.registry import Route
from proxy.responses import dumps
from proxy.settings import Settings
from proxy.sse import DONE
from proxy.streaming.completions import Completed
from proxy.streaming.delivery import ReplyFormat
from proxy.streaming.draft import SIGN_OF_LIFE, Progress
from proxy.streaming.engine import Engine
from proxy.streaming.generation import Compose, Generation, estimate_tokens
from proxy.streaming.sink import NoSink

OWN_KEYS = frozenset({"attach", "conversation", "on_disconnect"})
"""What is ours in a request's body; an upstream never sees it."""

_stateless_ids = itertools.count(-1, -1)


class Call(NamedTuple):
    """A stateless call: `raw` are the bytes of `body` as the client sent them."""

    owner: str
    body: dict[str, Any]
    raw: bytes
    routes: list[Route]
    path: str = CHAT_COMPLETIONS
    """Behind the base URL; `/completions` for the legacy call."""

    @property
    def is_chat(self) -> bool:
        """Whether it has messages, and not a prompt."""
        return self.path == CHAT_COMPLETIONS

    def body_for(self, model: str) -> bytes:
        """Return what the upstream gets: the client's own bytes wherever nothing has to change."""
        if self.body.get("model") == model and OWN_KEYS.isdisjoint(self.body):
            return self.raw
        return dumps({**passed_on(self.body), "model": model})

    def texts(self) -> Iterable[Any]:
        """Return what the model is given to read."""
        if self.is_chat:
            return (message.get("content") for message in self.body["messages"])
        prompt = self.body.get("prompt")
        return prompt if isinstance(prompt, list) else [prompt]

    def request_for(self, model: str) -> CompletionRequest:
        """Return the same for a provider of another protocol."""
        parameters = passed_on(self.body)
        parameters.pop("model", None)
        del parameters["messages"]
        return CompletionRequest(
            model=model,
            messages=self.body["messages"],
            parameters=parameters,
            user=str(self.body.get("user") or ""),
        )


def passed_on(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body without the keys that are ours."""
    return {key: value for key, value in body.items() if key not in OWN_KEYS}


def wants_usage(body: dict[str, Any]) -> bool:
    """Whether a stream should end with a chunk that holds the usage."""
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


class Answer(WatchedAnswer):
    """The answer to a stateless call, while it arrives; a lost client ends it at once."""

    def __init__(self, call: Call, engine: Engine, settings: Settings) -> None:
        super().__init__()
        self._call = call
        self._engine = engine
        self._settings = settings
        self._relayed: Relayed | None = None
        self._generation: Generation | None = None
        self._first_token_ms: int | None = None

    async def _answer(self, send: Send) -> Status:
        sending = Sending(send, self._settings, is_stream=bool(self._call.body.get("stream")))
        try:
            answered = await ask_in_turn(
                self._call.routes, self._ask, budget_seconds=self._settings.retry_budget_seconds
            )
            if isinstance(answered, StartedGeneration):
                return await self._send_generated(answered, sending)
            return await self._relay(answered, sending)
        except ProxyError as error:
            if not sending.is_open:
                raise
            await sending.end(self._failure(error))
            return "failed"
        finally:
            sending.close()

    def _failure(self, error: ProxyError) -> bytes:
        """Return the end of a stream that is open already."""
        return error_frames(error)

    async def _ask(self, route: Route) -> "Relayed | StartedGeneration":
        if isinstance(route.provider, OpenAIProvider):
            body = self._call.body_for(route.model)
            self._relayed = await Relayed.open(route.provider, body, route.model, self._call.path)
            return self._relayed
        if not self._call.is_chat:
            raise not_served(route.provider, self._call.path)
        return await self._generate(route)

    async def _generate(self, route: Route, compose: Compose | None = None) -> "StartedGeneration":
        self._generation = self._engine.begin(
            sink=NoSink(self._call.owner),
            message_id=next(_stateless_ids),
            routes=[route],
            request=self._call.request_for(route.model),
            # Whoever asks the routes in turn also asks again, and counts the call once.
            retry_budget_seconds=0,
            is_counted=False,
            compose=compose,
        )
        return await StartedGeneration.open(self._generation)

    async def _relay(self, relayed: Relayed, sending: Sending) -> Status:
        response = relayed.response
        self._first_token_ms = self._elapsed_ms()
        headers = [*upstream_headers(response), *model_header(relayed.provider, relayed.model)]
        body, is_chat = self._call.body, self._call.is_chat
        if not body.get("stream"):
            content_type = response.content_type if not relayed.is_stream else ""
            if "json" not in content_type:
                content_type = "application/json"
            whole = relayed.first
            if relayed.is_stream:
                whole = await (whole_of if is_chat else whole_text_of)(relayed, relayed.model)
            await sending.whole(whole, response.status, content_type, headers)
            return "complete"
        content_type = response.content_type if relayed.is_stream else ""
        if not content_type.startswith("text/event-stream"):
            content_type = "text/event-stream; charset=utf-8"
        await sending.open(response.status, content_type, headers)
        if not relayed.is_stream:
            first = relayed.first
            await sending.end(
                chunks_of(first, include_usage=wants_usage(body)) if is_chat else frames_of(first)
            )
            return "complete"
        status: Status = "complete"
        end = b""
        try:
            while block := await relayed.read():
                await sending.write(block)
            if not relayed.said_done:
                # Some clients wait for it.
                end = DONE
        except UpstreamError as error:
            status = "truncated" if isinstance(error, ReplyTruncated) else "failed"
            end = error_frames(error)
        await sending.end(end)
        return status

    def _format(self, model: str) -> ReplyFormat:
        """Return what puts a generation into the shape of this call's dialect."""
        return CompletionFormat(
            completion_id=f"chatcmpl-{uuid4().hex}",
            model=model,
            include_usage=wants_usage(self._call.body),
        )

    def _generated_headers(self, generation: Generation) -> Headers:
        return [*model_header(generation.provider, generation.model)]

    async def _send_generated(self, started: "StartedGeneration", sending: Sending) -> Status:
        generation = started.generation
        headers = self._generated_headers(generation)
        chunks = self._format(generation.model)
        if not self._call.body.get("stream"):
            await generation.ended.wait()
            whole = chunks.whole(generation.error, generation.result)
            await sending.whole(dumps(whole), 200, "application/json", headers)
            return generation.status
        await sending.open(200, "text/event-stream; charset=utf-8", headers)
        frame = chunks.first()
        differs = False
        async for progress in started.progresses():
            if progress.differs:
                differs = True
                continue
            frame += chunks.waiting() if progress == SIGN_OF_LIFE else chunks.progress(progress)
            await sending.write(frame)
            frame = b""
        frame += chunks.ending(generation.error, generation.result, differs=differs)
        await sending.end(frame)
        return generation.status

    def _end(self, status: Status) -> None:
        """Close what is open, and tell who counts calls."""
        if self._generation is not None:
            self._generation.end("stopped")
        relayed, generation, route = self._relayed, self._generation, self._call.routes[0]
        if relayed is not None:
            relayed.close()
        answered = relayed or generation
        usage = self._usage(relayed) if relayed else generation.usage if generation else None
        first_token_ms = self._first_token_ms
        if first_token_ms is None and generation:
            first_token_ms = generation.first_token_ms
        self._engine.completions.add(
            Completed(
                owner=self._call.owner,
                provider=answered.provider if answered else route.provider.name,
                model=answered.model if answered else route.model,
                usage=usage,
                status=status,
                ended_at=time.time(),
                first_token_ms=first_token_ms,
                duration_ms=self._elapsed_ms(),
            )
        )

    def _usage(self, relayed: Relayed) -> Usage:
        return relayed.usage or Usage(
            estimate_tokens(self._call.texts()),
            (relayed.text_bytes + 3) // 4,
            "estimated",
        )


class StartedGeneration:
    """A generation that has begun to answer."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self._follower = generation.follow()
        self._first: Progress | None = None

    @classmethod
    async def open(cls, generation: Generation) -> "StartedGeneration":
        """Wait for the first sign of an answer.

        Raises:
            ProxyError: it failed before that.
        """
        self = cls(generation)
        while (first := await anext(self._follower, None)) == SIGN_OF_LIFE:
            # A sign of life is no word yet: another route may still answer.
            continue
        self._first = first
        if self._first is None and generation.error is not None and not generation.has_begun:
            raise generation.error
        return self

    async def progresses(self) -> AsyncIterator[Progress]:
        """All that the model says."""
        if self._first is not None:
            yield self._first
            async for progress in self._follower:
                yield progress
