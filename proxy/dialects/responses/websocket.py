"""`/v1/responses` over a WebSocket: each message is answered as the POST that it stands for.

    client  {"type": "response.create", "model": "…", "input": "…", "previous_response_id": "…"}
    server  the events of the stream, a text message each, without `[DONE]`
            {"type": "error", "status": 404, "error": {"code": "…", "message": "…", …}}

Every message goes through the whole application, so that its key, its limits, its log line and
its reply are those of a POST. What is kept here is the latest response, where nobody else keeps
it (`store: false`), for `previous_response_id` to go on from.
Source: https://developers.openai.com/api/docs/guides/websocket-mode.
"""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import Message, Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from proxy.dialects.responses.answer import IGNORED
from proxy.dialects.responses.ids import PREVIOUS
from proxy.documents.base import Raw
from proxy.errors import BadRequest, ProxyError, TooManyRequests
from proxy.providers.responses_reader import ENDS
from proxy.responses import dumps
from proxy.schemas.completions import wrong
from proxy.settings import Settings
from proxy.sse import SSEDecoder

WARMS_UP = "warms_up"
"""In the state of a request: `generate` was false, and no model is asked."""

CREATE = "response.create"

_NOT_PASSED = frozenset(
    {b"connection", b"upgrade", b"content-type", b"content-length", b"transfer-encoding"}
    | {b"accept-encoding", b"idempotency-key", b"x-stainless-retry-count", b"x-request-id"}
)
"""Headers of the handshake that say nothing of the messages that follow."""

_NO_FIELDS = frozenset({"type", "generate", "background", "stream"})
"""What of a message does not belong to the body that it stands for."""

_WITH_RESPONSE = frozenset(f"response.{what}" for what in ("created", "queued", "in_progress"))
_LAST = frozenset(f"response.{how}" for how in ENDS)
_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})

_NORMAL, _POLICY = 1000, 1008
"""Codes of WebSockets: a connection that was of use; one that may not go on."""


@dataclass(frozen=True, slots=True)
class Latest:
    """A response that this connection alone knows: what was said until its end."""

    id: str
    items: list[Any]
    previous: str | None = None
    """The stored response that its own history began with."""

    def continued(self, body: Raw) -> Raw:
        """Return the body of a call that goes on from here, with all that was said before.

        Raises:
            BadRequest: it brings the result of a call that nobody made.
        """
        new = _as_items(body.get("input"))
        if self.previous is None:
            _check_results(self.items, new)
        return {**body, PREVIOUS: self.previous, "input": [*self.items, *new]}


