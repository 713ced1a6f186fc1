"""The keys of a message or of a delta: text, reasoning, calls, parts, and the unknown ones."""

from typing import Any

from proxy.providers.tool_calls import ToolCalls

MAX_PART_BYTES = 8 * 1024 * 1024
"""Characters of one reply's pictures and other parts; what is above is left out."""

MAX_EXTRA_BYTES = 1024 * 1024
"""Characters of one reply's further keys."""

MAX_KEY_CHARACTERS = 100

MAX_DEPTH = 40
"""How deep a kept value nests; below, it is left out."""

REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")

_PLAIN = frozenset({"role", "name", "index", "logprobs", "token_ids", "finish_reason"})
"""Keys that say nothing of a reply."""

_WHOLE = frozenset({"citations", "search_results"})
"""Lists that every frame repeats as a whole."""


class MessageKeys:
    """Gathers what the deltas of one reply hold; `give` hands out what has come since."""

    def __init__(self, calls: ToolCalls) -> None:
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self._calls = calls
        self._fragments: list[dict[str, Any]] = []
        self._parts: list[dict[str, Any]] = []
        self._part_bytes = 0
        self._extra: dict[str, Any] = {}
        self._extra_bytes = 0
        self._changed = False
        self.names: dict[str, str] = {}
        """What the upstream calls `reasoning` and `parts`."""

    @property
    def says_something(self) -> bool:
        """Whether something of the reply has come since the last time."""
        return bool(self.texts or self.thoughts or self._fragments or self._parts)

    @property
    def has_only_texts(self) -> bool:
        """Whether nothing but texts has come since the last time."""
        return not (self.thoughts or self._fragments or self._parts or self._changed)

    def take(self, delta: dict[str, Any]) -> None:
        """Take a delta or a whole message."""
        for key, value in delta.items():
            if not value or key in _PLAIN:
                continue
            if key == "content":
                if type(value) is str:
                    self.texts.append(value)
                else:
                    self._content(value)
            elif key in REASONING_KEYS:
                # Some send the same twice, under two names.
                if self.names.setdefault("reasoning", key) == key:
                    self.thoughts.append(value if type(value) is str else texts_of(value))
            elif key == "tool_calls":
                self._fragments += self._calls.normalize(value)
            else:
                self._other(key, value)

    def put(self, key: str, value: Any) -> None:
        """Keep a further key of the message; lists and texts go on, the rest is replaced."""
        known = self._extra.get(key)
        if value == known:
            return
        self._extra_bytes += size_of(value)
        limit = MAX_PART_BYTES if key == "audio" else MAX_EXTRA_BYTES
        if len(key) > MAX_KEY_CHARACTERS or self._extra_bytes > limit:
            return
        value = storable(value)
        if isinstance(value, list) and isinstance(known, list) and key not in _WHOLE:
            for each in value:
                _append(known, each)
        elif isinstance(value, dict) and isinstance(known, dict):
            self._extra[key] = merged(known, value)
        elif isinstance(value, str) and isinstance(known, str):
            self._extra[key] = known + value
        else:
            self._extra[key.replace("\x00", "")] = value
        self._changed = True

    def give(self) -> tuple[list[Any], list[Any], dict[str, Any]]:
        """Return call fragments, parts and further keys since the last time; texts are cleared."""
        self.texts.clear()
        self.thoughts.clear()
        fragments, self._fragments = self._fragments, []
        parts, self._parts = self._parts, []
        extra = dict(self._extra) if self._changed else {}
        self._changed = False
        return fragments, parts, extra

    def _content(self, content: Any) -> None:
        if isinstance(content, int | float):
            if not isinstance(content, bool):
                self.texts.append(str(content))
            return
        for part in content if isinstance(content, list) else [content]:
            kind = part.get("type", "text") if isinstance(part, dict) else ""
            if isinstance(part, str):
                self.texts.append(part)
            elif kind in ("thinking", "reasoning"):
                self.thoughts.append(texts_of(part.get(kind) or part))
            elif kind in ("text", "output_text", "refusal"):
                self.texts.append(texts_of(part))
            elif isinstance(part, dict):
                self._part(part, "content")

    def _other(self, key: str, value: Any) -> None:
        if key == "refusal" and type(value) is str:
            self.texts.append(value)
        elif key == "function_call" and isinstance(value, dict):
            call = {"index": 0, "function": value}
            self._fragments += self._calls.normalize(call)
        elif key == "images":
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, dict):
                    self._part(part, key)
                elif isinstance(part, str):
                    self._part({"image_url": {"url": part}}, key)
        elif key == "audio" and isinstance(value, dict):
            if type(transcript := value.get("transcript")) is str:
                self.texts.append(transcript)
            self.put(key, value)
        elif isinstance(value, bool | int | float | str | list | dict):
            self.put(key, value)

    def _part(self, part: dict[str, Any], key: str) -> None:
        self.names.setdefault("parts", key)
        kind = part.get("type")
        if not isinstance(kind, str):
            kind = "image_url" if "image_url" in part else "file"
        self._part_bytes += size_of(part)
        if self._part_bytes > MAX_PART_BYTES:
            self.texts.append(f"\n\n[{kind}: left out, it is larger than a message may be]")
            return
        self._parts.append(storable({**part, "type": kind}))


def _append(known: list[Any], value: Any) -> None:
    """Add to a list what is not there; a fragment of its last object is joined to that."""
    last = known[-1] if known else None
    if (
        isinstance(last, dict)
        and isinstance(value, dict)
        and "index" in value
        and all(last.get(key) == value.get(key) for key in ("index", "type"))
    ):
        known[-1] = merged(last, value)
        return
    if value not in known[-32:]:
        known.append(value)


def merged(known: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Merge a fragment of an object: texts are joined, unless one comes again whole."""
    out = dict(known)
    for key, value in more.items():
        before = out.get(key)
        if isinstance(value, str) and isinstance(before, str) and value != before:
            out[key] = before + value
        elif value is not None:
            out[key] = value
    return out


def texts_of(content: Any) -> str:
    """Read the text of anything: a text, a part, a list of parts, without a separator."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(map(texts_of, content))
    if isinstance(content, dict):
        for key in ("text", "content", "thinking", "summary", "refusal"):
            if isinstance(found := content.get(key), str | list):
                return texts_of(found)
    return ""


def storable(value: Any, depth: int = 0) -> Any:
    """Return a JSON value without NUL characters and without endless nesting."""
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, dict):
        if depth > MAX_DEPTH:
            return None
        return {
            str(key).replace("\x00", ""): storable(each, depth + 1) for key, each in value.items()
        }
    if isinstance(value, list):
        return None if depth > MAX_DEPTH else [storable(each, depth + 1) for each in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value)
    return value


def size_of(value: Any, depth: int = 0) -> int:
    """Return about how many characters a JSON value takes."""
    if isinstance(value, str):
        return len(value) + 2
    if depth > MAX_DEPTH:
        return 0
    if isinstance(value, dict):
        return 2 + sum(len(str(key)) + 4 + size_of(each, depth + 1) for key, each in value.items())
    if isinstance(value, list):
        return 2 + sum(1 + size_of(each, depth + 1) for each in value)
    return 8
