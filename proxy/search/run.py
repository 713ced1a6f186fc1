"""A search: look through what is stored, newest first, until enough is found or time is up.

There is no index that could be stale: the texts themselves are read, in ranges of ids that
get wider as less is found. `complete: false` says that the time was up; `next` goes on.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from proxy.documents.base import Raw, utc_now
from proxy.documents.project import Project
from proxy.search.hits import Collector, Hit, Key, Newest, Ranked, Source, milliseconds
from proxy.search.messages import MessageScan
from proxy.search.plan_files import DocumentScan
from proxy.search.prefilter import condition
from proxy.search.query import Query
from proxy.search.request import Cursor, SearchRequest, start_of
from proxy.search.stored_names import NameScan
from proxy.search.texts import Comparison, compare

GROWTH = 16
"""How much wider the next range of ids may be, at most."""

LEAST_GROWTH = 4
SURE_WINDOW = 64_000
"""Up to so many ids ranges grow at least so fast: a slow database is slow for narrow ones, too."""

LEAST_WINDOW = 500

TOP: Key = (2**63 - 1, "")

Unwanted = Callable[[], Awaitable[bool]]


@dataclass
class Walk:
    """How far one source has been looked through: everything with a key from `reached` up."""

    source: Source
    start: Key
    reached: Key
    collector: Collector
    hits: list[Hit] = field(default_factory=list)
    is_done: bool = False
    ran_out_of_time: bool = False


async def search(request: SearchRequest, *, seconds: float, is_unwanted: Unwanted) -> Raw:
    """Return the body of an answer, without `query` and `terms`.

    `is_unwanted` says that nobody waits any more; the rest is not looked through then.
    """
    began = time.perf_counter()
    comparison = await compare(_prepared, request.query)
    projects = await Project.names(request.owner)
    run = _Run(request, comparison, projects, began, seconds, is_unwanted)
    body = await (run.newest() if request.sort == "newest" else run.ranked())
    return {
        **body,
        "scanned": run.scanned,
        "took_ms": round((time.perf_counter() - began) * 1000),
    }


def _prepared(query: Query) -> Comparison:
    """Make the tables and patterns that a query needs, some of which take their time."""
    condition(query, [""], [""])
    return Comparison(query)


class _Run:
    def __init__(
        self,
        request: SearchRequest,
        comparison: Comparison,
        projects: dict[int, str],
        began: float,
        seconds: float,
        is_unwanted: Unwanted,
    ) -> None:
        cursor = request.cursor
        self._request = request
        self._seconds = seconds
        self._deadline = began + seconds
        self._is_unwanted = is_unwanted
        self._sources = [
            source for source in request.sources() if cursor is None or source in cursor.start
        ]
        self._window = cursor.window if cursor else None
        self._now = utc_now()
        if cursor is not None and cursor.now is not None:
            self._now = datetime.fromtimestamp(cursor.now, UTC).replace(tzinfo=None)
        common = (request, comparison, self._now, projects)
        self._names = NameScan(*common)
        self._documents = DocumentScan(*common)
        self._messages = MessageScan(*common)

    @property
    def scanned(self) -> int:
        return self._names.scanned + self._documents.scanned + self._messages.scanned

    # In the order of their positions

    async def newest(self) -> Raw:
        walks = []
        for source in self._sources:
            start = await self._start(source)
            newest = Newest(self._request.limit, start)
            walk = Walk(source, start, start, newest)
            await self._walk(walk)
            walk.hits = await compare(newest.newest_first)
            walks.append(walk)
        shown, positions = merged(walks, self._request.limit)
        cursor = Cursor(start=positions, window=self._window) if positions else None
        return {
            "results": [_out(hit) for hit in shown],
            "next": cursor.packed() if cursor else None,
            "complete": not any(walk.ran_out_of_time for walk in walks),
        }

    # In the order of their scores

    async def ranked(self) -> Raw:
        cursor = self._request.cursor
        stretch = cursor.until if cursor else None
        ranked = Ranked(cursor.after if cursor else None)
        walks = []
        for source in self._sources:
            start = await self._start(source)
            walk = Walk(source, start, start, ranked)
            until = stretch.get(source, 0) if stretch is not None else None
            await self._walk(walk, until)
            walks.append(walk)
        hits = await compare(ranked.best_first, self._request.limit + 1)
        shown = hits[: self._request.limit]
        until_ids = {walk.source: int(walk.reached[0]) for walk in walks if not walk.is_done}
        following: Cursor | None = None
        if len(hits) > len(shown):
            following = Cursor(
                start={walk.source: walk.start for walk in walks},
                until=until_ids,
                after=shown[-1].rank,
                window=self._window,
                now=self._now.replace(tzinfo=UTC).timestamp(),
            )
        elif until_ids:
            following = Cursor(
                start={source: (id_, 0) for source, id_ in until_ids.items()},
                window=self._window,
                now=self._now.replace(tzinfo=UTC).timestamp(),
            )
        return {
            "results": [_out(hit) | {"more": ranked.more(hit)} for hit in shown],
            "next": following.packed() if following else None,
            "complete": not until_ids,
        }

    # Looking through one source

    async def _start(self, source: Source) -> Key:
        found = start_of(self._request, source)
        if found is not None:
            return found
        if source == "messages":
            return (await self._messages.top(), 0)
        if source == "documents":
            return (await self._documents.top(), 0)
        return TOP

    async def _walk(self, walk: Walk, until: int | None = None) -> None:
        if walk.source == "conversations":
            await self._names.conversations(walk.collector)
        elif walk.source == "projects":
            await self._names.projects(walk.collector)
        elif walk.source == "documents":
            await self._windows(walk, self._documents, until)
            return
        else:
            await self._windows(walk, self._messages, until)
            return
        walk.is_done = True

    async def _windows(
        self, walk: Walk, scan: MessageScan | DocumentScan, until: int | None
    ) -> None:
        """Look through ranges of ids down to 0, or to `until` whatever time it takes."""
        is_message = scan is self._messages
        size = (self._window if is_message else None) or scan.first_window
        bottom = until or 0
        # Of the id at the top there may be former contents left.
        high = int(walk.start[0]) + (1 if walk.start[1] else 0)
        while high > bottom:
            low = max(bottom, high - size)
            had, began = len(walk.collector), time.perf_counter()
            await scan.window(low, high, walk.collector)
            high = low
            walk.reached = (low, 0)
            if isinstance(walk.collector, Newest) and len(walk.collector) >= walk.collector.limit:
                break
            now = time.perf_counter()
            if is_message:
                # What the next request begins with may take all of its time.
                self._window = _next_size(size, walk.collector, had, now - began, self._seconds)
            remaining = self._deadline - now if until is None else self._seconds
            size = _next_size(size, walk.collector, had, now - began, remaining)
            if high > bottom and until is None and now >= self._deadline:
                walk.ran_out_of_time = True
                break
            if await self._is_unwanted():
                walk.ran_out_of_time = True
                break
        walk.is_done = walk.reached[0] <= 0 or high <= 0
        if walk.is_done:
            walk.ran_out_of_time = False


def _next_size(size: int, collector: Collector, had: int, took: float, remaining: float) -> int:
    """Return how wide the next range may be, after one that took so many seconds."""
    fitting = size * min(GROWTH, max(0.0, remaining) / max(took, 1e-6))
    wider = max(int(fitting), min(size * LEAST_GROWTH, SURE_WINDOW))
    found = len(collector) - had
    if isinstance(collector, Newest) and found:
        missing = collector.limit - len(collector)
        return max(LEAST_WINDOW, min(wider, size * missing * 2 // found))
    return wider


def merged(walks: list[Walk], limit: int) -> tuple[list[Hit], dict[Source, Key]]:
    """Return the newest hits of all sources, and where each source is to be gone on with.

    Within a source the order is that of its positions, whatever the times say.
    """
    waiting = {walk.source: walk.hits for walk in walks}
    taken = dict.fromkeys(waiting, 0)
    shown: list[Hit] = []
    while len(shown) < limit:
        heads = [
            hits[taken[source]] for source, hits in waiting.items() if taken[source] < len(hits)
        ]
        if not heads:
            break
        newest = max(heads, key=lambda hit: milliseconds(hit.time))
        taken[newest.source] += 1
        shown.append(newest)
    start: dict[Source, Key] = {}
    for walk in walks:
        hits, count = waiting[walk.source], taken[walk.source]
        if count < len(hits):
            start[walk.source] = hits[count - 1].key if count else walk.start
        elif isinstance(walk.collector, Newest) and walk.collector.overflowed:
            start[walk.source] = hits[-1].key
        elif not walk.is_done:
            start[walk.source] = walk.reached
    return shown, start


def _out(hit: Hit) -> dict[str, Any]:
    return {**hit.fields, "score": hit.score}
