"""An upstream's answer in OpenAI's Responses, read as deltas: a stream of events or one body.

Source: https://platform.openai.com/docs/api-reference/responses-streaming, and what servers
that speak it leave out: deltas (the item's end says all), items (the response says all),
`output_index`, names of events.
"""

from typing import Any

from proxy.errors import UpstreamError
from proxy.providers.base import Delta, Usage
from proxy.providers.faults import Faults
from proxy.providers.logprobs import tokens_in
from proxy.providers.responses_request import flat_name
from proxy.providers.token_usage import usage_of
from proxy.sse import JSONFrames, SSEDecoder

MAX_JSON_BYTES = 64 * 1024 * 1024
"""The longest JSON body that is read."""

ENDS = frozenset({"completed", "incomplete", "failed", "cancelled"})

_TEXTS = frozenset({"response.output_text.delta", "response.refusal.delta"})
_REASONING = {
    "response.reasoning_summary_text.delta": "summary",
    "response.reasoning_text.delta": "text",
    "response.reasoning.delta": "text",
}
_ARGUMENTS = frozenset(
    {"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"}
)
_CALLS = {"function_call": ("function", "arguments"), "custom_tool_call": ("custom", "input")}


class _Item:
    """An item of the answer: how much of it was told, and its call's number."""

    def __init__(self) -> None:
        self.kind = ""
        self.given = 0
        self.source = ""
        self.part: Any = None
        self.call = -1
        self.is_done = False
        self.has_logprobs = False


class _Deltas:
    """What one read amounts to: a new delta wherever something comes out of its order."""

    def __init__(self) -> None:
        self.found: list[Delta] = []
        self._held: dict[str, Any] = {}
        self._rank = 0

    def put(self, rank: int, key: str, value: Any) -> None:
        if rank < self._rank or (key == "encrypted" and key in self._held):
            self.close()
        self._rank = rank
        self._held[key] = self._held[key] + value if key in self._held else value

    def last(self, **fields: Any) -> None:
        """Add what belongs to the end of all."""
        self._held |= fields

    def close(self) -> None:
        if self._held:
            self.found.append(Delta(**self._held))
        self._held, self._rank = {}, 0


