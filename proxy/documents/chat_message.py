"""One chat message as it comes from outside: the one type of every entrance, and its text.

OpenAI's message (`{"role", "content", "tool_calls", …}`) is kept as it came, keys that nobody
here knows included; `content` is its text, for people, search and mongosh.
Source: https://platform.openai.com/docs/api-reference/chat/create.
"""

from dataclasses import dataclass, field
from typing import Any, cast, get_args

import orjson

from proxy.documents.message import Role, packed
from proxy.documents.storable import check_text

ROLES: tuple[str, ...] = get_args(Role)

TEXT_TYPES = frozenset({"text", "input_text", "output_text"})
"""Types of the parts whose `text` is the message's own text."""


class InvalidMessage(ValueError):
    """A message that cannot be kept; `where` is a path in it, `rule` the end of a sentence."""

    def __init__(self, where: str, rule: str) -> None:
        super().__init__(f"{where}: {rule}" if where else rule)
        self.where = where
        self.rule = rule


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message; `payload` is OpenAI's message where it is more than a role and a text."""

    role: Role
    content: str
    payload: dict[str, Any] | None = None
    kept: dict[str, Any] = field(default_factory=dict)
    """Further fields of the stored message, as `Message` has them."""

    @classmethod
    def read(cls, value: Any) -> "ChatMessage":
        """Check a message from outside: `{"role": "user", "content": "Hi"}`, or one with parts.

        Arguments of a tool call that came as JSON become the text that the protocol wants.

        Raises:
            InvalidMessage: it is none, or says nothing.
        """
        if not isinstance(value, dict):
            raise InvalidMessage("", "must be an object with a role and a content")
        role = value.get("role")
        if role not in ROLES:
            raise InvalidMessage("role", f"must be one of {', '.join(ROLES)}")
        content = value.get("content")
        if isinstance(content, str) and value.keys() == {"role", "content"} and role != "tool":
            _check_storable(content, "content")
            if not content.strip():
                raise InvalidMessage("content", "must not be empty")
            return cls(cast(Role, role), content)
        _check_storable(value, "")
        _check_content(content)
        payload = {key: each for key, each in value.items() if each is not None}
        calls = _checked_calls(payload.pop("tool_calls", None))
        if calls:
            payload["tool_calls"] = calls
        payload.setdefault("content", None)
        text = text_of(content)
        if role == "tool" and not isinstance(payload.get("tool_call_id"), str):
            raise InvalidMessage("tool_call_id", "must name the tool call that this is a result of")
        if not text.strip() and _says_nothing(payload):
            raise InvalidMessage("content", "must not be empty")
        if payload.keys() == {"role", "content"} and isinstance(payload["content"], str):
            return cls(cast(Role, role), text)
        return cls(cast(Role, role), text or _refusal(payload), payload)

    def as_chat_message(self) -> dict[str, Any]:
        """Return it as OpenAI's protocol has it."""
        return self.payload or {"role": self.role, "content": self.content}

    def as_text(self) -> str | None:
        """Return `payload` as it is stored, JSON in one text; None where there is none."""
        return None if self.payload is None else packed(self.payload)


def text_of(content: Any) -> str:
    """Read the text of a content, whatever it is: a text, or the text parts of a list in lines."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return ""
    return "\n".join(text for part in content if (text := _text_of_part(part)))


def with_text(payload: dict[str, Any], text: str) -> dict[str, Any]:
    """Return a message with another text; parts that are no text stay where they are."""
    content = payload.get("content")
    if not isinstance(content, list):
        return {**payload, "content": text}
    parts: list[Any] = []
    for part in content:
        if not is_text_part(part):
            parts.append(part)
        elif text:
            parts.append({**part, "text": text} if isinstance(part, dict) else text)
            text = ""
    if text:
        parts.insert(0, {"type": "text", "text": text})
    return {**payload, "content": parts}


def calls_of(message: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Read the tool calls of a message, those that are calls: `{"id", "type", "function": {…}}`."""
    calls = (message or {}).get("tool_calls")
    if not isinstance(calls, list):
        return []
    found = []
    for call in calls:
        try:
            found.append(_checked_call(call, ""))
        except InvalidMessage:
            continue
    return found


def said_in(call: dict[str, Any]) -> tuple[str, str]:
    """Return the name and the arguments (or the input) of a checked call."""
    if call["type"] == "custom":
        return call["custom"]["name"], call["custom"]["input"]
    return call["function"]["name"], call["function"]["arguments"]


def is_text_part(part: Any) -> bool:
    """Tell whether a part of a content is text."""
    if isinstance(part, dict):
        return part.get("type", "text") in TEXT_TYPES
    return isinstance(part, str)


def _text_of_part(part: Any) -> str:
    if isinstance(part, dict) and is_text_part(part):
        part = part.get("text")
    return part if isinstance(part, str) else ""


def _check_storable(value: Any, where: str) -> None:
    try:
        check_text(value)
    except ValueError as error:
        raise InvalidMessage(where, str(error)) from None


def _check_content(content: Any) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise InvalidMessage("content", "must be a text or a list of parts")
    for index, part in enumerate(content):
        if not isinstance(part, dict):
            raise InvalidMessage(f"content[{index}]", "must be an object with a type")
        if not isinstance(part.get("type", "text"), str):
            raise InvalidMessage(f"content[{index}].type", "must be a text")
        if is_text_part(part) and not isinstance(part.get("text"), str):
            raise InvalidMessage(f"content[{index}].text", "must be a text")


def _checked_calls(calls: Any) -> list[dict[str, Any]]:
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise InvalidMessage("tool_calls", "must be a list of calls")
    return [_checked_call(call, f"tool_calls[{index}]") for index, call in enumerate(calls)]


def _checked_call(call: Any, where: str) -> dict[str, Any]:
    if not isinstance(call, dict):
        raise InvalidMessage(where, "must be an object with an id and a function")
    if not isinstance(call.get("id"), str):
        raise InvalidMessage(f"{where}.id", "must be a text")
    kind = "custom" if call.get("type") == "custom" else "function"
    called = call.get(kind)
    if not isinstance(called, dict) or not isinstance(called.get("name"), str):
        raise InvalidMessage(f"{where}.{kind}", "must be an object with a name")
    key = "input" if kind == "custom" else "arguments"
    said = called.get(key, "")
    if not isinstance(said, str):
        said = "" if said is None else orjson.dumps(said).decode()
    return {**call, "type": kind, kind: {**called, key: said}}


def _refusal(payload: dict[str, Any]) -> str:
    refusal = payload.get("refusal")
    return refusal if isinstance(refusal, str) else ""


def _says_nothing(payload: dict[str, Any]) -> bool:
    """Tell whether a message without a text has nothing else: no picture, call, result of one."""
    if payload["role"] in ("assistant", "tool"):
        return not (payload.keys() - {"role", "content"})
    parts = payload.get("content") or ()
    return isinstance(parts, str) or all(map(is_text_part, parts))
