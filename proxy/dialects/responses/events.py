"""The events of a response, numbered by how far they are in it, so that none is ever kept.

A stream is a row of units: every structural event is one, and so is every character of
reasoning, text and arguments. An event's `sequence_number` is the index of its last unit.
Who has seen number `n` goes on at unit `n + 1`, from any worker, at any age: the stored
message alone says what comes there, however the first stream was cut into pieces.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import orjson

from proxy.dialects.responses.call import in_own_names
from proxy.dialects.responses.items import (
    PLAIN,
    ItemView,
    has_said,
    hosted_item,
    output_items,
    reasoning_item,
)
from proxy.dialects.responses.shapes import Request, event_of, response_object, status_of
from proxy.documents.base import Raw
from proxy.documents.logprobs import Group, groups_of
from proxy.documents.message import MessageFields
from proxy.documents.message_runs import Run, calls_of, reasoning_of, runs_of, text_of
from proxy.errors import ProxyError
from proxy.providers.tool_calls import joined_calls
from proxy.sse import DONE
from proxy.streaming.draft import Progress

FROM_THE_START = -1


@dataclass
class _Open:
    """An item that was added and not done; `given` is its text so far."""

    kind: str
    index: int
    item: Raw
    number: int = 0
    """Of a stretch of reasoning: the how manieth it is."""
    given: str = ""
    logprobs: list[Raw] = field(default_factory=list)
    """Of its text so far."""


class ResponseFormat:
    """One response as a whole, or as the frames of its events.

    `message` are the reply's fields when it began. With `after`, only what comes behind that
    sequence number.
    """

    def __init__(
        self,
        message: MessageFields,
        request: Request,
        *,
        id_: str = "",
        conversation_id: str = "",
        view: ItemView | None = None,
        after: int = FROM_THE_START,
        ids: Raw | None = None,
    ) -> None:
        self._message = {**message, "status": "streaming"}
        self._request = request
        self._id = id_
        self._conversation_id = conversation_id
        self._view = view or ItemView(request.wants_summary)
        self._after = after
        self._ids = ids or {}
        self._units = 0
        self._open: list[_Open] = []
        self._added = 0
        self._numbers = {"r": 0, "t": 0}
        self._given = {"r": 0, "t": 0}
        self._run = -1
        """The stretch that was entered last."""
        self._fragments: list[Raw] = []
        self._called: list[_Open] = []
        self._items: list[str] = []
        self._hosted_items = 0
        self._encrypted: list[str] = []
        self._logprobs: deque[Group] = deque()
        """What comes with the next pieces of text."""

    # What `ReplyFormat` asks for

    def first(self) -> bytes:
        """`response.created`, for a background response `.queued`, then `.in_progress`."""
        response = self._response(self._message, "in_progress", [])
        frames = b""
        if self._request.body.get("background"):
            queued = {**response, "status": "queued"}
            frames += self._event("response.created", response=queued)
            frames += self._event("response.queued", response=queued)
        else:
            frames += self._event("response.created", response=response)
        return frames + self._event("response.in_progress", response=response)

    def progress(self, progress: Progress) -> bytes:
        """Return what has come since the last frame, in the order that it came in."""
        frames = b""
        if progress.logprobs and self._view.logprobs:
            self._logprobs.extend(progress.logprobs)
        if progress.encrypted or progress.items or self._items:
            return self._native_progress(progress)
        reasoning, text = progress.reasoning, progress.text
        if progress.order is not None and reasoning and text:
            for kind, count in self._interleaved(progress.order, len(reasoning), len(text)):
                if kind == "r":
                    frames += self._stretch("r", reasoning[:count])
                    reasoning = reasoning[count:]
                else:
                    frames += self._stretch("t", text[:count])
                    text = text[count:]
        if reasoning:
            frames += self._stretch("r", reasoning)
        if text:
            frames += self._stretch("t", text)
        if progress.tool_calls:
            self._fragments += progress.tool_calls
            frames += self._calls(joined_calls(self._fragments))
        return frames

    def _native_progress(self, progress: Progress) -> bytes:
        """Return what has come since, where a provider's own items lie between the stretches."""
        self._items += progress.items
        self._encrypted = list(progress.encrypted) or self._encrypted
        self._fragments += progress.tool_calls
        runs, ends = [], dict.fromkeys("rtch", 0)
        for kind, count in progress.order or ():
            runs.append(Run(kind, ends[kind], ends[kind] + count))
            ends[kind] += count
        new = {"r": progress.reasoning, "t": progress.text}
        return self._walk(runs, new, dict(self._given), joined_calls(self._fragments))

    def replay(self, message: MessageFields) -> bytes:
        """All that a reply which has ended says, in the order that it was written in."""
        self._items = list(message.get("items") or ())
        self._encrypted = list(message.get("encrypted_reasoning") or ())
        if self._view.logprobs:
            told = self._given["t"] or -1
            self._logprobs = deque(group for group in groups_of(message) if group[0] > told)
        texts = {"r": reasoning_of(message), "t": text_of(message)}
        return self._walk(runs_of(message), texts, {"r": 0, "t": 0}, calls_of(message))

    def _walk(
        self, runs: list[Run], texts: dict[str, str], begin_at: dict[str, int], calls: list[Raw]
    ) -> bytes:
        """Say what is new of stretches; `texts` begin at the characters `begin_at`."""
        frames = b""
        for number, run in enumerate(runs):
            if number < self._run:
                continue
            if run.kind in ("r", "t"):
                start, end = self._given[run.kind], run.end
                piece = texts[run.kind][start - begin_at[run.kind] : end - begin_at[run.kind]]
                if number > self._run:
                    frames += self._finish_open()
                if number > self._run or piece:
                    frames += self._stretch(run.kind, piece)
            elif run.kind == "c":
                if len(calls) < run.end:
                    break
                frames += self._calls(calls[: run.end])
            else:
                if len(self._items) < run.end:
                    break
                frames += self._hosted(run.end)
            self._run = number
        return frames

    def waiting(self) -> bytes:
        """Return OpenAI's `keepalive` event; for some clients a comment is no sign of life."""
        return keepalive(max(self._units - 1, 0))

    def ending(self, error: ProxyError | None, message: MessageFields, *, differs: bool) -> bytes:
        """Return what is left to say, the ends of all items, the whole response, `[DONE]`."""
        if not message:
            return self._event("error", **_flat(error)) + DONE
        message = {**self._message, **message}
        output = output_items(message, self._view)
        frames = b""
        if not differs and (message.get("items") or message.get("encrypted_reasoning")):
            frames += self.replay(message)
        elif not differs and (calls := calls_of(message)):
            frames += self._calls(calls)
        frames += self._finish(output)
        status = status_of(message)
        response = self._response(message, status, output)
        return frames + self._event(event_of(status), response=response) + DONE

    def whole(self, error: ProxyError | None, message: MessageFields) -> Raw:
        """Return the `response`, one that failed, too, if anything of it arrived.

        Raises:
            ProxyError: `error`, where nothing did.
        """
        if error is not None and not has_said(message):
            raise error
        message = {**self._message, **message}
        output = output_items(message, self._view)
        return self._response(message, status_of(message), output)

    def queued(self) -> Raw:
        """Return the `response` of which nothing is known yet."""
        return self._response(self._message, "queued", [])

    def ids(self) -> Raw:
        """Return the ids of the turn, as the answers of every dialect name them."""
        return self._ids

    # How far it is

    def _event(self, type_: str, **fields: Any) -> bytes:
        self._units += 1
        if self._units - 1 <= self._after:
            return b""
        return frame(type_, {**fields, "sequence_number": self._units - 1})

    def _delta(self, type_: str, delta: str, **fields: Any) -> bytes:
        if not delta:
            return b""
        start = self._units
        self._units += len(delta)
        if self._units - 1 <= self._after:
            return b""
        if start <= self._after:
            delta = delta[self._after + 1 - start :]
        return frame(type_, {**fields, "delta": delta, "sequence_number": self._units - 1})

    # Items

    def _stretch(self, kind: str, text: str) -> bytes:
        frames = b""
        if not self._open or self._open[-1].kind != kind:
            frames += self._finish_open()
            frames += self._add(kind, self._empty(kind), has_part=bool(text))
            self._run += 1
        opened = self._open[-1]
        opened.given += text
        self._given[kind] += len(text)
        return frames + self._text_delta(opened, text)

    def _empty(self, kind: str) -> Raw:
        number = self._numbers[kind]
        self._numbers[kind] += 1
        # An item of one character, to take its shape from the one place that knows it.
        item = self._bare_items({"reasoning" if kind == "r" else "content": "-"})[0]
        if number:
            item["id"] = f"{item['id']}_{number}"
        return item

    def _bare_items(self, fields: Raw, view: ItemView = PLAIN) -> list[Raw]:
        """Return the items of a reply that has these parts alone."""
        bare = {"id": self._message["id"], "role": "assistant", "content": ""}
        names = {"tool_names": self._message.get("tool_names")}
        return output_items({**bare, **names, "status": "complete", **fields}, view)

    def _add(self, kind: str, item: Raw, *, has_part: bool = True) -> bytes:
        opened = _Open(kind, self._added, item, self._numbers.get(kind, 0) - 1)
        self._open.append(opened)
        self._added += 1
        frames = self._event(
            "response.output_item.added", output_index=opened.index, item=_bare(item)
        )
        if kind in ("r", "t") and has_part:
            frames += self._part_event("added", opened, "")
        return frames

    def _is_summary(self, opened: _Open) -> bool:
        return opened.kind == "r" and self._view.summary

    def _part_event(self, what: str, opened: _Open, text: str) -> bytes:
        at = {"item_id": opened.item["id"], "output_index": opened.index}
        if self._is_summary(opened):
            part: Raw = {"type": "summary_text", "text": text}
            return self._event(
                f"response.reasoning_summary_part.{what}", **at, summary_index=0, part=part
            )
        if opened.kind == "r":
            part = {"type": "reasoning_text", "text": text}
        else:
            part = {**opened.item["content"][0], "text": text}
        return self._event(f"response.content_part.{what}", **at, content_index=0, part=part)

    def _text_delta(self, opened: _Open, text: str) -> bytes:
        at = {"item_id": opened.item["id"], "output_index": opened.index}
        if self._is_summary(opened):
            return self._delta("response.reasoning_summary_text.delta", text, **at, summary_index=0)
        if opened.kind == "r":
            return self._delta("response.reasoning_text.delta", text, **at, content_index=0)
        logprobs = self._tokens_of(opened, text) if self._logprobs else []
        return self._delta(
            "response.output_text.delta", text, **at, content_index=0, logprobs=logprobs
        )

    def _tokens_of(self, opened: _Open, text: str) -> list[Raw]:
        """Return what is known of the tokens of a piece of text, as far as it is told."""
        end = self._given["t"]
        hidden = min(len(text), max(0, self._after + 1 - self._units))
        tokens: list[Raw] = []
        while self._logprobs and self._logprobs[0][0] <= end:
            at, group = self._logprobs.popleft()
            opened.logprobs += group
            if at > end - len(text) + hidden or not hidden:
                tokens += group
        return tokens

    def _calls(self, calls: list[Raw]) -> bytes:
        """Say what is new of the tool calls; those that follow each other are open together."""
        frames = b""
        if not self._open or self._open[-1].kind != "c":
            frames += self._finish_open()
            self._run += 1
        payload = orjson.dumps({"tool_calls": calls}).decode()
        for number, item in enumerate(self._bare_items({"payload": payload})):
            if number >= len(self._called):
                frames += self._add("c", item)
                self._called.append(self._open[-1])
            called = self._called[number]
            called.item = item
            if called in self._open and item["type"] == "function_call":
                frames += self._argument_delta(called, item["arguments"])
        return frames

    def _argument_delta(self, opened: _Open, arguments: str) -> bytes:
        if not arguments.startswith(opened.given) or arguments == opened.given:
            return b""
        delta = arguments[len(opened.given) :]
        opened.given = arguments
        return self._delta(
            "response.function_call_arguments.delta",
            delta,
            item_id=opened.item["id"],
            output_index=opened.index,
        )

    # The end

    def _hosted(self, end: int) -> bytes:
        """Say what a hosted tool made: nothing of it comes in pieces."""
        frames = self._finish_open()
        made = {"id": self._message["id"], "items": self._items}
        for number in range(self._hosted_items, end):
            frames += self._add("h", hosted_item(made, number))
            frames += self._finish_open()
        self._hosted_items = end
        return frames

    def _finish_open(self, output: list[Raw] | None = None) -> bytes:
        frames = b""
        for opened in self._open:
            final = output[opened.index] if output and opened.index < len(output) else None
            frames += self._done(opened, final or self._final(opened))
        self._open = []
        return frames

    def _final(self, opened: _Open) -> Raw:
        """Return an item that is whole before the response is."""
        if opened.kind == "r":
            known = {"id": self._message["id"], "encrypted_reasoning": self._encrypted}
            return reasoning_item(known, opened.number, opened.given, self._view)
        if opened.kind == "h":
            return opened.item
        if opened.kind != "t":
            return {**opened.item, "status": "completed"}
        item = self._bare_items({"content": opened.given}, self._view)[0]
        item["content"][0]["logprobs"] = opened.logprobs
        return {**item, "id": opened.item["id"]}

    def _finish(self, output: list[Raw]) -> bytes:
        frames = self._finish_open(output)
        # What could not be said while it was written: it differs from what was.
        for item in output[self._added :]:
            kind = {"reasoning": "r", "message": "t"}.get(item["type"], "c")
            has_part = kind != "r" or bool(item["content"])
            frames += self._add(kind, item, has_part=has_part)
            frames += self._finish_open(output)
        return frames

    def _done(self, opened: _Open, item: Raw) -> bytes:
        at = {"item_id": item["id"], "output_index": opened.index}
        frames = b""
        kind = item["type"]
        if kind == "reasoning" and not item["content"]:
            pass
        elif kind == "reasoning":
            text = item["content"][0]["text"] if item["content"] else ""
            name = "reasoning_summary_text" if self._is_summary(opened) else "reasoning_text"
            where = "summary_index" if self._is_summary(opened) else "content_index"
            frames += self._event(f"response.{name}.done", **at, **{where: 0}, text=text)
            frames += self._part_event("done", opened, text)
        elif kind == "message":
            part = item["content"][0]
            text = part["text"]
            frames += self._event(
                "response.output_text.done",
                **at,
                content_index=0,
                text=text,
                logprobs=part["logprobs"],
            )
            opened.item = item
            frames += self._part_event("done", opened, text)
        elif kind == "function_call":
            frames += self._event(
                "response.function_call_arguments.done",
                **at,
                name=item["name"],
                arguments=item["arguments"],
            )
        elif kind == "custom_tool_call":
            frames += self._delta("response.custom_tool_call_input.delta", item["input"], **at)
            frames += self._event("response.custom_tool_call_input.done", **at, input=item["input"])
        return frames + self._event(
            "response.output_item.done", output_index=opened.index, item=item
        )

    def _response(self, message: MessageFields, status: str, output: list[Raw]) -> Raw:
        return response_object(
            message,
            self._request,
            id_=self._id,
            conversation_id=self._conversation_id,
            status=status,
            output=output,
        )

    def _interleaved(self, order: Any, reasoning: int, text: int) -> list[tuple[str, int]]:
        """Return how stretches that came together lie behind each other."""
        left = {"r": reasoning, "t": text}
        found: list[tuple[str, int]] = []
        # From the end backwards: what is new is the last of each kind.
        for kind, count in reversed(order):
            if left.get(kind):
                taken = min(count, left[kind])
                left[kind] -= taken
                found.append((kind, taken))
            if not any(left.values()):
                break
        return found[::-1]


def _bare(item: Raw) -> Raw:
    """Return an item as it stands when it is added: in progress, nothing in it."""
    bare = {**item}
    if "status" in bare:
        bare["status"] = "in_progress"
    for key, empty in (("content", []), ("summary", []), ("arguments", ""), ("input", "")):
        if key in bare:
            bare[key] = empty
    bare.pop("encrypted_content", None)
    return bare


def _flat(error: ProxyError | None) -> Raw:
    """Return an error without the `error` key, at which SDKs stop reading."""
    found = in_own_names(error or ProxyError())
    return {"code": found.code or found.type, "message": found.detail, "param": found.param}


def keepalive(number: int) -> bytes:
    """Return the event that says nothing, under the number of the one before it."""
    return frame("keepalive", {"sequence_number": number})


def frame(type_: str, fields: Raw) -> bytes:
    """Return one event as it stands in a stream."""
    return b"event: %b\ndata: %b\n\n" % (type_.encode(), orjson.dumps({"type": type_, **fields}))
