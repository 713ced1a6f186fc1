"""OpenAI's chat messages and parameters as a query of Poe's bot protocol.

Source: https://creator.poe.com/docs/poe-protocol-specification and
https://creator.poe.com/docs/server-bots/function-calling.
"""

import hashlib
import mimetypes
import posixpath
import uuid
from collections.abc import Iterable
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson
from fastapi_poe.client import PROTOCOL_VERSION
from fastapi_poe.types import Attachment, ProtocolMessage, QueryRequest
from pydantic import ValidationError

from proxy.errors import UpstreamBadRequest
from proxy.providers.base import CompletionRequest
from proxy.providers.model_facts import NOTHING_LISTED, ModelFacts
from proxy.providers.poe_parameters import check_parameters

_ROLES: dict[Any, Literal["system", "user", "bot"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "bot",
}

_WITHOUT_EFFECT = frozenset(
    {"stream", "stream_options", "user", "metadata", "store", "service_tier", "safety_identifier"}
    | {"prompt_cache_key", "prompt_cache_retention", "parallel_tool_calls"}
)
"""Parameters that say nothing about the reply itself."""

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "top_p": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tool_choice": ("auto",),
    "max_tokens": (),
    "max_completion_tokens": (),
    "seed": (),
    "audio": (),
    "prediction": (),
    "functions": (),
    "function_call": (),
    "web_search_options": (),
    "verbosity": (),
}
"""Parameters that the protocol does not have, with the values that ask for nothing."""


def query_body(request: CompletionRequest, facts: ModelFacts = NOTHING_LISTED) -> bytes:
    """Return the JSON body of a query, made once a call.

    Parameters that neither OpenAI's API nor the protocol names (and `reasoning_effort`) go to
    the bot as the last user message's own `parameters`, Poe's way for a bot's custom ones; what
    its list says of those holds.

    Raises:
        UpstreamBadRequest: a parameter or a message part that the protocol cannot carry.
    """
    known, custom = _parameters(request.parameters)
    messages = _messages(request.messages)
    if custom:
        check_parameters(request.model, custom, facts)
        last = next((each for each in reversed(messages) if each.role == "user"), None)
        if last is None:
            raise _refused(next(iter(custom)))
        last.parameters = custom
    tools = known.pop("tools", None)
    try:
        query = QueryRequest(
            version=PROTOCOL_VERSION,
            type="query",
            query=messages,
            user_id=_identifier("u", request.user or str(request.parameters.get("user") or "")),
            conversation_id=_identifier("c", request.conversation_id),
            message_id=_identifier("m", request.message_id),
            **known,
        )
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise _refused("stop" if name == "stop_sequences" else name) from error
    payload = query.model_dump()
    if tools is not None:
        # The protocol's types know fewer keys of a JSON schema than tools use ($defs, strict …).
        payload["tools"] = tools
    try:
        return orjson.dumps(payload)
    except TypeError as error:
        raise UpstreamBadRequest("The request holds a value that JSON cannot carry") from error


def _parameters(parameters: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the query's own fields, and what is left for the bot."""
    known: dict[str, Any] = {}
    custom: dict[str, Any] = {}
    for key, value in parameters.items():
        if value is None or key in _WITHOUT_EFFECT:
            continue
        if key in _NEUTRAL:
            if value not in _NEUTRAL[key]:
                raise _refused(key)
        elif key == "stop":
            known["stop_sequences"] = [value] if isinstance(value, str) else value
        elif key == "tools":
            known["tools"] = _tools(value)
        elif key in ("temperature", "logit_bias"):
            known[key] = value
        else:
            custom[key] = value
    return known, custom


def _messages(messages: Iterable[dict[str, Any]]) -> list[ProtocolMessage]:
    query: list[ProtocolMessage] = []
    names: dict[str, str] = {}
    results: list[dict[str, str]] = []
    for message in messages:
        role = message.get("role")
        if role == "tool":
            text, _ = _content(message.get("content"))
            call_id = str(message.get("tool_call_id", ""))
            name = names.get(call_id) or str(message.get("name") or "")
            results.append({"role": "tool", "name": name, "tool_call_id": call_id, "content": text})
            continue
        if results:
            query.append(ProtocolMessage(role="tool", content=orjson.dumps(results).decode()))
            results = []
        if role not in _ROLES:
            raise UpstreamBadRequest(
                f"Poe has no message role '{str(role)[:40]}'", param="messages"
            )
        text, attachments = _content(message.get("content"))
        calls = message.get("tool_calls")
        if text or attachments or not calls:
            query.append(ProtocolMessage(role=_ROLES[role], content=text, attachments=attachments))
        if calls:
            try:
                names |= {str(call["id"]): str(call["function"]["name"]) for call in calls}
            except (KeyError, TypeError) as error:
                raise UpstreamBadRequest(
                    "Poe carries function tool calls only", param="messages"
                ) from error
            query.append(
                ProtocolMessage(
                    role="bot", message_type="function_call", content=orjson.dumps(calls).decode()
                )
            )
    if results:
        query.append(ProtocolMessage(role="tool", content=orjson.dumps(results).decode()))
    return query


def _content(content: Any) -> tuple[str, list[Attachment]]:
    if content is None:
        return "", []
    if isinstance(content, str):
        return content, []
    texts: list[str] = []
    attachments: list[Attachment] = []
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            attachments.append(_image(part.get("image_url")))
        else:
            raise UpstreamBadRequest(
                f"Poe's bot protocol carries text and image links, not '{str(kind)[:40]}' parts",
                param="messages",
            )
    return "\n".join(texts), attachments


def _image(image: Any) -> Attachment:
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        raise UpstreamBadRequest(
            "Poe's bot protocol takes images as http(s) links, not as data", param="messages"
        )
    name = posixpath.basename(urlsplit(url).path) or "image"
    content_type = mimetypes.guess_type(name)[0] or "image/jpeg"
    if isinstance(image, dict) and "content_type" in image:
        # What an upload of ours was told of it.
        name, content_type = image["name"], image["content_type"]
    return Attachment(url=url, content_type=content_type, name=name)


def _tools(tools: Any) -> list[dict[str, Any]]:
    """Return function tools with the keys that the protocol requires and OpenAI's API does not."""
    complete: list[dict[str, Any]] = []
    for tool in tools if isinstance(tools, list) else [tools]:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            raise UpstreamBadRequest("Poe carries function tools only", param="tools")
        schema = function.get("parameters") or {}
        schema = {"type": "object", "properties": {}, **schema}
        complete.append({**tool, "function": {"description": "", **function, "parameters": schema}})
    return complete


def _identifier(tag: str, value: str) -> str:
    """Return an identifier in the protocol's form, `<tag>-<32 characters>`.

    It tells nothing of ours.
    """
    if not value:
        return ""
    try:
        return f"{tag}-{uuid.UUID(value).hex}"
    except ValueError:
        return f"{tag}-{hashlib.sha256(value.encode()).hexdigest()[:32]}"


def _refused(parameter: str) -> UpstreamBadRequest:
    return UpstreamBadRequest(
        f"Poe's bot protocol cannot carry this '{parameter}'; leave it out, or set up "
        "https://api.poe.com/v1 as a provider of kind openai",
        param=parameter,
        code="unsupported_parameter",
    )
