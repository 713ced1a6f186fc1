"""A call of Responses as an upstream gets it that speaks them: the whole history, stored nowhere.

Source: https://platform.openai.com/docs/api-reference/responses/create.
"""

from typing import Any, NamedTuple

import orjson

from proxy.providers.base import OUTPUT, CompletionRequest

SEPARATOR = "__"

ENCRYPTED = "reasoning.encrypted_content"

_OWN_NAMES = ("file_data", "filename", "file_id", "file_url")

_STRAY = frozenset({"id", "status"})
"""What names an item in a store that this server does not use."""


class ToolName(NamedTuple):
    """What an upstream calls a function that has a flat name here."""

    kind: str
    name: str
    namespace: str = ""


def flat_name(namespace: str, name: str) -> str:
    """Return the one name of a tool in a namespace."""
    return name if name.startswith(namespace) else f"{namespace}{SEPARATOR}{name}"


def body_of(request: CompletionRequest, provider: str, *, is_openai: bool) -> dict[str, Any]:
    """Return the body of `POST /responses` for a call; its history is all that it refers to."""
    asked = request.responses or {}
    messages = request.messages
    body = {**asked, "model": request.model, "stream": True, "store": False}
    if messages and messages[0]["role"] == "system" and isinstance(messages[0]["content"], str):
        body["instructions"] = messages[0]["content"]
        messages = messages[1:]
    if isinstance(asked.get("tools"), list):
        body["tools"] = [_flat_tool(tool) for tool in asked["tools"]]
    include = list(asked.get("include") or ())
    if asked.get("reasoning") and ENCRYPTED not in include:
        # Without it a model that is asked again does not know what it thought before its calls.
        include.append(ENCRYPTED)
    if include:
        body["include"] = include
    writer = _Writer(_names_of(asked.get("tools")), provider, sends_text=not is_openai)
    body["input"] = [item for message in messages for item in writer.items(message)]
    return body


def _flat_tool(tool: Any) -> Any:
    """Return a function in Responses' own shape, also one that came in chat's."""
    if isinstance(tool, dict) and isinstance(nested := tool.get("function"), dict):
        rest = {key: value for key, value in tool.items() if key != "function"}
        return {**nested, **rest}
    return tool


def _names_of(tools: Any) -> dict[str, ToolName]:
    names: dict[str, ToolName] = {}
    for tool in tools if isinstance(tools, list) else ():
        if tool.get("type") == "custom":
            names[tool["name"]] = ToolName("custom", tool["name"])
        elif tool.get("type") == "namespace":
            for inner in tool.get("tools") or ():
                flat = flat_name(tool["name"], inner["name"])
                kind = inner.get("type", "function")
                names[flat] = ToolName(kind, inner["name"], tool["name"])
    return names


class _Writer:
    """Writes messages of a history as items; knows which calls were custom tools'."""

    def __init__(self, names: dict[str, ToolName], provider: str, *, sends_text: bool) -> None:
        self._names = names
        self._prefix = f"{provider}:"
        self._sends_text = sends_text
        self._custom: set[str] = set()

    def items(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the items of one message."""
        role, content = message["role"], message.get("content")
        if role == "tool":
            call_id = message.get("tool_call_id")
            kind = "custom_tool_call" if call_id in self._custom else "function_call"
            output = _parts(content) if isinstance(content, list) else content or ""
            return [{"type": f"{kind}_output", "call_id": call_id, "output": output}]
        if role != "assistant":
            return [{"type": "message", "role": role, "content": _parts(content)}]
        calls = message.get("tool_calls") or []
        if (output := message.get(OUTPUT)) is not None:
            return self._made(output, calls)
        items = []
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        if calls and self._sends_text and isinstance(reasoning, str):
            part = {"type": "reasoning_text", "text": reasoning}
            items.append({"type": "reasoning", "summary": [], "content": [part]})
        if text := _text(content):
            items.append(_said(text))
        return items + [self._call(call) for call in calls]

    def _made(self, output: list[dict[str, Any]], calls: list[Any]) -> list[dict[str, Any]]:
        """Return a reply in the items that its provider made, those of them that it can use."""
        left = {call["id"]: call for call in calls}
        items: list[dict[str, Any]] = []
        for item in output:
            if item["type"] == "reasoning":
                # What another one encrypted only it can read.
                sealed = item["encrypted_content"].removeprefix(self._prefix)
                if len(sealed) < len(item["encrypted_content"]):
                    items.append({**item, "encrypted_content": sealed})
            elif item["type"] == "text":
                items += [_said(item["text"])] if item["text"] else []
            elif item["type"] == "calls":
                items += [self._call(left.pop(id_)) for id_ in item["ids"] if id_ in left]
            else:
                items.append({key: each for key, each in item.items() if key not in _STRAY})
        return items + [self._call(call) for call in left.values()]

    def _call(self, call: dict[str, Any]) -> dict[str, Any]:
        is_custom = call.get("type") == "custom"
        said = call["custom" if is_custom else "function"]
        known = self._names.get(said["name"], ToolName(call.get("type", ""), said["name"]))
        where = {"namespace": known.namespace} if known.namespace else {}
        named = {"call_id": call["id"], "name": known.name, **where}
        if is_custom or known.kind == "custom":
            self._custom.add(call["id"])
            text = said["input"] if is_custom else _input_of(said["arguments"])
            return {"type": "custom_tool_call", **named, "input": text}
        return {"type": "function_call", **named, "arguments": said["arguments"] or "{}"}


def _input_of(arguments: str) -> str:
    """Return the text of a custom tool out of the function that stood for it."""
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    text = given.get("input") if isinstance(given, dict) else None
    return text if isinstance(text, str) else arguments


def _said(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "role": "assistant", "content": [part]}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def _parts(content: Any) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        return [{"type": "input_text", "text": content if isinstance(content, str) else ""}]
    return [_part(part) for part in content if isinstance(part, dict)]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "image_url":
        image = part.get("image_url")
        image = image if isinstance(image, dict) else {"url": image}
        detail = image.get("detail") or "auto"
        return {"type": "input_image", "image_url": image.get("url"), "detail": detail}
    if kind == "file" and isinstance(file := part.get("file"), dict):
        return {"type": "input_file", **{name: file[name] for name in _OWN_NAMES if name in file}}
    if kind in ("text", "output_text", None):
        return {"type": "input_text", "text": part.get("text") or ""}
    return part