class ResponseSocket:
    """One connection: its messages are answered one after another, in their order."""

    def __init__(self, socket: WebSocket, settings: Settings) -> None:
        self._socket = socket
        self._settings = settings
        self._waiting: deque[Message] = deque()
        self._came = asyncio.Event()
        self._left = asyncio.Event()
        self._latest: Latest | None = None
        self._refusal: str | None = None
        """Why nothing more is answered."""

    async def serve(self) -> None:
        """Answer until the client leaves or a limit ends the connection."""
        await self._socket.accept()
        reading = asyncio.create_task(self._read())
        try:
            code, reason = await self._answer_all()
        finally:
            reading.cancel()
        if not self._left.is_set():
            with contextlib.suppress(WebSocketDisconnect):
                await self._socket.close(code, reason)

    async def _read(self) -> None:
        """Take what comes, also while a reply is written: the client may leave."""
        waiting_bytes = self._settings.body_bytes
        while (message := await self._socket.receive())["type"] != "websocket.disconnect":
            size = sum(len(each.get("text") or each.get("bytes") or "") for each in self._waiting)
            if self._waiting and (
                len(self._waiting) >= self._settings.pipelined_requests or size > waiting_bytes
            ):
                await self._fail(
                    TooManyRequests("Too many messages wait for an answer; wait for answers first")
                )
                continue
            self._waiting.append(message)
            self._came.set()
        self._left.set()
        self._came.set()

    async def _answer_all(self) -> tuple[int, str]:
        """Answer every message; return how and why the connection ends."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._settings.websocket_seconds
        while not self._left.is_set():
            left_seconds = ends_at - loop.time()
            if left_seconds <= 0:
                minutes = self._settings.websocket_seconds / 60
                sentence = f"This connection is {minutes:g} minutes old; open a new one"
                await self._fail(BadRequest(sentence, code="websocket_connection_limit_reached"))
                return _NORMAL, "the connection is too old"
            if self._refusal is not None:
                return _POLICY, self._refusal
            if not self._waiting:
                idle_seconds = self._settings.websocket_idle_seconds
                self._came.clear()
                try:
                    async with asyncio.timeout(min(idle_seconds, left_seconds)):
                        await self._came.wait()
                except TimeoutError:
                    if left_seconds > idle_seconds:
                        return _NORMAL, f"no message came for {idle_seconds:g} seconds"
                continue
            await self._answer(self._waiting.popleft())
        return _NORMAL, ""

    async def _answer(self, message: Message) -> None:
        """Answer one message; a failure leaves the connection open."""
        latest, body = self._latest, None
        try:
            event = _read_event(message)
            body = {key: each for key, each in event.items() if key not in _NO_FIELDS}
            body["stream"] = True
            goes_on = latest is not None and body.get(PREVIOUS) == latest.id
            if latest is not None and goes_on:
                body = latest.continued(body)
        except ProxyError as error:
            if body is not None:
                self._latest = None
            await self._fail(error)
            return
        warms_up = event.get("generate") is False
        exchange = Exchange(self, event.get(PREVIOUS), dumps(body))
        scope = _post(self._socket.scope, exchange.body, warms_up=warms_up)
        # A task of its own: what it notes of its caller and its slot ends with it.
        await asyncio.create_task(self._served(scope, exchange))
        if exchange.status == 401:
            self._refusal = "the key is not valid any more"
        if exchange.response is None:
            if goes_on:
                self._latest = None
        elif body.get("store") is False or warms_up:
            output = [_as_input(item) for item in exchange.response.get("output") or ()]
            said = [*_as_items(body.get("input")), *filter(None, output)]
            self._latest = Latest(exchange.response["id"], said, body.get(PREVIOUS))
        else:
            self._latest = None

    async def _served(self, scope: Scope, exchange: "Exchange") -> None:
        try:
            await self._socket.app(scope, exchange.receive, exchange.send)
        except Exception:
            # It is in the log.
            await self._fail(ProxyError())

    async def send(self, payload: bytes) -> None:
        """Send one event; nothing to a client that has left."""
        if not self._left.is_set():
            try:
                await self._socket.send({"type": "websocket.send", "text": payload.decode()})
            except WebSocketDisconnect:
                self._left.set()

    async def _fail(self, error: ProxyError) -> None:
        await self.send(_error_event(error.status, error.error()))

    async def has_left(self) -> None:
        """Wait until the client leaves."""
        await self._left.wait()


class Exchange:
    """One message as a request of the application, and its answer as messages.

    `response` is set once it ended as one that can be gone on from.
    """

    def __init__(self, socket: ResponseSocket, previous: Any, body: bytes) -> None:
        self.body = body
        self.status = 0
        self.response: Raw | None = None
        self._socket = socket
        self._previous = previous
        self._ignored = ""
        self._is_stream = False
        self._is_sent = False
        self._decoder = SSEDecoder()
        self._parts: list[bytes] = []

    async def receive(self) -> Message:
        """Give the body, then wait until the client leaves."""
        if self._is_sent:
            await self._socket.has_left()
            return {"type": "http.disconnect"}
        self._is_sent = True
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Take a piece of the answer."""
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            self.status = message["status"]
            self._is_stream = headers.get(b"content-type", b"").startswith(b"text/event-stream")
            self._ignored = headers.get(IGNORED.lower().encode(), b"").decode("latin-1")
        elif self._is_stream:
            for name, payload in self._decoder.feed_events(message.get("body", b"")):
                if payload and payload != b"[DONE]":
                    await self._socket.send(self._event(name, payload))
        else:
            self._parts.append(message.get("body", b""))
            if not message.get("more_body"):
                await self._socket.send(_error_event(self.status, _error_in(b"".join(self._parts))))

    def _event(self, name: str, payload: bytes) -> bytes:
        """Return an event of the stream as it leaves."""
        if name and name not in _WITH_RESPONSE and name not in _LAST and name != "error":
            return payload
        event = orjson.loads(payload)
        kind = event.get("type") or name
        if kind == "error":
            return _error_event(500, event.get("error") or event)
        response = event.get("response")
        if not isinstance(response, dict):
            return payload
        if self._previous:
            response[PREVIOUS] = self._previous
        if self._ignored:
            response["proxy:ignored"] = self._ignored.split(", ")
        if kind in ("response.completed", "response.incomplete"):
            self.response = response
        return dumps(event)


