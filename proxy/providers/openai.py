"""OpenAI's chat completion protocol, and every upstream that speaks it.

Source: https://platform.openai.com/docs/api-reference/chat. `reasoning_content` (DeepSeek,
vLLM) and `reasoning` (OpenRouter, Ollama) are read besides.
"""

from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import orjson

from proxy.errors import UpstreamBadRequest, UpstreamError
from proxy.providers.base import CompletionRequest, Delta, Usage
from proxy.providers.faults import Faults
from proxy.providers.upstream import Upstream
from proxy.settings import Settings
from proxy.sse import JSONFrames, SSEDecoder

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
    ) -> None:
        self.name = name
        self._upstream = Upstream(name, base_url, api_key, settings)
        self._url = self._upstream.base_url + "/chat/completions"
        self._stream_usage = stream_usage

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        """Ask the model, always as a stream, and yield a delta per network read.

        A server that ignores `stream` and answers with one JSON body is read as one delta.
        """
        upstream = self._upstream
        response = await upstream.request(
            "POST", self._url, self._body(request), model=request.model
        )
        complete = False
        try:
            if response.content_type == "application/json":
                body = await upstream.read_json(response)
                yield Delta()
                yield whole_reply(body, upstream.faults, request.model)
                complete = True
                return
            if response.content_type != "text/event-stream":
                raise upstream.faults.unreadable()
            yield Delta()
            reader = ChunkReader(upstream.faults, request.model)
            while data := await upstream.read(response):
                delta = reader.feed(data)
                if delta is not None:
                    yield delta
                if reader.error is not None:
                    raise reader.error
                if reader.done:
                    break
            complete = True
        finally:
            upstream.finish(response, complete=complete)

    async def open(self, body: bytes | dict[str, Any], *, model: str = "") -> "RawResponse":
        """Send a chat completion body as it is and return the answer's bytes as they come.

        Raises:
            UpstreamError: the upstream refused, before any byte of an answer.
        """
        if isinstance(body, dict):
            model = model or str(body.get("model", ""))
            body = _dumps(body)
        response = await self._upstream.request("POST", self._url, body, model=model)
        return RawResponse(self._upstream, response, model)

    async def list_models(self) -> list[dict[str, Any]]:
        """The models that the upstream lists."""
        return await self._upstream.list_models(self._upstream.base_url + "/models")

    async def close(self) -> None:
        """Close the connection pool."""
        await self._upstream.close()

    def _body(self, request: CompletionRequest) -> bytes:
        body = {
            **request.parameters,
            "model": request.model,
            "messages": request.messages,
            "stream": True,
        }
        if self._stream_usage:
            options = request.parameters.get("stream_options")
            options = options if isinstance(options, dict) else {}
            body["stream_options"] = {**options, "include_usage": True}
        return _dumps(body)


class ChunkReader:
    """Reads the `chat.completion.chunk` frames of one stream, one cheap pass per network read.

    `done` is set once `[DONE]` was seen. `error` is set by a frame that is not a chunk or
    that holds an error object; what came before it is still given. Only the first choice
    (`index` 0) is read.
    """

    def __init__(self, faults: Faults, model: str = "") -> None:
        self.done = False
        self.error: UpstreamError | None = None
        self._faults = faults
        self._model = model
        self._decoder = SSEDecoder()
        self._frames = JSONFrames()

    def feed(self, data: bytes) -> Delta | None:  # noqa: PLR0912 - a hot loop, kept flat
        """What these bytes amount to; None where they hold nothing of the reply."""
        texts: list[str] = []
        thoughts: list[str] = []
        calls: list[dict[str, Any]] = []
        finish_reason: str | None = None
        usage: Usage | None = None
        loads = self._frames.loads
        try:
            for payload in self._decoder.feed(data):
                if payload == b"[DONE]":
                    self.done = True
                    break
                frame = loads(payload)
                if choices := frame.get("choices"):
                    choice = choices[0]
                    if choice.get("index"):
                        continue
                    if delta := choice.get("delta"):
                        if content := delta.get("content") or delta.get("refusal"):
                            texts.append(content if type(content) is str else _text(content))
                        if thought := delta.get("reasoning_content") or delta.get("reasoning"):
                            thoughts.append(_text(thought))
                        if fragments := delta.get("tool_calls"):
                            calls.extend(fragments)
                    if reason := choice.get("finish_reason"):
                        finish_reason = str(reason)
                        # Moonshot counts inside the choice.
                        usage = usage_of(choice.get("usage")) or usage
                if counted := frame.get("usage"):
                    usage = usage_of(counted) or usage
                if error := frame.get("error"):
                    self.error = self._faults.in_band(error, self._model)
                    break
        except (AttributeError, LookupError, TypeError, ValueError):
            self.error = self._faults.unreadable()
        if not (texts or thoughts or calls or finish_reason or usage):
            return None
        rest = self._frames.rest
        return Delta(
            self._frames.text("".join(texts)),
            rest("".join(thoughts)),
            False,
            tuple(rest(calls)),
            finish_reason,
            usage,
        )


class RawResponse:
    """An upstream's 2xx answer, its bytes as they come; `close` it in the end, always."""

    def __init__(self, upstream: Upstream, response: aiohttp.ClientResponse, model: str) -> None:
        headers = response.headers
        self.faults = upstream.faults
        self.model = model
        self.status = response.status
        self.content_type = headers.get("content-type", "application/octet-stream")
        self.headers = {name: headers[name] for name in _SAFE_HEADERS if name in headers}
        self.is_stream = response.content_type == "text/event-stream"
        self._upstream = upstream
        self._response = response

    @property
    def has_ended(self) -> bool:
        """Whether everything was read."""
        return self._response.content.at_eof()

    async def read(self) -> bytes:
        """Whatever has arrived since the last read, at least one byte; `b""` at the end.

        Raises:
            UpstreamError: the connection broke or was silent for too long.
        """
        data = await self._upstream.read(self._response)
        if not data:
            self._upstream.finish(self._response, complete=True)
        return data

    def close(self) -> None:
        """Close the connection unless the answer was read to its end."""
        self._response.close()


def whole_reply(body: Any, faults: Faults, model: str = "") -> Delta:
    """One delta out of a `chat.completion` object.

    Raises:
        UpstreamError: it holds an error object, or is something else.
    """
    try:
        if body.get("error"):
            raise faults.in_band(body["error"], model)
        choice = body["choices"][0]
        message = choice["message"]
        calls = message.get("tool_calls") or ()
        return Delta(
            text=_text(message.get("content") or message.get("refusal")),
            reasoning=_text(message.get("reasoning_content") or message.get("reasoning")),
            tool_calls=tuple({"index": index, **call} for index, call in enumerate(calls)),
            finish_reason=choice.get("finish_reason"),
            usage=usage_of(body.get("usage")),
        )
    except (AttributeError, LookupError, TypeError) as error:
        raise faults.unreadable() from error


def usage_of(counted: Any) -> Usage | None:
    """OpenAI's `usage` object as a `Usage`; its other fields are kept in `details`."""
    if not isinstance(counted, dict):
        return None
    details = dict(counted)
    prompt = details.pop("prompt_tokens", 0)
    completion = details.pop("completion_tokens", 0)
    return Usage(
        prompt if isinstance(prompt, int) else 0,
        completion if isinstance(completion, int) else 0,
        "reported",
        details,
    )


def _text(content: Any) -> str:
    """A content field as text; a list of parts (Mistral) is joined."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return ""


def _dumps(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise UpstreamBadRequest("The request holds a value that JSON cannot carry") from error
