"""The text of a reply while it arrives, and those who read along.

Any number of followers read from any point, each at its own pace: a follower holds a
position, not a queue, so one that reads nothing costs nothing.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple

from proxy.documents.logprobs import Group, Logprobs
from proxy.documents.message import packed
from proxy.documents.message_parts import as_markdown
from proxy.providers.base import Delta, Usage
from proxy.providers.tool_calls import joined_calls


class Progress(NamedTuple):
    """What a follower has not seen yet; `SIGN_OF_LIFE` on a quiet stream.

    With `replace`, `text` is the whole reply so far. A tuple, as a `Delta` is.
    """

    text: str = ""
    reasoning: str = ""
    replace: bool = False
    tool_calls: tuple[dict[str, Any], ...] = ()
    differs: bool = False
    """Said once at the end: the stored text is not what this follower was given."""
    order: list[list[Any]] | None = None
    """Where reasoning and text alternate: how they lay so far, `[["r", 120], ["t", 40], …]`."""
    items: tuple[str, ...] = ()
    """What a provider's own tools made, each an item of Responses as JSON text."""
    encrypted: tuple[str, ...] = ()
    """What a provider gave for each stretch of reasoning so far, not only for what is new."""
    logprobs: tuple[Group, ...] = ()
    """Log probabilities of tokens, each group with the end of its text."""


SIGN_OF_LIFE = Progress()
"""Nothing new: the reply still runs."""

USUAL_ORDERS: tuple[list[str], ...] = (
    [],
    ["r"],
    ["t"],
    ["c"],
    ["r", "t"],
    ["r", "c"],
    ["t", "c"],
    ["r", "t", "c"],
)
"""What needs no note: the reasoning comes first, the calls come last."""


_NOTHING_ELSE = Delta()[1:]
"""What a delta has beside its text, by far most often."""


