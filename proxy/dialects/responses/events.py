"""A response as a whole, or as its events: while it is written, and whenever they are asked for."""

from collections import deque
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
from proxy.dialects.responses.numbering import FROM_THE_START, NumberedEvents
from proxy.dialects.responses.open_item import OpenItem
from proxy.dialects.responses.shapes import Request, event_of, response_object, status_of
from proxy.documents.base import Raw
from proxy.documents.logprobs import Group, groups_of
from proxy.documents.message import MessageFields
from proxy.documents.message_runs import Run, calls_of, reasoning_of, runs_of, text_of
from proxy.errors import ProxyError
from proxy.providers.tool_calls import joined_calls
from proxy.sse import DONE
from proxy.streaming.draft import Progress


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
        self._ids = ids or {}
        self._events = NumberedEvents(after)
        self._open: list[OpenItem] = []
        self._added = 0
        self._numbers = {"r": 0, "t": 0}
        self._given = {"r": 0, "t": 0}
        self._run = -1
        """The stretch that was entered last."""
        self._fragments: list[Raw] = []
        self._called: list[OpenItem] = []
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
            frames += self._events.event("response.created", response=queued)
            frames += self._events.event("response.queued", response=queued)
        else:
            frames += self._events.event("response.created", response=response)
        return frames + self._events.event("response.in_progress", response=response)

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
        return self._events.keepalive()

    def ending(self, error: ProxyError | None, message: MessageFields, *, differs: bool) -> bytes:
        """Return what is left to say, the ends of all items, the whole response, `[DONE]`."""
        if not message:
            return self._events.event("error", **_flat(error)) + DONE
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
        return frames + self._events.event(event_of(status), response=response) + DONE

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
        tokens = self._tokens_of(opened, text) if kind == "t" and self._logprobs else []
        return frames + opened.text(text, tokens)

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
        number = self._numbers.get(kind, 0) - 1
        opened = OpenItem(self._events, kind, self._added, item, number, self._view.summary)
        self._open.append(opened)
        self._added += 1
        return opened.added(has_part=has_part)

    def _tokens_of(self, opened: OpenItem, text: str) -> list[Raw]:
        """Return what is known of the tokens of a piece of text, as far as it is told."""
        end = self._given["t"]
        seen = self._events.seen(text)
        tokens: list[Raw] = []
        while self._logprobs and self._logprobs[0][0] <= end:
            at, group = self._logprobs.popleft()
            opened.logprobs += group
            if at > end - len(text) + seen or not seen:
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
                frames += called.arguments(item["arguments"])
        return frames

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
            frames += opened.done(final or self._final(opened))
        self._open = []
        return frames

    def _final(self, opened: OpenItem) -> Raw:
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


def _flat(error: ProxyError | None) -> Raw:
    """Return an error without the `error` key, at which SDKs stop reading."""
    found = in_own_names(error or ProxyError())
    return {"code": found.code or found.type, "message": found.detail, "param": found.param}
