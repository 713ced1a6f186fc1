"""Draw the packages of `proxy/` and what they import, as mermaid, into docs/architecture.md.

uv run --group dev python scripts/architecture.py
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "```mermaid\n", "```\n"


def home(module: str) -> str:
    """Return the folder or module of `proxy/` that a dotted name belongs to."""
    return module.removeprefix("proxy").removeprefix(".").partition(".")[0]


def statements(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield all statements of a module, also those within others: expressions hold no import."""
    for node in nodes:
        yield node
        for part in ("body", "orelse", "handlers", "finalbody", "cases"):
            yield from statements(getattr(node, part, ()))


def arrows() -> set[tuple[str, str]]:
    """Return (importer, imported) for the folders and modules of `proxy/`."""
    found = set()
    for path in (ROOT / "proxy").rglob("*.py"):
        importer = path.relative_to(ROOT / "proxy").parts[0].removesuffix(".py")
        for node in statements(ast.parse(path.read_text(encoding="utf-8")).body):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("proxy."):
                found.add((importer, home(node.module or "")))
    return {(a, b) for a, b in found if a != b}


def reduced(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the arrows that no longer way between the same two says already."""
    below: dict[str, set[str]] = {}
    for a, b in pairs:
        below.setdefault(a, set()).add(b)

    def reaches(a: str, b: str) -> bool:
        return any(c == b or reaches(c, b) for c in below.get(a, ()))

    return {(a, b) for a, b in pairs if not any(c != b and reaches(c, b) for c in below[a])}


def drawing() -> str:
    """Return the mermaid text: an arrow from who imports to what is imported."""
    lines = [f"    {a} --> {b}" for a, b in sorted(reduced(arrows()))]
    return "\n".join(["flowchart TD", *lines, ""])


def page() -> str:
    """Return docs/architecture.md with the present drawing."""
    text = PAGE.read_text(encoding="utf-8")
    begin = text.index(BEGIN) + len(BEGIN)
    return text[:begin] + drawing() + text[text.index(END, begin) :]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
