"""The numbers of a response's events, which say how far they are in it, so that none is ever kept.

A stream is a row of units: every structural event is one, and so is every character of
reasoning, text and arguments. An event's `sequence_number` is the index of its last unit.
Who has seen number `n` goes on at unit `n + 1`, from any worker, at any age: the stored
message alone says what comes there, however the first stream was cut into pieces.
"""

from typing import Any

import orjson

from proxy.documents.base import Raw

FROM_THE_START = -1


class NumberedEvents:
    """Writes the frames of events; of those up to the number `after` nothing."""

    def __init__(self, after: int = FROM_THE_START) -> None:
        self._after = after
        self._units = 0

    def event(self, type_: str, **fields: Any) -> bytes:
        """Return a structural event."""
        self._units += 1
        if self._units - 1 <= self._after:
            return b""
        return frame(type_, {**fields, "sequence_number": self._units - 1})

    def delta(self, type_: str, delta: str, **fields: Any) -> bytes:
        """Return a piece of a text, or as much of it as was not seen."""
        if not delta:
            return b""
        seen = self.seen(delta)
        self._units += len(delta)
        if seen == len(delta):
            return b""
        return frame(type_, {**fields, "delta": delta[seen:], "sequence_number": self._units - 1})

    def seen(self, delta: str) -> int:
        """Return how many characters of a text that comes next were seen."""
        return min(len(delta), max(0, self._after + 1 - self._units))

    def keepalive(self) -> bytes:
        """Return the event that says nothing."""
        return keepalive(max(self._units - 1, 0))


def keepalive(number: int) -> bytes:
    """Return the event that says nothing, under the number of the one before it."""
    return frame("keepalive", {"sequence_number": number})


def frame(type_: str, fields: Raw) -> bytes:
    """Return one event as it stands in a stream."""
    return b"event: %b\ndata: %b\n\n" % (type_.encode(), orjson.dumps({"type": type_, **fields}))
