"""An upstream's answer of any kind, passed on as its bytes: JSON, events, audio, text."""

import json
import logging
import re
import time
from functools import partial
from typing import Any

from starlette.types import Send

from proxy.dialects.endpoints import not_served
from proxy.dialects.event_frames import TAIL_BYTES, FrameSieve
from proxy.dialects.pass_through.call import PassedCall
from proxy.dialects.sending import Sending, error_frames
from proxy.dialects.watched import WatchedAnswer, model_header, upstream_headers
from proxy.documents.message import Status
from proxy.errors import ModelNotFound, ProxyError, ReplyTruncated, UpstreamError
from proxy.providers.base import Usage
from proxy.providers.fallback import ask_in_turn
from proxy.providers.openai import OpenAIProvider, RawResponse
from proxy.providers.registry import Route
from proxy.providers.token_usage import usage_of
from proxy.settings import Settings
from proxy.sse import JSONFrames, encode
from proxy.streaming.completions import Completed
from proxy.streaming.engine import Engine

log = logging.getLogger(__name__)

PEEK_BYTES = 64 * 1024
"""Up to here an answer in JSON or text is read whole before it is passed on."""

EVENTS, JSON, OTHER = "text/event-stream", "application/json", "application/octet-stream"

SAFE_TYPES = re.compile(
    r"audio/|image/(png|jpeg|webp)|text/(plain|vtt)|application/(x-subrip|json)"
)
"""What a browser may take for what it says; anything else is bytes."""

_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')


class Opened:
    """An answer that has begun well: `first` is its beginning, or all of it where `is_whole`."""

    def __init__(self, provider: OpenAIProvider, model: str, response: RawResponse) -> None:
        self.provider = provider.name
        self.model = model
        self.response = response
        self.first = b""
        self.is_whole = False
        self.is_events = response.content_type.startswith(EVENTS)
        self.content_type = response.content_type
        self.sieve = FrameSieve(partial(provider.reader, model))
        self._tail = b""

    async def read_beginning(self) -> None:
        """Wait for the first frame of events, the first bytes of audio, or for what fits.

        Raises:
            UpstreamError: it broke, is empty, says that it failed, or is a web page.
        """
        while not self.is_whole and not self._has_begun():
            data = await self.response.read()
            self.is_whole = not data
            self.first += self.sieve.feed(data) if self.is_events else data
            if self.sieve.error is not None and not self.first:
                raise self.sieve.error
        begins = self.first.lstrip()[:1]
        if not begins:
            raise ReplyTruncated("The provider ended the answer before it began")
        if self.is_events:
            return
        faults = self.response.faults
        is_json = "json" in self.content_type or (not self.content_type and begins in b"{[")
        if "html" in self.content_type or (is_json and begins == b"<"):
            raise faults.unreadable()
        if is_json:
            self.content_type = JSON
            if self.is_whole:
                self._check(self.first)
        elif not SAFE_TYPES.match(self.content_type):
            self.content_type = OTHER

    def _has_begun(self) -> bool:
        if self.is_events or self.content_type.startswith(("audio/", "image/")):
            return bool(self.first)
        return len(self.first) >= PEEK_BYTES

    def _check(self, body: bytes) -> None:
        faults = self.response.faults
        try:
            found = JSONFrames().loads(body)
        except ValueError:
            raise faults.unreadable() from None
        if isinstance(found, dict) and (error := found.get("error")):
            raise faults.in_band(error, self.model)

    def passed(self, block: bytes) -> None:
        """Read along what is no stream of events: what was used stands at the end."""
        self._tail = (self._tail + block)[-TAIL_BYTES:]

    @property
    def usage(self) -> Usage | None:
        """What the upstream counted, of what was passed on."""
        return usage_at_end(self.sieve.end() if self.is_events else self._tail)


def usage_at_end(data: bytes) -> Usage | None:
    """Return the last `usage` object that the end of an answer holds whole."""
    for found in reversed(list(_USAGE.finditer(data))):
        try:
            counted, _ = json.JSONDecoder().raw_decode(data[found.end() :].decode(errors="replace"))
        except (ValueError, RecursionError):
            continue
        if usage := usage_of(counted):
            return usage
    return None


