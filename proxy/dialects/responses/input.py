"""Input items as messages: what one turn brings, in the shape that is stored and sent.

Adjacent items of the assistant (reasoning, its text, its tool calls) are one message. An
`item_reference` is left to the caller, who knows what the id names.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from proxy.documents.base import Raw
from proxy.documents.message import Role
from proxy.documents.storable import check_text
from proxy.providers.responses_request import flat_name
from proxy.schemas.completions import wrong

Unseal = Callable[[str], Raw | None]
"""Reads `encrypted_content`; None for what this server did not write."""

SUMMARY = "summary"
"""Under which the summary of a compaction is sealed."""

ROLES = ("user", "assistant", "system", "developer")


@dataclass
class InputMessage:
    """A new message, or with `reference` the id of an item that is stored already."""

    role: Role = "user"
    content: str = ""
    payload: Raw | None = None
    names: dict[str, Raw] = field(default_factory=dict)
    """Of calls in it: what the client calls the tools, where that is not the function's name."""
    is_custom: bool = False
    """Whether it is the result of a custom tool's call."""
    encrypted: list[str] = field(default_factory=list)
    """Of each stretch of its reasoning: what its provider wants back."""
    order: list[list[Any]] = field(default_factory=list)
    """How reasoning, text and calls lie in it, where a provider encrypted reasoning."""
    reference: str = ""


@dataclass
class Input:
    """All of a call's input; `ignored` are types of items that were left out."""

    messages: list[InputMessage] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def read_input(given: Any, unseal: Unseal | None = None, where: str = "input") -> Input:
    """Read a text or a list of items.

    Raises:
        BadRequest: names the item and what is wrong with it.
    """
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise wrong(where, "must be a text or a list of items")
    reader = _Reader(unseal)
    for index, item in enumerate(given):
        reader.take(item, f"{where}[{index}]")
    reader.close()
    return reader.found


