"""OpenAI's chat completion protocol, and every upstream that speaks it.

Source: https://platform.openai.com/docs/api-reference/chat. `reasoning_content` (DeepSeek,
vLLM) and `reasoning` (OpenRouter, Ollama) are read besides.
"""

import re
from collections.abc import AsyncGenerator, Awaitable
from typing import Any

import aiohttp
import orjson
from yarl import URL

from proxy.errors import UpstreamBadRequest, UpstreamError
from proxy.providers.base import OUTPUT, Accepts, CompletionRequest, Delta
from proxy.providers.faults import Faults
from proxy.providers.reply_reader import ReplyReader
from proxy.providers.responses_reader import ResponsesReader
from proxy.providers.responses_request import body_of
from proxy.providers.upstream import StreamedBody, Upstream
from proxy.setting_types import ResponsesProtocol
from proxy.settings import Settings

OPENAI_HOST = "api.openai.com"

CHAT_COMPLETIONS = "/chat/completions"
RESPONSES = "/responses"

_CONTENT_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}(; ?[\w-]{1,40}=[\w.\"-]{1,40}){0,4}")

_SAFE_HEADERS = ("x-request-id", "openai-processing-ms", "openai-version")


class OpenAIProvider:
    """One OpenAI-compatible upstream; see `Provider`."""

    def __init__(
        self,
        settings: Settings,
        *,
        name: str = "openai",
        base_url: str,
        api_key: str = "",
        stream_usage: bool = True,
        think_tags: bool | None = None,
        alternate_roles: bool | None = None,
        responses: ResponsesProtocol = "auto",
    ) -> None:
        self.name = name
        self._settings = settings
        self._upstream = Upstream(name, base_url, api_key, settings)
        self._url = URL(self._upstream.base_url + CHAT_COMPLETIONS)
        self._urls = {CHAT_COMPLETIONS: self._url}
        self._stream_usage = stream_usage
        self.is_openai = URL(base_url).host == OPENAI_HOST
        """Whether this is OpenAI itself, which is stricter and knows more than the others."""
        self._responses_url = self._upstream.base_url + RESPONSES
        self._responses: ResponsesProtocol = responses
        self.accepts = Accepts(
            developer_role=self.is_openai,
            alternates=not self.is_openai if alternate_roles is None else alternate_roles,
        )
        """What its histories may hold."""
        self._think_tags = not self.is_openai if think_tags is None else think_tags

    def speaks_responses(self, model: str) -> bool:
        """Whether a call of Responses goes to this upstream's own, by the settings."""
        of_model = self._settings.model_settings(f"{self.name}/{model}").responses
        chosen = of_model or self._responses
        return self.is_openai if chosen == "auto" else chosen == "native"

    def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        """Ask the model, always as a stream, and yield deltas as the network brings them.

        A server that ignores `stream` and answers with one JSON body is read as one delta, and
        either is read by what it is, whatever its content type says.
        """
        if request.responses is not None and self.speaks_responses(request.model):
            return self._native(request)
        return self._chat(request)

    async def _native(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        upstream = self._upstream
        body = _dumps(body_of(request, self.name, is_openai=self.is_openai))
        response = await upstream.request("POST", self._responses_url, body, model=request.model)
        complete = False
        include = (request.responses or {}).get("include") or ()
        reader = ResponsesReader(
            upstream.faults,
            self.name,
            request.model,
            sums_up=self.is_openai,
            logprobs="message.output_text.logprobs" in include,
        )
        accepted = False
        try:
            while not reader.done:
                try:
                    data = await upstream.read(response)
                except UpstreamError as error:
                    reader.error, data = error, b""
                for delta in reader.feed(data) if data else reader.end():
                    accepted = True
                    yield delta
                if reader.error is not None:
                    raise reader.error
                if not data:
                    break
                if not accepted and reader.is_stream:
                    accepted = True
                    yield Delta()
            complete = reader.done
        finally:
            upstream.finish(response, complete=complete)

    async def _chat(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        upstream = self._upstream
        response = await upstream.request(
            "POST", self._url, self._body(request), model=request.model
        )
        complete = False
        reader = self.reader(request.model, logprobs=bool(request.parameters.get("logprobs")))
        # Who calls it a stream has accepted; what else it is, its first bytes tell.
        accepted = response.content_type == "text/event-stream"
        if accepted:
            yield Delta()
        try:
            while not reader.done:
                try:
                    data = await upstream.read(response)
                except UpstreamError as error:
                    # An answer that said how it ended is whole, however its connection ends.
                    rest = reader.end() if reader.is_stream else None
                    if reader.finish_reason is None:
                        reader.error = error
                    data = b""
                else:
                    rest = None
                delta = rest or (reader.feed(data) if data else reader.end())
                if not accepted and (reader.is_stream or not data or reader.error):
                    if reader.error is not None:
                        raise reader.error
                    accepted = True
                    yield Delta()
                if delta is not None:
                    yield delta
                if reader.error is not None:
                    raise reader.error
                if not data:
                    break
            complete = True
        finally:
            upstream.finish(response, complete=complete)

    def reader(self, model: str, *, logprobs: bool = False) -> ReplyReader:
        """Return a reader of one of this upstream's answers."""
        return ReplyReader(
            self._upstream.faults, model, think_tags=self._think_tags, logprobs=logprobs
        )

    async def open(
        self,
        body: bytes | dict[str, Any] | StreamedBody,
        *,
        model: str = "",
        path: str = CHAT_COMPLETIONS,
    ) -> "RawResponse":
        """Send a body as it is and return the answer's bytes as they come.

        Raises:
            UpstreamError: the upstream refused, before any byte of an answer.
        """
        if isinstance(body, dict):
            model = model or str(body.get("model", ""))
            body = _dumps(body)
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(self._upstream.base_url + path)
        response = await self._upstream.request("POST", url, body, model=model)
        return RawResponse(self._upstream, response, model)

    async def list_models(self) -> list[dict[str, Any]]:
        """Return the models that the upstream lists."""
        return await self._upstream.list_models(self._upstream.base_url + "/models")

    async def close(self) -> None:
        """Close the connection pool."""
        await self._upstream.close()

    def _body(self, request: CompletionRequest) -> bytes:
        body = {
            **request.parameters,
            "model": request.model,
            "messages": [_for_chat(message) for message in request.messages],
            "stream": True,
        }
        if self._stream_usage:
            options = request.parameters.get("stream_options")
            options = options if isinstance(options, dict) else {}
            body["stream_options"] = {**options, "include_usage": True}
        return _dumps(body)


class RawResponse:
    """An upstream's 2xx answer, its bytes as they come; `close` it in the end, always."""

    def __init__(self, upstream: Upstream, response: aiohttp.ClientResponse, model: str) -> None:
        headers = response.headers
        self.faults = upstream.faults
        self.model = model
        self.status = response.status
        content_type = headers.get("content-type", "")
        self.content_type = content_type if _CONTENT_TYPE.fullmatch(content_type) else ""
        self.headers = {
            name: value
            for name in _SAFE_HEADERS
            if (value := headers.get(name)) and _is_label(value, upstream.faults)
        }
        self._upstream = upstream
        self._response = response

    @property
    def has_ended(self) -> bool:
        """Whether everything was read."""
        return self._response.content.at_eof()

    def read(self) -> Awaitable[bytes]:
        """Return whatever has arrived since the last read, one byte at least; `b""` at the end.

        Raises:
            UpstreamError: the connection broke or was silent for too long.
        """
        return self._upstream.read(self._response)

    def close(self) -> None:
        """Close the connection unless the answer was read to its end."""
        self._response.close()


def _is_label(value: str, faults: Faults) -> bool:
    """Whether a header of the upstream can be passed on: short, plain, without its key."""
    return (
        len(value) <= 200
        and value.isascii()
        and value.isprintable()
        and faults.safe(value) == value
    )


def _for_chat(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message without what only Responses can say."""
    if OUTPUT not in message:
        return message
    rest = {key: value for key, value in message.items() if key != OUTPUT}
    if not rest.get("content") and "tool_calls" not in rest:
        rest["content"] = "(a result that cannot be shown here)"
    return rest


def _dumps(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise UpstreamBadRequest("The request holds a value that JSON cannot carry") from error
