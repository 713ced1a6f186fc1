"""Tools of a call: as chat completions know them, and the way back to the names of the client.

A `custom` tool becomes a function with one text `input`; the tools of a `namespace` become
functions with flat names. Hosted tools run at a native upstream alone: elsewhere they are
left out, and named to the client.
"""

from dataclasses import dataclass, field
from typing import Any

from proxy.documents.base import Raw
from proxy.documents.storable import check_text
from proxy.providers.responses_request import flat_name
from proxy.schemas.completions import wrong

NAME_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of a call for an upstream that knows chat completions.

    `names` is kept of every function that the client calls otherwise:
    `{"apply_patch": {"kind": "custom", "name": "apply_patch"}}`. `ignored` are the types of
    what was left out.
    """

    functions: list[Raw] = field(default_factory=list)
    names: dict[str, Raw] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    choice: Any = None


def read_tools(body: Raw) -> Tools:
    """Read `tools` and `tool_choice` of a call.

    Raises:
        BadRequest: names what is wrong.
    """
    given = body.get("tools")
    if given is None:
        given = []
    if not isinstance(given, list):
        raise wrong("tools", "must be a list of tools")
    tools = Tools()
    for index, tool in enumerate(given):
        where = f"tools[{index}]"
        if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
            raise wrong(where, "must be an object with a type")
        _checked(tool, where)
        if tool["type"] == "namespace":
            _add_namespace(tools, tool, where)
        else:
            _add(tools, tool, where)
    return _with_choice(tools, body.get("tool_choice"))


def _checked(tool: Raw, where: str) -> None:
    try:
        check_text(tool)
    except ValueError as error:
        raise wrong(where, str(error)) from None


def _add(tools: Tools, tool: Raw, where: str) -> None:
    kind = tool["type"]
    if kind == "function":
        # Who writes chat's nested shape means the same.
        nested = tool.get("function")
        definition = nested if isinstance(nested, dict) else tool
        tools.functions.append(_function(definition, _name(definition, where)))
    elif kind == "custom":
        name = _name(tool, where)
        tools.functions.append(_custom(tool, name))
        tools.names[name] = {"kind": "custom", "name": name}
    else:
        tools.ignored.append(kind)


def _add_namespace(tools: Tools, tool: Raw, where: str) -> None:
    namespace = _name(tool, where)
    inner = tool.get("tools")
    if not isinstance(inner, list):
        raise wrong(f"{where}.tools", "must be a list of tools")
    for index, each in enumerate(inner):
        at = f"{where}.tools[{index}]"
        if not isinstance(each, dict):
            raise wrong(at, "must be an object with a type")
        name = _name(each, at)
        flat = flat_name(namespace, name)
        kind = each.get("type", "function")
        if kind == "custom":
            tools.functions.append(_custom(each, flat))
        elif kind == "function":
            tools.functions.append(_function(each, flat))
        else:
            tools.ignored.append(str(kind))
            continue
        tools.names[flat] = {"kind": kind, "name": name, "namespace": namespace}


def _name(tool: Raw, where: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARACTERS:
        raise wrong(f"{where}.name", f"must be a text of 1 to {NAME_CHARACTERS} characters")
    return name


def _function(tool: Raw, name: str) -> Raw:
    function = {
        key: tool[key]
        for key in ("description", "parameters", "strict")
        if tool.get(key) is not None
    }
    return {"type": "function", "function": {"name": name, **function}}


def _custom(tool: Raw, name: str) -> Raw:
    description = str(tool.get("description") or "")
    format_ = tool.get("format")
    if isinstance(format_, dict) and format_.get("definition"):
        syntax = format_.get("syntax") or "given"
        description += f"\n\nThe input follows this {syntax} grammar:\n{format_['definition']}"
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description.strip(),
            "parameters": {
                "type": "object",
                "properties": {"input": {"type": "string", "description": "The whole input"}},
                "required": ["input"],
                "additionalProperties": False,
            },
        },
    }


def _with_choice(tools: Tools, choice: Any) -> Tools:
    """Return the tools with `tool_choice` as chat completions have it."""
    functions, found = tools.functions, choice
    if isinstance(choice, dict):
        kind = choice.get("type")
        if kind == "allowed_tools":
            allowed = {_chosen(each, "tool_choice.tools") for each in _list(choice.get("tools"))}
            functions = [each for each in functions if each["function"]["name"] in allowed]
            found = choice.get("mode") or "auto"
        elif kind in ("function", "custom"):
            name = _chosen(choice, "tool_choice")
            if all(name != each["function"]["name"] for each in functions):
                raise wrong("tool_choice", f"names '{name[:100]}', which is not among the tools")
            found = {"type": "function", "function": {"name": name}}
        else:
            found = "auto"
            if isinstance(kind, str) and kind not in tools.ignored:
                tools.ignored.append(kind)
    elif choice not in (None, "auto", "none", "required"):
        raise wrong("tool_choice", "must be auto, none, required, or an object that names a tool")
    elif choice == "required" and not functions and not tools.ignored:
        raise wrong("tool_choice", "is required, but there are no tools")
    return Tools(functions, tools.names, tools.ignored, found if functions else None)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise wrong("tool_choice.tools", "must be a list of tools")
    return value


def _chosen(choice: Any, where: str) -> str:
    if not isinstance(choice, dict):
        raise wrong(where, "must name a tool")
    inner = choice.get("function")
    name = choice.get("name") or (inner.get("name") if isinstance(inner, dict) else "")
    if not isinstance(name, str):
        raise wrong(where, "must name a tool")
    namespace = choice.get("namespace")
    return flat_name(namespace, name) if isinstance(namespace, str) else name
