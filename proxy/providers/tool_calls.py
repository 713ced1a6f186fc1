"""Streamed tool calls: fragments as upstreams send them, put in order once, for everybody.

What leaves here is what OpenAI documents: every call has its own `index`, its id, type and name
come once with its first fragment, and its arguments are text. Upstreams number parallel calls
all 0, leave out the index or the id, repeat a name in every fragment, or send arguments as an
object.
"""

import json
from typing import Any
from uuid import uuid4

import orjson

from proxy.sse import JSONFrames

_TEXT_KEYS = {"function": "arguments", "custom": "input"}


class ToolCalls:
    """The calls of one reply; `normalize` takes fragments as they came."""

    def __init__(self, frames: JSONFrames | None = None) -> None:
        self._frames = frames or JSONFrames()
        self._calls: list[dict[str, str]] = []
        self._of_index: dict[int, int] = {}
        """An upstream's `index` to the newest call that it stands for."""

    def __len__(self) -> int:
        return len(self._calls)

    def normalize(self, fragments: Any) -> list[dict[str, Any]]:
        """Return the fragments with their call's own index: `{"index", "id", "function": {…}}`."""
        if isinstance(fragments, dict):
            fragments = [fragments]
        if not isinstance(fragments, list):
            return []
        return [self._normalized(each) for each in fragments if isinstance(each, dict)]

    def _normalized(self, fragment: dict[str, Any]) -> dict[str, Any]:
        kind = "custom" if isinstance(fragment.get("custom"), dict) else "function"
        said = fragment.get(kind)
        if not isinstance(said, dict):
            # Some send the name and the arguments beside the id.
            said = {key: fragment[key] for key in ("name", "arguments") if key in fragment}
        name = said.get("name")
        name = name if isinstance(name, str) else ""
        text = _as_text(said.get(_TEXT_KEYS[kind]))
        id_ = fragment.get("id")
        id_ = id_ if isinstance(id_, str) else ""
        index = self._call_of(fragment.get("index"), id_, name, text)
        out: dict[str, Any] = {"index": index}
        if index == len(self._calls):
            out["id"] = id_ or f"call_{uuid4().hex[:24]}"
            out["type"] = kind
            self._calls.append({"id": out["id"], "name": "", "text": "", "kind": kind})
        call = self._calls[index]
        text = self._frames.text(text, f"call {index}")
        told = self._new_in_name(call, name)
        call["text"] += text
        changed: dict[str, Any] = {"name": told} if told else {}
        if text or "id" in out:
            changed[_TEXT_KEYS[call["kind"]]] = text
        known = {"name", _TEXT_KEYS[kind]}
        changed |= {key: each for key, each in said.items() if key not in known}
        if changed:
            out[call["kind"]] = changed
        ours = {"index", "id", "type", "function", "custom", "name", "arguments"}
        rest = {key: each for key, each in fragment.items() if key not in ours and each is not None}
        return out | self._frames.rest(rest) if rest else out

    def _call_of(self, index: Any, id_: str, name: str, text: str) -> int:
        """Return the number of the call that a fragment belongs to.

        The next one where it begins one.
        """
        known = isinstance(index, int) and not isinstance(index, bool)
        last = len(self._calls) - 1
        found = self._of_index.get(index) if known else last
        if found is None and not id_ and not name:
            found = last
        if found is None or found < 0 or self._begins_another(self._calls[found], id_, name, text):
            same = [n for n, call in enumerate(self._calls) if id_ and call["id"] == id_]
            found = same[-1] if same else len(self._calls)
        if known:
            self._of_index[index] = found
        return found

    @staticmethod
    def _begins_another(call: dict[str, str], id_: str, name: str, text: str) -> bool:
        if id_:
            return id_ != call["id"] and bool(name or not call["name"])
        if not name or not text or not call["text"]:
            return False
        # A name comes before its arguments: after whole ones it is another call's.
        return name != call["name"] or _is_whole(call["text"])

    @staticmethod
    def _new_in_name(call: dict[str, str], name: str) -> str:
        """Return what a fragment adds to a name; one that comes again whole is the same name."""
        if not name or name == call["name"] or call["text"]:
            return ""
        told = name.removeprefix(call["name"]) if call["name"] else name
        call["name"] += told
        return told


def joined_calls(fragments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put normalized fragments together: `[{"id", "type", "function": {"name", "arguments"}}]`."""
    calls: dict[int, dict[str, Any]] = {}
    texts: dict[int, list[str]] = {}
    for fragment in fragments:
        index = fragment["index"]
        call = calls.setdefault(index, {"id": "", "type": "function"})
        for key, value in fragment.items():
            if key in _TEXT_KEYS and isinstance(value, dict):
                function = call.setdefault(key, {"name": ""})
                for name, each in value.items():
                    if name == "name":
                        function["name"] += each
                    elif name == _TEXT_KEYS[key]:
                        texts.setdefault(index, []).append(each)
                    else:
                        function[name] = each
            elif key != "index":
                call[key] = value
    for index, call in calls.items():
        kind = "custom" if "custom" in call else "function"
        call.setdefault(kind, {"name": ""})[_TEXT_KEYS[kind]] = "".join(texts.get(index, ()))
    return [calls[index] for index in sorted(calls)]


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value.replace("\x00", "")
    if value is None:
        return ""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, ensure_ascii=False)


def _is_whole(text: str) -> bool:
    """Whether a text is whole JSON; the quick look spares parsing it at every fragment."""
    if text.rstrip()[-1:] not in ("}", "]", '"'):
        return False
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
