"""Renders the chart: by Helm where it is installed, else by the part of it that the chart uses.

That part is: fields, variables, pipelines, `if`/`else`, `with`, `range` over a map, `define`, and
the functions below. Anything else is an error, so that the chart stays within it.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\(|\)|\||[^\s()|]+')


def render(chart: Path, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The objects of a release named `test`."""
    helm = shutil.which("helm")
    if helm is not None:
        command = [helm, "template", "test", str(chart), "--values", "-"]
        done = subprocess.run(
            command, input=json.dumps(values or {}), capture_output=True, text=True, check=True
        )
        return [each for each in yaml.safe_load_all(done.stdout) if each]
    context = {
        "Values": _merged(yaml.safe_load((chart / "values.yaml").read_text()), values or {}),
        "Chart": {
            key[0].upper() + key[1:]: value
            for key, value in yaml.safe_load((chart / "Chart.yaml").read_text()).items()
        },
        "Release": {"Name": "test"},
    }
    renderer = _Renderer()
    templates = sorted((chart / "templates").glob("*"))
    for path in templates:
        renderer.define(path.read_text())
    texts = [
        renderer.text(path.read_text(), context) for path in templates if path.suffix == ".yaml"
    ]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def _merged(defaults: Any, given: Any) -> Any:
    if not (isinstance(defaults, dict) and isinstance(given, dict)):
        return given
    return {**defaults, **{key: _merged(defaults.get(key), value) for key, value in given.items()}}


class _Renderer:
    def __init__(self) -> None:
        self.defined: dict[str, list[Any]] = {}

    def define(self, text: str) -> None:
        for node in _parsed(text):
            if node[0] == "define":
                self.defined[json.loads(node[1])] = node[2]

    def text(self, text: str, context: Any) -> str:
        return self._render(_parsed(text), context, {})

    def _render(self, nodes: list[Any], dot: Any, names: dict[str, Any]) -> str:
        out = []
        for node in nodes:
            kind = node[0]
            if kind == "text":
                out.append(node[1])
            elif kind == "value":
                value = self._value(node[1], dot, names)
                out.append(str(value).lower() if isinstance(value, bool) else str(value))
            elif kind in ("if", "with"):
                value = self._value(node[1], dot, names)
                inner = value if kind == "with" and value else dot
                out.append(self._render(node[2] if value else node[3], inner, names))
            elif kind == "range":
                key, value, source = re.fullmatch(r"(\$\w+), (\$\w+) := (.+)", node[1]).groups()  # type: ignore[union-attr]
                for name, each in sorted(self._value(source, dot, names).items()):
                    out.append(self._render(node[2], dot, {**names, key: name, value: each}))
        return "".join(out)

    def _value(self, expression: str, dot: Any, names: dict[str, Any]) -> Any:
        words = WORD.findall(expression)
        value = self._pipeline(words, dot, names)
        assert not words, expression
        return value

    def _pipeline(self, words: list[str], dot: Any, names: dict[str, Any]) -> Any:
        piped: list[Any] = []
        while True:
            call, arguments = words.pop(0), []
            function = call if hasattr(self, f"do_{call}") else None
            if function is None:
                arguments.append(self._term(call, words, dot, names))
            while words and words[0] not in "|)":
                arguments.append(self._term(words.pop(0), words, dot, names))
            arguments += piped
            if function is None:
                assert len(arguments) == 1, call
                value = arguments[0]
            elif function == "include":
                value = self._render(self.defined[arguments[0]], arguments[1], {})
            else:
                value = getattr(self, f"do_{function}")(*arguments)
            if not words or words[0] == ")":
                return value
            words.pop(0)
            piped = [value]

    def _term(self, word: str, words: list[str], dot: Any, names: dict[str, Any]) -> Any:
        if word == "(":
            value = self._pipeline(words, dot, names)
            words.pop(0)
            return value
        if word[0] == '"':
            return json.loads(word)
        if word.isdecimal():
            return int(word)
        if word[0] == "$":
            return names[word]
        assert word[0] == ".", f"not in the part of Helm that the chart may use: {word}"
        for part in word.split(".")[1:]:
            if part:
                dot = dot[part]
        return dot

    def do_include(self, *arguments: Any) -> Any:
        raise AssertionError(arguments)

    def do_not(self, value: Any) -> bool:
        return not value

    def do_add(self, *values: int) -> int:
        return sum(values)

    def do_default(self, default: Any, value: Any) -> Any:
        return value or default

    def do_quote(self, value: Any) -> str:
        return json.dumps(str(value), ensure_ascii=False)

    def do_toYaml(self, value: Any) -> str:  # noqa: N802 - Helm's name
        return str(yaml.safe_dump(value, sort_keys=False)).rstrip()

    def do_nindent(self, count: int, text: str) -> str:
        return "".join(f"\n{' ' * count}{line}" for line in text.splitlines())


def _parsed(text: str) -> list[Any]:
    """Nodes: `("text", t)`, `("value", e)`, `(keyword, expression, body, else_body)`."""
    root: list[Any] = []
    stack: list[tuple[Any, list[Any]]] = []
    body, position = root, 0
    for found in re.finditer(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", text, re.S):
        before = text[position : found.start()]
        position = found.end()
        if found[1]:
            before = before.rstrip()
        if found[3]:
            position += len(text[position:]) - len(text[position:].lstrip())
        body.append(("text", before))
        keyword, _, expression = found[2].partition(" ")
        if keyword in ("if", "with", "range", "define"):
            node: Any = (keyword, expression, [], [])
            body.append(node)
            stack.append((node, body))
            body = node[2]
        elif keyword == "else":
            body = stack[-1][0][3]
        elif keyword == "end":
            body = stack.pop()[1]
        else:
            body.append(("value", found[2]))
    body.append(("text", text[position:]))
    assert not stack
    return root
