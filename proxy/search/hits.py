"""What was found: how it ranks, and the few of it that an answer shows."""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from proxy.documents.base import Raw

Kind = Literal["messages", "reasoning", "tools", "conversations", "documents", "projects"]
"""Where to look; `messages`, `reasoning` and `tools` are parts of one message."""

Source = Literal["messages", "conversations", "documents", "projects"]
"""What is looked through by itself."""

Key = tuple[int, int | str]
"""A hit's fixed position in its source: `(message_id, revision)`; higher ones are newer."""

Sort = Literal["newest", "relevance"]

_EPOCH = datetime(1970, 1, 1)

HALF_LIFE_DAYS = 180
"""After so long something counts half."""

WEIGHTS = {"name": 4.0, "user": 2.0, "document": 2.0, "text": 1.5, "reasoning": 0.5, "tools": 0.5}
"""What a hit counts, by where it is."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One result; `fields` are those of its wire form.

    `group` is what counts as one thing in `sort=relevance`: a conversation, a document.
    """

    source: Source
    key: Key
    group: str
    time: datetime
    score: float
    fields: Raw

    @property
    def rank(self) -> tuple[float, float, str]:
        """Where it stands in `sort=relevance`: by score, then newest first."""
        return (self.score, milliseconds(self.time), self.group)


def milliseconds(time: datetime) -> int:
    """Return a stored time in milliseconds since 1970."""
    return (time - _EPOCH) // timedelta(milliseconds=1)


def score(weight: float, hits: int, time: datetime, now: datetime) -> float:
    """Return how relevant a hit is: its weight, more for more hits, less for older ones."""
    age_days = max(0.0, (now - time).total_seconds() / 86_400)
    # Float arithmetic may not outlive the journey through a cursor.
    decay = math.pow(0.5, age_days / HALF_LIFE_DAYS)
    return round(weight * (1 + math.log(max(1, hits))) * decay, 4)


class Newest:
    """The hits of one source with the highest keys, a few of them.

    What they show is made at the end: where much is found, most hits give way to newer ones.
    """

    def __init__(self, limit: int, before: Key) -> None:
        self.limit = limit
        self._before = before
        self.overflowed = False
        self._heap: list[tuple[Key, Callable[[], Hit]]] = []
        self._keys: set[Key] = set()

    def offer(self, key: Key, group: str, score: float, make: Callable[[], Hit]) -> None:
        """Take a hit if it is among the newest."""
        del group, score
        if key >= self._before or key in self._keys:
            return
        if len(self._heap) < self.limit:
            self._keys.add(key)
            heapq.heappush(self._heap, (key, make))
            return
        self.overflowed = True
        if key > self._heap[0][0]:
            self._keys.add(key)
            self._keys.discard(heapq.heappushpop(self._heap, (key, make))[0])

    def __len__(self) -> int:
        return len(self._heap)

    def newest_first(self) -> list[Hit]:
        """Make them, in order."""
        newest = sorted(self._heap, key=lambda entry: entry[0], reverse=True)
        return [make() for _, make in newest]


@dataclass
class Ranked:
    """The best hit of each group, with how many others there are."""

    after: tuple[float, float, str] | None = None
    best: dict[str, Hit] = field(default_factory=dict)
    keys: dict[str, set[Key]] = field(default_factory=dict)

    def offer(self, key: Key, group: str, score: float, make: Callable[[], Hit]) -> None:
        """Count a hit, and keep it if it is its group's best."""
        keys = self.keys.setdefault(group, set())
        if key in keys:
            return
        keys.add(key)
        present = self.best.get(group)
        if present is None or (score, key[0]) > (present.score, present.key[0]):
            self.best[group] = make()

    def __len__(self) -> int:
        return len(self.best)

    def best_first(self, count: int) -> list[Hit]:
        """Return the best hits that rank below `after`, in order."""
        below = (hit for hit in self.best.values() if self.after is None or hit.rank < self.after)
        return heapq.nlargest(count, below, key=lambda hit: hit.rank)

    def more(self, hit: Hit) -> int:
        """Return how many other hits a hit's group has."""
        return len(self.keys[hit.group]) - 1


Collector = Newest | Ranked