class PassedOn(WatchedAnswer):
    """The answer to a call that is passed on; a lost client ends it at once."""

    def __init__(self, call: PassedCall, engine: Engine, settings: Settings) -> None:
        super().__init__()
        self._call = call
        self._engine = engine
        self._settings = settings
        self._opened: Opened | None = None
        self._first_ms: int | None = None

    async def _answer(self, send: Send) -> Status:
        call = self._call
        sending = Sending(send, self._settings, is_stream=call.content.wants_stream)
        try:
            opened = await ask_in_turn(
                call.routes, self._ask, budget_seconds=self._settings.retry_budget_seconds
            )
            self._first_ms = self._elapsed_ms()
            if opened.is_events or sending.is_open:
                await self._send_events(opened, sending)
                return "complete"
            return await self._send_bytes(opened, sending)
        except ProxyError as error:
            if not sending.is_open:
                raise
            await sending.end(error_frames(error))
            return "truncated" if isinstance(error, ReplyTruncated) else "failed"
        finally:
            sending.close()

    async def _ask(self, route: Route) -> Opened:
        provider, path = route.provider, self._call.path
        if not isinstance(provider, OpenAIProvider):
            raise not_served(provider, path)
        body = self._call.content.body_for(route.model)
        try:
            response = await provider.open(body, model=route.model, path=path)
        except ModelNotFound as error:
            raise ModelNotFound(
                f"{error.detail}; or it does not serve {path}",
                code=error.code,
                retry_after_seconds=error.retry_after_seconds,
            ) from error
        self._opened = opened = Opened(provider, route.model, response)
        try:
            await opened.read_beginning()
        except BaseException:
            response.close()
            raise
        return opened

    async def _send_events(self, opened: Opened, sending: Sending) -> None:
        await sending.open(opened.response.status, f"{EVENTS}; charset=utf-8", _headers(opened))
        if not opened.is_events:
            # The client asked for events and hears them already.
            await sending.end(encode(await _whole_json(opened)))
            return
        block = opened.first
        while True:
            if block:
                await sending.write(block)
            if opened.sieve.error is not None:
                raise opened.sieve.error
            if opened.is_whole or opened.sieve.is_done:
                break
            data = await opened.response.read()
            opened.is_whole = not data
            block = opened.sieve.feed(data)
        await sending.end(b"")

    async def _send_bytes(self, opened: Opened, sending: Sending) -> Status:
        headers, status = _headers(opened), opened.response.status
        sending.close()
        opened.passed(opened.first)
        if opened.is_whole:
            await sending.whole(opened.first, status, opened.content_type, headers)
            return "complete"
        await sending.open(status, opened.content_type, headers)
        await sending.write(opened.first)
        opened.first = b""
        try:
            while data := await opened.response.read():
                opened.passed(data)
                await sending.write(data)
        except UpstreamError as error:
            # Bytes have no place for a sentence: the connection ends without the body's end.
            log.warning("%s%s was cut: %s", opened.provider, self._call.path, error.detail)
            return "truncated"
        await sending.end(b"")
        return "complete"

    def _end(self, status: Status) -> None:
        """Close what is open, and tell who counts calls."""
        call, opened = self._call, self._opened
        usage = opened.usage if opened else None
        if opened is not None:
            opened.response.close()
        call.content.close()
        self._engine.completions.add(
            Completed(
                owner=call.owner,
                provider=opened.provider if opened else call.routes[0].provider.name,
                model=(opened.model if opened else call.routes[0].model) or "default",
                usage=usage or (call.content.estimate() if status == "complete" else None),
                status=status,
                ended_at=time.time(),
                first_token_ms=self._first_ms,
                duration_ms=self._elapsed_ms(),
            )
        )


def _headers(opened: Opened) -> list[tuple[bytes, bytes]]:
    return [*upstream_headers(opened.response), *model_header(opened.provider, opened.model)]


async def _whole_json(opened: Opened) -> Any:
    parts = [opened.first]
    while not opened.is_whole and (data := await opened.response.read()):
        parts.append(data)
    body = b"".join(parts)
    opened.passed(body)
    try:
        return JSONFrames().loads(body)
    except ValueError:
        raise opened.response.faults.unreadable() from None
