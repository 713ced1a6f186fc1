"""Comparing texts with a query, in steps that never hold the interpreter for long."""

import asyncio
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

from proxy.documents.chat_message import calls_of, said_in
from proxy.documents.message import StoredMessage, payload_of
from proxy.search.fold import fold_pieces
from proxy.search.hits import WEIGHTS, Kind
from proxy.search.prefilter import compiled
from proxy.search.query import Query
from proxy.search.snippet import Snippet, snippet

STEP_CHARACTERS = 16 * 1024
"""A pattern is looked for in so much at once; 2 ms, in which no other thread runs."""

SWITCH_SECONDS = 0.001
"""After so long this thread lets another one run: the event loop."""

OVERLAP_CHARACTERS = 256
"""More than what a pattern matches."""

P = ParamSpec("P")
T = TypeVar("T")

_THREAD = ThreadPoolExecutor(1, "search")


async def compare(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do some work beside the event loop, in the one thread that all searches share.

    Only one thread runs Python at a time: several would not be done sooner, and each of them
    would make the event loop wait for its turn.
    """
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREAD, _giving_way, partial(work, *args, **kwargs))


def _giving_way(work: Callable[[], T]) -> T:
    """Do some work for a millisecond a turn.

    Only while there is any: turns of conversations, whose driver has threads, cost a tenth more so.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        return work()
    finally:
        sys.setswitchinterval(usual)


@dataclass(frozen=True, slots=True)
class Found:
    """Where the most telling hit is, and how often."""

    field: str
    hits: int
    weight: float
    shown: Callable[[], Snippet]


class Comparison:
    """A query, ready to be compared with many texts."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._groups = compiled(query)

    def touches(self, text: str) -> bool:
        """Return whether a text may satisfy a part of the query."""
        return any(_stand_in(patterns, text) for patterns in self._groups)

    def find(self, texts: Mapping[str, str], weights: Mapping[str, float]) -> Found | None:
        """Return the best of the fields when all together satisfy the query."""
        for patterns in self._groups:
            if not any(_stand_in(patterns, text) for text in texts.values()):
                return None
        loose = self._query.loose_spaces
        folded = {field: fold_pieces(text, loose_spaces=loose) for field, text in texts.items()}
        if not self._query.matches(list(folded.values())):
            return None
        counted = {field: self._query.hits(text) for field, text in folded.items()}
        best = max(folded, key=lambda field: (self._query.terms_in(folded[field]), weights[field]))
        text = texts[best]
        return Found(best, counted[best], weights[best], lambda: snippet(text, self._query))


def _stand_in(patterns: Sequence[re.Pattern[str]], text: str) -> bool:
    return any(
        pattern.search(text, start, start + STEP_CHARACTERS + OVERLAP_CHARACTERS)
        for pattern in patterns
        for start in range(0, max(1, len(text)), STEP_CHARACTERS)
    )


# Messages

MESSAGE_FIELDS: dict[Kind, tuple[str, ...]] = {
    "messages": ("content",),
    "reasoning": ("reasoning",),
    "tools": ("content", "payload"),
}
"""What is read of a message for a kind of text."""


def message_texts(message: StoredMessage, kinds: frozenset[Kind]) -> dict[str, str]:
    """Return the texts of a message that are looked at: `{"text": …, "tools": …}`."""
    texts: dict[str, str] = {}
    is_result = message["role"] == "tool"
    if "messages" in kinds and not is_result and message.get("content"):
        texts["text"] = message["content"]
    if "reasoning" in kinds and message.get("reasoning"):
        texts["reasoning"] = message["reasoning"]
    if "tools" in kinds:
        tools = [message.get("content") or ""] if is_result else list(_calls(message))
        if text := "\n".join(filter(None, tools)):
            texts["tools"] = text
    return texts


def message_weights(message: StoredMessage) -> dict[str, float]:
    """Return what a hit in each of a message's texts counts."""
    return WEIGHTS | {"text": WEIGHTS["user"] if message["role"] == "user" else WEIGHTS["text"]}


def _calls(message: StoredMessage) -> Iterator[str]:
    """Yield the names of the tools that a message calls, and what it hands to them."""
    for call in calls_of(payload_of(message)):
        name, arguments = said_in(call)
        yield name
        yield "\n".join(_leaves(arguments))


def _leaves(arguments: str) -> Iterator[str]:
    """Yield the keys and values of JSON as they read, or a text that is no JSON as it is."""
    try:
        # Numbers stay as they are written: what is shown must stand in what is stored.
        value = json.loads(arguments, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        yield arguments
        return
    waiting: list[Any] = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting += [part for pair in reversed(value.items()) for part in reversed(pair)]
        elif isinstance(value, list):
            waiting += reversed(value)
