"""Server-sent events: encode a frame to bytes, decode bytes to events, read their JSON.

Source: WHATWG HTML, "Server-sent events". Lines end at CR, LF or CRLF *bytes* only:
U+2028 and its like are ordinary characters of a JSON string.
"""

import json
from typing import Any, NamedTuple

import orjson

DONE = b"data: [DONE]\n\n"
"""The last frame of a stream in OpenAI's protocol."""

HEARTBEAT = b": keep-alive\n\n"
"""A comment that every client ignores and that keeps an idle connection open."""

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""Longest event a decoder holds; an upstream that never ends a line costs no more."""

_BOM = b"\xef\xbb\xbf"

_LF, _CR = b"\n\r"
"""As numbers: bytes look for one eight times as fast as for bytes of its length."""


def encode(payload: Any) -> bytes:
    """One frame: a `data:` line and the empty line that ends it."""
    return b"data: " + orjson.dumps(payload) + b"\n\n"


class Event(NamedTuple):
    """One event; `name` is empty where the stream gave none (which means `message`)."""

    name: str
    data: bytes


class SSEDecoder:
    """An incremental decoder of one stream; chunks may be cut anywhere, also inside a character.

    An event that the stream did not end with an empty line is dropped, as the standard says.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._at_start = True
        self._after_cr = False
        self._partial: list[bytes] = []
        self._name = b""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._partial_bytes = 0
        self._between_events = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of every event that this chunk completes.

        Raises:
            ValueError: an event is longer than `max_event_bytes`.
        """
        return self.whole_frames(chunk) or [
            event.data for event in self.feed_events(chunk) if event.data
        ]

    def whole_frames(self, chunk: bytes) -> list[bytes] | None:
        """Return the data of a chunk that is nothing but whole frames of one data line each.

        By far the most chunks are. None, and nothing is taken, where it is something else.
        """
        if self._between_events and chunk[-2:] == b"\n\n" and _CR not in chunk:
            if chunk.find(b"\n") == len(chunk) - 2 > 6:
                return [chunk[6:-2]] if chunk[:6] == b"data: " else None
            frames = chunk[:-2].split(b"\n\n")
            whole = [
                frame[6:]
                for frame in frames
                if frame[:6] == b"data: " and len(frame) > 6 and _LF not in frame
            ]
            if len(whole) == len(frames):
                return whole
        return None

    def feed_events(self, chunk: bytes) -> list[Event]:  # noqa: PLR0912 - a hot loop, kept flat
        """Return the events that this chunk completes, with their names.

        A named event without data is kept (`event: done` alone), one with neither is not.

        Raises:
            ValueError: an event is longer than `max_event_bytes`.
        """
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == 0x0A:
                chunk = chunk[1:]
        if _CR in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if _LF not in chunk:
            if chunk:
                self._between_events = False
                self._hold(len(chunk))
                self._partial.append(chunk)
            return []

        lines = chunk.split(b"\n")
        if self._partial:
            self._partial.append(lines[0])
            lines[0] = b"".join(self._partial)
        if self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix(_BOM)
        rest = lines.pop()
        self._partial = [rest] if rest else []

        events: list[Event] = []
        data = self._data
        held = self._data_bytes
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[6:] if line.startswith(b"data: ") else line[5:])
                held += len(line)
            elif not line:
                held = 0
                if data or self._name:
                    payload = data[0] if len(data) == 1 else b"\n".join(data)
                    name = self._name.decode("utf-8", "replace") if self._name else ""
                    events.append(Event(name, payload))
                    data.clear()
                    self._name = b""
            elif line.startswith(b"event:"):
                self._name = line[7:] if line.startswith(b"event: ") else line[6:]
            elif line == b"data":
                data.append(b"")
                held += len(line)
        self._data_bytes = held
        self._partial_bytes = 0
        self._between_events = not (rest or data or self._name or self._after_cr)
        self._hold(len(rest))
        return events

    def _hold(self, count: int) -> None:
        self._partial_bytes += count
        if self._partial_bytes + self._data_bytes > self._max_event_bytes:
            raise ValueError(f"an event is longer than {self._max_event_bytes} bytes")


class JSONFrames:
    """Reads the JSON of one stream's frames, and mends characters that were cut in two.

    An upstream that counts in UTF-16 may put the halves of a surrogate pair into two frames;
    each half alone is not Unicode, and orjson rightly refuses it.
    """

    def __init__(self) -> None:
        self._lone = False
        self._halves: dict[str, str] = {}

    def loads(self, payload: bytes) -> Any:
        """Read a frame's JSON; a string in it may hold half a character, for `text` to mend.

        `NaN` and its like are null, a control character stands for itself, and bytes that are
        no UTF-8 are replaced: one odd value does not cost its frame.

        Raises:
            ValueError: it is not JSON.
        """
        try:
            return orjson.loads(payload)
        except orjson.JSONDecodeError:
            pass
        try:
            frame = _TOLERANT.decode(payload.decode("utf-8", "replace").removeprefix("\ufeff"))
        except RecursionError as error:
            raise ValueError("nested too deep") from error
        if b"\\u" in payload:
            self._lone = True
        return frame

    def text(self, text: str, of: str = "") -> str:
        """Return the next piece of a text without halves; one at its end is kept for the next.

        `of` names the text, where a stream carries several.
        """
        if not self._lone or not text:
            return text
        text = self._halves.pop(of, "") + text
        if "\ud800" <= text[-1] <= "\udbff":
            self._halves[of], text = text[-1], text[:-1]
        return _mend(text)

    def rest(self, value: Any) -> Any:
        """Return any other JSON value without halves."""
        return json.loads(_mend(json.dumps(value, ensure_ascii=False))) if self._lone else value


_TOLERANT = json.JSONDecoder(strict=False, parse_constant=lambda _: None)


def _mend(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