class _Reader:
    def __init__(self, unseal: Unseal | None) -> None:
        self.found = Input()
        self._unseal = unseal
        self._reasoning: list[str] = []
        self._encrypted: list[str] = []
        self._text: str | list[Raw] | None = None
        self._calls: list[Raw] = []
        self._names: dict[str, Raw] = {}

    def take(self, item: Any, where: str) -> None:
        """Take the next item."""
        if not isinstance(item, dict):
            raise wrong(where, "must be an object")
        try:
            check_text(item)
        except ValueError as error:
            raise wrong(where, str(error)) from None
        kind = item.get("type") or ("message" if "role" in item else "item_reference")
        if kind == "message":
            self._message(item, where)
        elif kind == "item_reference":
            self.close()
            reference = _string(item, "id", where)
            self.found.messages.append(InputMessage(reference=reference))
        elif kind == "reasoning":
            self._take_reasoning(item)
        elif kind == "function_call":
            name = _string(item, "name", where)
            namespace = item.get("namespace")
            flat = flat_name(namespace, name) if isinstance(namespace, str) else name
            if flat != name:
                self._names[flat] = {"kind": "function", "name": name, "namespace": namespace}
            arguments = item.get("arguments")
            if not isinstance(arguments, str):
                arguments = orjson.dumps(arguments or {}).decode()
            self._call(item, where, flat, arguments)
        elif kind == "custom_tool_call":
            name = _string(item, "name", where)
            self._names[name] = {"kind": "custom", "name": name}
            text = _string(item, "input", where, empty=True)
            self._call(item, where, name, orjson.dumps({"input": text}).decode())
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._output(item, where, is_custom=kind.startswith("custom"))
        else:
            self._other(kind, item, where)

    def _other(self, kind: Any, item: Raw, where: str) -> None:
        if kind == "compaction" and (summary := self._summary_in(item)):
            self.close()
            text = f"What was said until here, summed up:\n\n{summary}"
            self.found.messages.append(InputMessage("user", text))
        elif isinstance(kind, str) and kind.isascii() and kind.replace("_", "").isalnum():
            # Calls of hosted tools and their results, others' compactions: a chat model knows none.
            self.found.ignored.append(kind)
        else:
            raise wrong(f"{where}.type", "must be the type of an item")

    def _message(self, item: Raw, where: str) -> None:
        role = item.get("role")
        if role not in ROLES:
            raise wrong(f"{where}.role", f"must be one of {', '.join(ROLES)}")
        content = _content(item.get("content"), f"{where}.content")
        if role == "assistant":
            if self._text is not None or self._calls:
                self.close()
            self._text = content
            return
        self.close()
        text = readable(content)
        if not text.strip() and isinstance(content, str):
            raise wrong(f"{where}.content", "must not be empty")
        payload = None if isinstance(content, str) else {"role": role, "content": content}
        self.found.messages.append(InputMessage(role, text, payload))

    def _summary_in(self, item: Raw) -> str:
        """Return the summary that this server sealed; empty for another one's."""
        sealed = item.get("encrypted_content")
        opened = self._unseal(sealed) if self._unseal and isinstance(sealed, str) else None
        summary = (opened or {}).get(SUMMARY)
        return summary if isinstance(summary, str) else ""

    def _take_reasoning(self, item: Raw) -> None:
        if self._text is not None or self._calls:
            self.close()
        sealed = item.get("encrypted_content")
        opened = self._unseal(sealed) if self._unseal and isinstance(sealed, str) else None
        text = opened.get("reasoning") if opened else None
        if not isinstance(text, str):
            parts = item.get("content") or ([] if sealed else item.get("summary")) or []
            text = readable(parts) if isinstance(parts, list) else ""
        encrypted = opened.get("encrypted") if opened else None
        self._reasoning.append(text)
        self._encrypted.append(encrypted if isinstance(encrypted, str) else "")

    def _call(self, item: Raw, where: str, name: str, arguments: str) -> None:
        self._calls.append(
            {
                "id": _string(item, "call_id", where),
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
        )

    def _output(self, item: Raw, where: str, *, is_custom: bool) -> None:
        self.close()
        output = item.get("output")
        if isinstance(output, list):
            content: str | list[Raw] = _content(output, f"{where}.output")
        elif isinstance(output, str):
            content = output
        else:
            content = "" if output is None else orjson.dumps(output).decode()
        call_id = _string(item, "call_id", where)
        payload: Raw = {"role": "tool", "tool_call_id": call_id, "content": content}
        self.found.messages.append(
            InputMessage("tool", readable(content), payload, is_custom=is_custom)
        )

    def close(self) -> None:
        """End the assistant's message that is being put together."""
        text, reasoning = self._text, "".join(self._reasoning)
        encrypted = self._encrypted if any(self._encrypted) else []
        if text is not None or self._calls or reasoning or encrypted:
            payload: Raw | None = None
            if self._calls or reasoning or isinstance(text, list):
                payload = {"role": "assistant", "content": text or None}
                if self._calls:
                    payload["tool_calls"] = self._calls
                if reasoning:
                    payload["reasoning_content"] = reasoning
            said = readable(text or "")
            order: list[list[Any]] = []
            if encrypted:
                order = [["r", len(each)] for each in self._reasoning]
                order += [["t", len(said)]] if said else []
                order += [["c", len(self._calls)]] if self._calls else []
            self.found.messages.append(
                InputMessage(
                    "assistant",
                    said,
                    payload,
                    self._names,
                    encrypted=encrypted,
                    order=order,
                )
            )
        self._reasoning, self._text, self._calls, self._names = [], None, [], {}
        self._encrypted = []


def _content(content: Any, where: str) -> str | list[Raw]:
    """Return content as a chat message has it: one text, or parts where there are others."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise wrong(where, "must be a text or a list of parts")
    parts = [_part(part, f"{where}[{index}]") for index, part in enumerate(content)]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _part(part: Any, where: str) -> Raw:
    if not isinstance(part, dict):
        raise wrong(where, "must be an object with a type")
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text", "summary_text", "reasoning_text"):
        text = part.get("text")
        return {"type": "text", "text": text if isinstance(text, str) else ""}
    if kind == "refusal":
        return {"type": "text", "text": _string(part, "refusal", where, empty=True)}
    if kind == "input_image":
        if not isinstance(part.get("image_url"), str):
            raise wrong(f"{where}.image_url", "must be a URL or a data URL; there is no file store")
        detail = part.get("detail") or "auto"
        return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": detail}}
    if kind == "input_file":
        names = ("file_data", "filename", "file_id", "file_url")
        file = {name: part[name] for name in names if isinstance(part.get(name), str)}
        if not file.keys() - {"filename"}:
            raise wrong(where, "must hold file_data, file_url or file_id")
        return {"type": "file", "file": file}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    raise wrong(f"{where}.type", "must be input_text, output_text, input_image or input_file")


def readable(content: Any) -> str:
    """Return what can be read of a content: a text, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(part for part in parts if isinstance(part, str))


def _string(item: Raw, key: str, where: str, *, empty: bool = False) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not (value or empty):
        raise wrong(f"{where}.{key}", "must be a text")
    return value
