"""What a bot takes by Poe's list, asked before a call is paid: parameters, tools, pictures.

The list's schemas hold types, choices and bounds; a library for all of JSON Schema is 14 MB.
"""

import operator
from collections.abc import Callable
from typing import Any

from proxy.errors import UpstreamBadRequest
from proxy.providers.base import CompletionRequest
from proxy.providers.model_facts import ModelFacts

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}

_BOUNDS: tuple[tuple[str, str, Callable[[float, float], bool]], ...] = (
    ("minimum", "at least", operator.lt),
    ("maximum", "at most", operator.gt),
    ("exclusiveMinimum", "more than", operator.le),
    ("exclusiveMaximum", "less than", operator.ge),
)

SHOWN_CHOICES = 20
"""Names and choices that an error lists at most."""


def check_request(
    request: CompletionRequest, facts: ModelFacts, *, sees_images: bool | None = None
) -> None:
    """Refuse what the list says that the bot does not take.

    `sees_images` is what the operator says of it, and wins.

    Raises:
        UpstreamBadRequest: its `param` names the field.
    """
    bot = request.model[:100]
    if facts.tools is False and request.parameters.get("tools"):
        raise _refused(f"The bot '{bot}' takes no tools; leave them out or name another", "tools")
    sees = facts.images if sees_images is None else sees_images
    if sees is False and any(map(_has_picture, request.messages)):
        raise _refused(
            f"The bot '{bot}' takes no pictures; leave them out or name another", "messages"
        )


def check_parameters(bot: str, parameters: dict[str, Any], facts: ModelFacts) -> None:
    """Refuse a bot's own parameters that its listed schemas do not allow.

    Raises:
        UpstreamBadRequest: its `param` names the parameter.
    """
    listed = facts.parameters or {}
    for name, value in parameters.items():
        if name in listed:
            if why := _fault(value, listed[name]):
                raise _refused(f"{name}: {why}", name)
        elif name == "reasoning_effort":
            if facts.reasoning_effort is False or (listed and facts.reasoning_effort is None):
                raise _refused(f"The bot '{bot[:100]}' has no reasoning_effort", name)
        elif listed:
            known = ", ".join(sorted(listed)[:SHOWN_CHOICES])
            raise _refused(
                f"The bot '{bot[:100]}' has no parameter '{name[:60]}', only {known}", name
            )


def _fault(value: Any, schema: dict[str, Any]) -> str:
    """Return what is wrong with a value by a schema, in words; empty where nothing is."""
    for kind in ("anyOf", "oneOf"):
        options = schema.get(kind)
        if isinstance(options, list) and options:
            faults = [_fault(value, each) for each in options if isinstance(each, dict)]
            return "" if "" in faults or not faults else faults[0]
    choices = schema.get("enum")
    if isinstance(choices, list) and not any(_same(value, each) for each in choices):
        return "must be one of " + ", ".join(map(str, choices[:SHOWN_CHOICES]))
    if "const" in schema and not _same(value, schema["const"]):
        return f"must be {schema['const']}"
    types = schema.get("type")
    names = [each for each in (types if isinstance(types, list) else [types]) if each in _TYPES]
    if names and not any(_is(value, name) for name in names):
        return f"must be of type {' or '.join(names)}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        for key, words, is_wrong in _BOUNDS:
            bound = schema.get(key)
            if isinstance(bound, int | float) and is_wrong(value, bound):
                return f"must be {words} {bound}"
    return ""


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _has_picture(message: dict[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(
        isinstance(part, dict) and part.get("type") == "image_url" for part in content
    )


def _refused(message: str, param: str) -> UpstreamBadRequest:
    return UpstreamBadRequest(message, param=param, code="unsupported_parameter")