def _post(handshake: Scope, body: bytes, *, warms_up: bool) -> Scope:
    """Return the request that a message stands for."""
    names = ("app", "asgi", "http_version", "server", "client", "path", "raw_path")
    headers = [
        (name, value)
        for name, value in handshake["headers"]
        if name not in _NOT_PASSED and not name.startswith(b"sec-websocket-")
    ]
    headers.append((b"content-type", b"application/json"))
    headers.append((b"content-length", str(len(body)).encode()))
    return {
        **{name: handshake[name] for name in names if name in handshake},
        "type": "http",
        "method": "POST",
        "scheme": {"wss": "https"}.get(handshake.get("scheme", ""), "http"),
        "root_path": handshake.get("root_path", ""),
        "query_string": b"",
        "headers": headers,
        "state": {WARMS_UP: warms_up},
    }


def _read_event(message: Message) -> Raw:
    """Read what a client sent.

    Raises:
        BadRequest: it asks for nothing that there is.
    """
    text = message.get("text")
    if text is None:
        raise BadRequest("Send text messages, each one JSON object", code="invalid_message")
    try:
        event = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadRequest("The message is not valid JSON", code="invalid_json") from None
    if not isinstance(event, dict):
        raise BadRequest("The message must be a JSON object", code="invalid_message")
    if event.get("type") != CREATE:
        raise BadRequest(f"type: must be {CREATE}", param="type", code="unknown_event")
    if event.get("background"):
        raise wrong("background", "does not go over a WebSocket; send the call by POST")
    return event


def _as_items(given: Any) -> list[Any]:
    """Return an input as a list; what is none is left for the reader of the call to refuse."""
    if isinstance(given, list):
        return given
    return [{"type": "message", "role": "user", "content": given}] if given else []


def _as_input(item: Raw) -> Raw | None:
    """Return an item of an output as it is sent back; None of reasoning that has nothing in it.

    Its id names nothing: no upstream keeps it, and neither do we.
    """
    kind = item.get("type")
    if kind == "reasoning" and not (item.get("encrypted_content") or item.get("content")):
        return None
    return {key: each for key, each in item.items() if key not in ("id", "status")}


def _check_results(said: list[Any], new: list[Any]) -> None:
    items = [item for item in (*said, *new) if isinstance(item, dict)]
    called = [item.get("call_id") for item in items if _type_of(item) not in _OUTPUTS]
    for item in new:
        if _type_of(item) in _OUTPUTS and item.get("call_id") not in called:
            call_id = str(item.get("call_id"))[:100]
            raise BadRequest(
                f"input: no tool call has the call_id '{call_id}' of this output",
                param="input",
                code="invalid_value",
            )


def _type_of(item: Any) -> str:
    return str(item.get("type")) if isinstance(item, dict) else ""


def _error_in(body: bytes) -> Raw:
    """Return the error of an answer's body."""
    try:
        found = orjson.loads(body)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        found = None
    return found if isinstance(found, dict) else ProxyError().error()


def _error_event(status: int, error: Raw) -> bytes:
    kind = error.get("type")
    about = {
        "type": ProxyError.type if kind in (None, "error") else kind,
        "code": error.get("code") or kind or ProxyError.type,
        "message": error.get("message") or ProxyError.message,
        "param": error.get("param"),
    }
    return dumps({"type": "error", "status": status, "error": about})