class ResponsesReader:
    """Reads one answer; raises nothing on what it holds.

    `done` is set once the answer is over, `error` by one that failed; what came before it is
    still given. `is_stream` is known after the first bytes.
    """

    def __init__(
        self,
        faults: Faults,
        provider: str,
        model: str = "",
        *,
        sums_up: bool,
        logprobs: bool = False,
    ) -> None:
        self.is_stream: bool | None = None
        self.done = False
        self.error: UpstreamError | None = None
        self.finish_reason: str | None = None
        self.ignored = 0
        self._faults = faults
        self._provider = provider
        self._model = model
        # A summary of OpenAI is for people; what others send is the reasoning itself.
        self._names = {"reasoning": ""} if sums_up else None
        self._wants_logprobs = logprobs
        self._decoder = SSEDecoder()
        self._frames = JSONFrames()
        self._head: list[bytes] = []
        self._head_bytes = 0
        self._items: dict[Any, _Item] = {}
        self._calls = 0
        self._last_kind = ""
        self._annotations: list[dict[str, Any]] = []
        self._deltas = _Deltas()

    def feed(self, data: bytes) -> list[Delta]:
        """Return what these bytes amount to."""
        if self.done or self.error is not None:
            return []
        self._deltas = _Deltas()
        if not self.is_stream and not (data := self._begin(data)):
            return []
        try:
            events = self._decoder.feed_events(data)
        except ValueError:
            self.error = self._faults.unreadable()
            return []
        for name, payload in events:
            self._take(name, payload)
            if self.done or self.error is not None:
                break
        self._deltas.close()
        return self._deltas.found

    def end(self) -> list[Delta]:
        """Return what was still open when the bytes ended."""
        if self.done or self.error is not None:
            return []
        if self.is_stream:
            return self.feed(b"\n\n")
        if not self._head_bytes:
            return []
        self._deltas = _Deltas()
        found = self._object(b"".join(self._head))
        if found is None:
            self.error = self._faults.unreadable()
        elif "output" in found or found.get("object") == "response":
            self._response(found, str(found.get("status") or "completed"))
        else:
            self.error = self._faults.in_band(found.get("error") or found, self._model)
        self._deltas.close()
        return self._deltas.found

    def _begin(self, data: bytes) -> bytes:
        """Tell by the first bytes whether this is a stream; return what to read as one."""
        self._head.append(data)
        self._head_bytes += len(data)
        if self.is_stream is None:
            head = b"".join(self._head)
            start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
            if not start:
                return b""
            self.is_stream = start not in b"{[<"
            if start == b"<":
                self.error = self._faults.unreadable()
            elif self.is_stream:
                return head
        if self._head_bytes > MAX_JSON_BYTES:
            self.error = self._faults.unreadable()
        return b""

    def _object(self, payload: bytes) -> dict[str, Any] | None:
        try:
            found = self._frames.loads(payload)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    # Events

    def _take(self, name: str, payload: bytes) -> None:
        if payload[:6] == b"[DONE]" or not payload:
            return
        event = self._object(payload)
        if event is None:
            self.ignored += 1
            return
        kind = event.get("type")
        kind = kind if isinstance(kind, str) else name
        if kind in _TEXTS:
            item = self._item(event)
            self._text(item, event.get("delta"))
            self._tokens(item, event.get("logprobs"))
        elif kind in _REASONING:
            self._reasoning(event, _REASONING[kind])
        elif kind in _ARGUMENTS:
            self._arguments(self._item(event), event.get("delta"))
        elif kind == "response.output_item.added":
            self._added(self._item(event), event.get("item"))
        elif kind == "response.output_item.done":
            self._item_done(self._item(event), event.get("item"))
        elif kind == "error" or (name == "error" and "response" not in event):
            self.error = self._faults.in_band(event.get("error") or event, self._model)
        elif kind.removeprefix("response.") in ENDS:
            response = event.get("response")
            response = response if isinstance(response, dict) else {}
            self._response(response, kind.removeprefix("response."))

    def _item(self, event: dict[str, Any]) -> _Item:
        key = event.get("output_index")
        if not isinstance(key, int):
            item = event.get("item")
            key = event.get("item_id") or (item.get("id") if isinstance(item, dict) else None)
            key = key if isinstance(key, str) else ""
        return self._items.setdefault(key, _Item())

    def _added(self, item: _Item, added: Any) -> None:
        if not isinstance(added, dict):
            return
        item.kind = str(added.get("type") or "")
        if item.kind in _CALLS:
            self._begin_call(item, added)
        elif item.kind == "message" and self._last_kind == "message":
            # Two messages in a row are one text here.
            self._deltas.put(3, "text", "\n\n")
        if item.kind in ("message", "reasoning"):
            self._last_kind = item.kind

    def _text(self, item: _Item, text: Any) -> None:
        if isinstance(text, str) and text:
            item.given += len(text)
            self._last_kind = "message"
            self._deltas.put(3, "text", self._frames.text(text.replace("\x00", "")))

    def _tokens(self, item: _Item, told: Any) -> None:
        """Take the log probabilities of a text."""
        if self._wants_logprobs and (tokens := tokens_in(told)):
            item.has_logprobs = True
            self._deltas.put(3, "logprobs", tuple(tokens))

    def _reasoning(self, event: dict[str, Any], source: str) -> None:
        text, item = event.get("delta"), self._item(event)
        if not isinstance(text, str) or not text or item.source not in ("", source):
            return
        part = event.get("summary_index", event.get("content_index"))
        if item.given and part != item.part:
            text = "\n\n" + text
        item.source, item.part = source, part
        item.given += len(text)
        self._think(text)

    def _think(self, text: str) -> None:
        self._last_kind = "reasoning"
        text = self._frames.text(text.replace("\x00", ""), "reasoning")
        self._deltas.put(0, "reasoning", text)
        if self._names is not None:
            self._deltas.last(names=self._names)

    def _begin_call(self, item: _Item, call: dict[str, Any]) -> None:
        kind, key = _CALLS[str(call.get("type"))]
        item.kind, item.call = str(call["type"]), self._calls
        self._calls += 1
        self._last_kind = "calls"
        name, namespace = call.get("name"), call.get("namespace")
        name = name if isinstance(name, str) else ""
        if isinstance(namespace, str) and namespace:
            name = flat_name(namespace, name)
        id_ = call.get("call_id") or call.get("id") or f"call_{item.call}"
        begun = {"index": item.call, "id": str(id_), "type": kind, kind: {"name": name, key: ""}}
        self._deltas.put(4, "tool_calls", (begun,))

    def _arguments(self, item: _Item, text: Any) -> None:
        if not isinstance(text, str) or not text or item.call < 0:
            return
        item.given += len(text)
        kind, key = _CALLS[item.kind]
        text = self._frames.text(text.replace("\x00", ""), f"call {item.call}")
        self._deltas.put(4, "tool_calls", ({"index": item.call, kind: {key: text}},))

    def _item_done(self, item: _Item, done: Any) -> None:
        """Take the end of an item: what was not told of it, and what only the end says."""
        if not isinstance(done, dict) or item.is_done:
            return
        item.is_done = True
        kind = done.get("type")
        if kind == "message":
            self._message_done(item, done)
        elif kind == "reasoning":
            self._reasoning_done(item, done)
        elif kind in _CALLS:
            if item.call < 0:
                self._begin_call(item, done)
            said = done.get(_CALLS[kind][1])
            self._arguments(item, said[item.given :] if isinstance(said, str) else None)
        elif isinstance(kind, str):
            self._last_kind = kind
            self._deltas.put(2, "items", (self._frames.rest(done),))

    def _message_done(self, item: _Item, done: dict[str, Any]) -> None:
        parts = [part for part in _list(done.get("content")) if isinstance(part, dict)]
        if not item.given:
            texts = (part.get("text") or part.get("refusal") for part in parts)
            self._text(item, "".join(text for text in texts if isinstance(text, str)))
        if not item.has_logprobs:
            told = (_list(part.get("logprobs")) for part in parts)
            self._tokens(item, [token for tokens in told for token in tokens])
        for part in parts:
            self._annotations += map(_as_chat, _list(part.get("annotations")))
        if self._annotations:
            self._deltas.last(extra={"annotations": self._frames.rest(self._annotations)})

    def _reasoning_done(self, item: _Item, done: dict[str, Any]) -> None:
        if not item.given:
            parts = _list(done.get("content")) or _list(done.get("summary"))
            texts = [part.get("text") for part in parts if isinstance(part, dict)]
            if text := "\n\n".join(text for text in texts if isinstance(text, str)):
                self._think(text)
        sealed = done.get("encrypted_content")
        if isinstance(sealed, str) and sealed and "\x00" not in sealed:
            self._last_kind = "reasoning"
            self._deltas.put(1, "encrypted", f"{self._provider}:{sealed}")

    def _response(self, response: dict[str, Any], status: str) -> None:
        """Take the end of the response; what its items were is told where nothing told it."""
        for index, each in enumerate(_list(response.get("output"))):
            if index not in self._items and not self._has_unnumbered():
                item = self._items.setdefault(index, _Item())
                if isinstance(each, dict):
                    self._item_done(item, each)
        if (usage := usage_in(response)) is not None:
            self._deltas.last(usage=usage)
        if status in ("failed", "cancelled"):
            failure = response.get("error") or {"message": f"The response is {status}"}
            self.error = self._faults.in_band(failure, self._model)
            return
        reason = "tool_calls" if self._calls else "stop"
        if status == "incomplete":
            details = response.get("incomplete_details")
            named = details.get("reason") if isinstance(details, dict) else ""
            reason = "content_filter" if named == "content_filter" else "length"
        self.finish_reason, self.done = reason, True
        self._deltas.last(finish_reason=reason)

    def _has_unnumbered(self) -> bool:
        return any(isinstance(key, str) for key in self._items)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def usage_in(response: dict[str, Any]) -> Usage | None:
    """Read a response's usage, its details under the names that everything else uses."""
    counted = response.get("usage")
    if not isinstance(counted, dict):
        return None
    names = {
        "input_tokens_details": "prompt_tokens_details",
        "output_tokens_details": "completion_tokens_details",
    }
    return usage_of({names.get(key, key): each for key, each in counted.items()})


def _as_chat(annotation: Any) -> Any:
    """Return an annotation as a chat completion has it."""
    if isinstance(annotation, dict) and annotation.get("type") == "url_citation":
        rest = {key: each for key, each in annotation.items() if key != "type"}
        return {"type": "url_citation", "url_citation": rest}
    return annotation