class Draft:
    """What has arrived of a reply; `ended` is set when nothing will be added any more."""

    def __init__(self, logprobs_bytes: int = 0) -> None:
        self.logprobs = Logprobs(logprobs_bytes)
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.first_token_ms: int | None = None
        self.suggestions: list[str] = []
        """What a person might say next."""
        self.followers = 0
        self.ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._clock_start = self._loop.time()
        self._pieces: list[str] = []
        self._bytes = 0
        self._counted = self._counted_pieces = 0
        """Characters of the first pieces, as far as log probabilities came with them."""
        self._version = 0
        self._appending: set[_Position] = set()
        """Followers that can only append: they must know what they had of a replaced text."""
        self._former_texts: dict[int, str] = {}
        """Version → its text, of versions that such a follower has not left yet."""
        self._reasoning: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._parts: list[dict[str, Any]] = []
        self._plain: list[str] | None = None
        """The text without what shows the parts in it, once there are any."""
        self._extra: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._runs: list[list[Any]] | None = []
        self._items: list[str] = []
        self._encrypted: list[str] = []
        self._is_closed = False
        """Whether the last stretch is reasoning that has its encrypted content."""
        self._beats = 0
        self._last_sign = self._clock_start
        self._changed = asyncio.Event()

    @property
    def text(self) -> str:
        """The whole text so far."""
        return "".join(self._pieces)

    @property
    def reasoning(self) -> str:
        """The whole reasoning so far."""
        return "".join(self._reasoning)

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The tool calls, put together from their fragments."""
        return joined_calls(self._calls)

    @property
    def order(self) -> list[list[Any]] | None:
        """Characters of reasoning (`r`) and text (`t`) and calls (`c`) as they came by turns.

        None where they came in the usual order, reasoning, text, calls, or a text was replaced.
        """
        runs = self._runs
        if runs is None:
            return None
        if [run[0] for run in runs] in USUAL_ORDERS and all(run[1] for run in runs):
            return None
        return self._whole_order(runs)

    def _whole_order(self, runs: list[list[Any]]) -> list[list[Any]]:
        order = [list(run) for run in runs]
        fragments = calls = 0
        for run in order:
            if run[0] == "c":
                fragments += run[1]
                run[1] = len({str(f.get("index")) for f in self._calls[:fragments]}) - calls
                calls += run[1]
        return [run for run in order if run[1] or run[0] == "r"]

    @property
    def has_begun(self) -> bool:
        """Whether anything of the reply has arrived: from then on nothing is tried again."""
        found = self._pieces or self._reasoning or self._calls or self._parts
        return bool(found or self._items or self._encrypted)

    @property
    def payload(self) -> dict[str, Any] | None:
        """The reply as OpenAI's message, with the keys of its upstream; None of a mere text."""
        if not (self._calls or self._parts or self._extra):
            return None
        text = "".join(self._pieces if self._plain is None else self._plain)
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if self._parts and self._names.get("parts") == "images":
            message["images"] = self._parts
        elif self._parts:
            message["content"] = [{"type": "text", "text": text}] if text else []
            message["content"] += self._parts
        if self._calls:
            message["tool_calls"] = self.tool_calls
            name = self._names.get("reasoning", "reasoning_content")
            # A summary is nothing that a provider could go on from.
            if self._reasoning and name:
                message[name] = self.reasoning
        return {**self._extra, **message}

    def show(self, part: dict[str, Any], number: int) -> str:
        """Return what stands in the text for the part with this number."""
        return as_markdown(part, 0, number)

    @property
    def extent(self) -> tuple[int, ...]:
        """Changes with every piece of text or reasoning, and with every item."""
        native = len(self._items), len(self._encrypted)
        return self._version, len(self._pieces), len(self._reasoning), *native

    @property
    def native_fields(self) -> dict[str, Any]:
        """What only its own provider knows of it, as it is stored."""
        fields: dict[str, Any] = {}
        if self._items:
            fields["items"] = list(self._items)
        if self._encrypted:
            fields["encrypted_reasoning"] = list(self._encrypted)
        return fields

    def elapsed_ms(self) -> int:
        """Milliseconds since the reply was begun."""
        return round((self._loop.time() - self._clock_start) * 1000)

    def _ran(self, kind: str, count: int) -> None:
        """Note which of reasoning, text and calls came, and how much of it."""
        runs = self._runs
        if runs is None:
            return
        if not runs or runs[-1][0] != kind or self._is_closed:
            runs.append([kind, 0])
            self._is_closed = False
        runs[-1][1] += count

    def _add_native(self, delta: Delta) -> None:
        """Keep what only its own provider knows."""
        runs = self._runs
        if delta.encrypted and runs is not None:
            if not runs or runs[-1][0] != "r" or self._is_closed:
                runs.append(["r", 0])
            number = sum(run[0] == "r" for run in runs) - 1
            self._encrypted += [""] * (number - len(self._encrypted)) + [delta.encrypted]
            self._is_closed = True
            self._bytes += len(delta.encrypted)
        if delta.items:
            items = [packed(item) for item in delta.items]
            self._items += items
            self._ran("h", len(items))
            self._bytes += sum(map(len, items))

    def add(self, delta: Delta) -> None:
        """Take what the upstream sent, and let followers know."""
        text = _whole_characters(delta.text)
        if delta[1:] == _NOTHING_ELSE:
            # By far the most.
            if self._plain is not None:
                self._plain.append(text)
            self._add_text(text)
        else:
            reasoning = _whole_characters(delta.reasoning)
            self._add_all(delta._replace(text=text, reasoning=reasoning))
        self.wake()

    def _add_text(self, text: str) -> None:
        if not text:
            return
        self._bytes += len(text) if text.isascii() else len(text.encode())
        if self.first_token_ms is None:
            self.first_token_ms = self.elapsed_ms()
        self._ran("t", len(text))
        self._pieces.append(text)

    def _add_all(self, delta: Delta) -> None:
        if delta.parts or delta.extra or delta.names:
            delta = self._add_parts(delta)
        elif self._plain is not None:
            self._plain.append(delta.text)
        if delta.replace:
            self._replace_text()
        if delta.reasoning:
            self._ran("r", len(delta.reasoning))
            if self.first_token_ms is None:
                self.first_token_ms = self.elapsed_ms()
            self._reasoning.append(delta.reasoning)
            self._bytes += len(delta.reasoning.encode())
        if delta.encrypted or delta.items:
            self._add_native(delta)
        self._add_text(delta.text)
        if delta.logprobs:
            self._add_logprobs(list(delta.logprobs))
        if delta.tool_calls:
            self._calls.extend(delta.tool_calls)
            self._ran("c", len(delta.tool_calls))
            self._bytes += sum(len(str(fragment)) for fragment in delta.tool_calls)
        if delta.suggestions:
            self.suggestions += delta.suggestions
        if delta.finish_reason:
            self.finish_reason = delta.finish_reason
        if delta.usage is not None:
            self.usage = delta.usage

    def _add_logprobs(self, tokens: list[dict[str, Any]]) -> None:
        self._counted += sum(map(len, self._pieces[self._counted_pieces :]))
        self._counted_pieces = len(self._pieces)
        self.logprobs.add(self._counted, tokens)

    def _replace_text(self) -> None:
        """Forget the text so far, but for followers that can only append to it."""
        if any(each.version == self._version for each in self._appending):
            self._former_texts[self._version] = self.text
        self._version += 1
        self._runs = None
        self._pieces = []
        self._bytes = self._counted = self._counted_pieces = 0

    def _add_parts(self, delta: Delta) -> Delta:
        """Keep what is no text, and return the delta with a text that shows it."""
        self._names |= delta.names or {}
        if delta.extra:
            self._extra |= delta.extra
        if not delta.parts:
            if self._plain is not None:
                self._plain.append(delta.text)
            return delta
        if self._plain is None:
            self._plain = list(self._pieces)
        self._plain.append(delta.text)
        text, is_empty = delta.text, not (self._pieces or delta.text)
        for part in delta.parts:
            shown = self.show(part, len(self._parts))
            self._parts.append(part)
            if shown:
                text += shown if is_empty else "\n\n" + shown
                is_empty = False
        if self.first_token_ms is None:
            self.first_token_ms = self.elapsed_ms()
        return delta._replace(text=text)

    def _native_progress(self, progress: Progress, items: int) -> Progress:
        return progress._replace(
            order=self._whole_order(self._runs) if self._runs is not None else None,
            items=tuple(self._items[items:]),
            encrypted=tuple(self._encrypted),
        )

    def wake(self) -> None:
        """Let followers look again."""
        self._last_sign = self._loop.time()
        self._changed.set()
        self._changed.clear()

    def heartbeat(self, now: float, every_seconds: float) -> None:
        """Let followers know, on a stream that has been quiet, that it still runs."""
        if now - self._last_sign >= every_seconds:
            self._beats += 1
            self.wake()

    async def follow(
        self, after: int = 0, *, accept_replace: bool = False
    ) -> AsyncGenerator[Progress, None]:
        """Yield what arrives from character `after` on, until the reply has ended.

        Pieces that came together are given together. Who has seen characters of the text has
        seen the reasoning that came before. Where the upstream replaced the text, a follower
        that does not `accept_replace` gets nothing until the new text begins with what it has.
        """
        self.followers += 1
        position = _Position(self._version)
        if not accept_replace:
            self._appending.add(position)
        try:
            async with aclosing(self._follow(after, position, accept_replace)) as progresses:
                async for progress in progresses:
                    yield progress
        finally:
            self.followers -= 1
            self._appending.discard(position)
            self._forget_former_texts()

    def _forget_former_texts(self) -> None:
        """Forget the replaced texts that no follower needs any more."""
        if self._former_texts:
            needed = {each.version for each in self._appending}
            for version in self._former_texts.keys() - needed:
                del self._former_texts[version]

    async def _follow(  # noqa: PLR0912, PLR0915 - one loop over what there is to tell
        self, after: int, position: "_Position", accept_replace: bool
    ) -> AsyncGenerator[Progress, None]:
        beats = self._beats
        pieces = thoughts = calls = given = items = sealed = skip = told = 0
        held: str | None = None
        if after > 0:
            text, pieces, thoughts = self.text, len(self._pieces), len(self._reasoning)
            given = len(text)
            skip = max(0, after - given)
            if text[after:]:
                yield Progress(text[after:])
        while True:
            text, reasoning, replaced = "", "", False
            if position.version != self._version:
                former = position.version
                position.version, pieces = self._version, len(self._pieces)
                if accept_replace:
                    text, replaced = self.text, True
                else:
                    had = self._former_texts[former][:given] if held is None else held
                    text, held = _continuation(had, self.text)
                    self._forget_former_texts()
                given = len(self.text)
            elif pieces < len(self._pieces):
                text = "".join(self._pieces[pieces:])
                pieces = len(self._pieces)
                given += len(text)
                if skip:
                    text, skip = text[skip:], max(0, skip - len(text))
                if held is not None:
                    text, held = _continuation(held, self.text)
            if thoughts < len(self._reasoning):
                reasoning = "".join(self._reasoning[thoughts:])
                thoughts = len(self._reasoning)
            fragments = tuple(self._calls[calls:])
            calls = len(self._calls)
            is_native = len(self._items) > items or len(self._encrypted) > sealed
            if text or replaced or reasoning or fragments or is_native:
                order = self.order if text and reasoning else None
                progress = Progress(text, reasoning, replaced, fragments, order=order)
                if groups := self.logprobs.groups[told:]:
                    progress = progress._replace(logprobs=tuple(groups))
                if self._items or self._encrypted:
                    progress = self._native_progress(progress, items)
                items, sealed, told = len(self._items), len(self._encrypted), told + len(groups)
                yield progress
            elif beats != self._beats:
                beats = self._beats
                yield SIGN_OF_LIFE
            elif self.ended.is_set():
                if held is not None:
                    yield Progress(differs=True)
                return
            else:
                await self._changed.wait()


@dataclass(eq=False, slots=True)
class _Position:
    """How many times the text had been replaced when a follower last looked."""

    version: int


def _whole_characters(text: str) -> str:
    """Return a text that can be encoded: half a character becomes a replacement one."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _continuation(had: str, text: str) -> tuple[str, str | None]:
    """Return what can be said by appending to `had`, and what is still held back."""
    if text.startswith(had):
        return text[len(had) :], None
    return "", had
