"""How a digest looks: each file's header and end in the four formats, and the tree.

A file's part begins with a punctuation mark after a line break and ends with a line
break. There every tokenizer of the GPT kind cuts, so the tokens of the parts add up
exactly to the tokens of the whole.
"""

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import orjson

from proxy.source_code.base import Format

_XML_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_PLAIN_END = b"========\n\n"  # one for all: many files end alike
_runs_of_equals = re.compile(rb"={8,}").findall
_runs_of_backticks = re.compile(rb"`{3,}").findall


def file_part(
    form: Format, path: str, size_bytes: int, body: bytes, *, lines: bool
) -> tuple[bytes, bytes, bytes]:
    """Header, text and end of one file.

    Plain: `======== src/a.py (12 bytes) ========`, the text, `========` and a blank
    line; more `=` where the text has as many. Markdown: a heading and a fenced block.
    XML: `<file path="…" bytes="…">`, a line break, the text with what XML cannot hold as
    `<char code="0C"/>`, `</file>`. JSON: `,{"path", "bytes", "content"}`; the comma of
    the first one is dropped by whoever puts the parts together.
    """
    if lines:
        body = _numbered(body)
    if form == "json":
        entry = {"path": path, "bytes": size_bytes, "content": body.decode()}
        return b",", orjson.dumps(entry), b"\n"
    if form == "xml":
        tag = f'<file path="{escape(path)}" bytes="{size_bytes}">\n'
        return tag.encode(), _xml_text(body), b"</file>\n"
    end = b"" if body.endswith(b"\n") or not body else b"\n"
    size = f"({size_bytes} bytes{', no line break at the end' if end else ''})"
    if form == "markdown":
        ticks = b"`" * _longer(_runs_of_backticks(body) if b"```" in body else (), 3)
        extension = path.rpartition(".")[2]
        language = extension if extension.isalnum() and len(extension) < 12 else ""
        head = f"## {_code(path)} {size}\n\n".encode() + ticks + language.encode() + b"\n"
        return head, body, end + ticks + b"\n\n"
    fence = "========"
    if b"========" in body or fence in path:
        fence = "=" * _longer(_runs_of_equals(body) + _runs_of_equals(path.encode()), 8)
    after = _PLAIN_END if fence == "========" and not end else end + f"{fence}\n\n".encode()
    return f"{fence} {path} {size} {fence}\n".encode(), body, after


def removed_part(form: Format, path: str) -> bytes:
    """Return the note that a file of the earlier digest is gone."""
    if form == "json":
        return b"," + orjson.dumps({"path": path, "removed": True}) + b"\n"
    if form == "xml":
        return f'<file path="{escape(path)}" removed="true"/>\n'.encode()
    if form == "markdown":
        return f"## {_code(path)} (removed)\n\n".encode()
    return f"======== {path} (removed) ========\n\n".encode()


def digest_head(form: Format, tree: str | None) -> bytes:
    """Return what stands before the first file."""
    if form == "json":
        shown = b"" if tree is None else b'"tree":' + orjson.dumps(tree) + b",\n"
        return b"{" + shown + b'"files":[\n'
    if form == "xml":
        shown = b"" if tree is None else f"<tree>\n{escape(tree, quote=False)}</tree>\n".encode()
        return b"<source>\n" + shown
    if tree is None:
        return b""
    return f"```text\n{tree}```\n\n".encode() if form == "markdown" else f"{tree}\n".encode()


def digest_end(form: Format) -> bytes:
    """Return what stands behind the last file."""
    return {"json": b"]}\n", "xml": b"</source>\n"}.get(form, b"")


def draw_tree(paths: Iterable[str], tokens: Mapping[str, int] | None = None) -> str:
    """Return the tree of the paths, a line each, directories with the sum of their tokens."""
    top: dict[str, Any] = {}
    sums: dict[str, int] = {}
    for path in paths:
        node = top
        at = ""
        *parents, name = path.split("/")
        for parent in parents:
            at = f"{at}{parent}/"
            if tokens is not None:
                sums[at] = sums.get(at, 0) + tokens[path]
            node = node.setdefault(parent + "/", {})
        node[name] = None
        if tokens is not None:
            sums[path] = tokens[path]
    out = [".\n"]
    stack = [("", "", iter(list(top.items())), len(top))]
    while stack:
        indent, prefix, children, left = stack.pop()
        for name, below in children:
            left -= 1
            at = prefix + name
            count = f" ({sums[at]:,} tokens)" if tokens is not None else ""
            out.append(f"{indent}{'├── ' if left else '└── '}{name}{count}\n")
            if below is not None:
                stack.append((indent, prefix, children, left))
                deeper = indent + ("│   " if left else "    ")
                stack.append((deeper, at, iter(list(below.items())), len(below)))
                break
    return "".join(out)


def _longer(runs: Iterable[bytes], least: int) -> int:
    return max((len(run) + 1 for run in runs), default=least)


def _numbered(body: bytes) -> bytes:
    lines = body.split(b"\n")
    last = lines.pop()
    width = len(str(len(lines) + bool(last)))
    numbered = [b"%*d\t%b\n" % (width, number, line) for number, line in enumerate(lines, 1)]
    if last:
        numbered.append(b"%*d\t%b" % (width, len(lines) + 1, last))
    return b"".join(numbered)


def _xml_text(body: bytes) -> bytes:
    body = body.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")
    # A parser would make a line feed of it.
    text = body.replace(b"\r", b"&#13;").decode()
    return _XML_ILLEGAL.sub(lambda m: f'<char code="{ord(m[0]):02X}"/>', text).encode()


def _code(path: str) -> str:
    ticks = "`" * (max((len(run) for run in re.findall("`+", path)), default=0) + 1)
    space = " " if "`" in path else ""
    return f"{ticks}{space}{path}{space}{ticks}"
