"""The house's floors: a module imports only from floors below it."""

import ast
import re
import runpy
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import proxy

ROOT = Path(proxy.__file__).parent

FLOORS_UPWARDS: tuple[tuple[str, ...], ...] = (
    ("setting_types",),
    (
        "",
        "credentials",
        "errors",
        "metrics",
        "responses",
        "sealing",
        "settings",
        "sse",
        "tokenizer",
    ),
    ("documents", "embedded", "providers", "source_code", "timed_motor"),
    ("caller", "database", "streaming"),
    ("access", "schemas", "turns"),
    ("plans", "search", "transfer", "web"),
    ("dialects",),
    ("routers",),
    ("app",),
    ("commands",),
    ("__main__",),
)
"""Every module or folder of `proxy/`, from the lowest floor up."""


FLOORS = {home: number for number, floor in enumerate(FLOORS_UPWARDS) for home in floor}


@cache
def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = ["proxy", *path.relative_to(ROOT).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        found.append((".".join(parts), path))
    return found


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def imports_of(path: Path) -> set[str]:
    names = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    known = {name for name, _ in modules()}
    return names & known


def home(module: str) -> str:
    """The folder or module of `proxy/` that a module belongs to; `""` is the package itself."""
    return module.removeprefix("proxy").removeprefix(".").partition(".")[0]


def test_a_module_imports_only_from_floors_below() -> None:
    found = modules()
    assert len(found) > 200
    assert {home(module) for module, _ in found} <= FLOORS.keys(), "give it a floor"
    upwards = [
        f"{module} imports {imported}"
        for module, path in found
        for imported in imports_of(path) - {"proxy", module}
        if home(imported) != home(module) and FLOORS[home(imported)] >= FLOORS[home(module)]
    ]
    assert upwards == []


def test_folders_have_no_cycles() -> None:
    graph = {name: imports_of(path) - {name} for name, path in modules()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path, name))
        if name not in done:
            for imported in graph[name]:
                if home(imported) == home(name):
                    visit(imported, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def packages_of(path: Path) -> set[str]:
    """The first part of every name that a module imports, also within its functions."""
    return {
        name.partition(".")[0]
        for node in nodes_of(path)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }


def test_only_the_database_modules_import_motor() -> None:
    for module, path in modules():
        if module not in {"proxy.database", "proxy.timed_motor"}:
            assert "motor" not in packages_of(path), module


def test_the_embedded_databases_package_is_never_imported() -> None:
    for module, path in modules():
        for package in packages_of(path):
            assert not package.startswith(("secantus", "wiredtiger")), module


def test_what_answers_a_request_is_async() -> None:
    # A plain function would run in a thread, which costs more than most of them do.
    nodes = [node for _, path in modules() for node in nodes_of(path)]
    needed = {
        argument.id
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Depends"
        for argument in node.args
        if isinstance(argument, ast.Name)
    }
    assert "load_project" in needed
    plain = [
        node.name
        for node in nodes
        if isinstance(node, ast.FunctionDef)
        and (
            node.name in needed
            or any("router." in ast.unparse(decorator) for decorator in node.decorator_list)
        )
    ]
    assert plain == []


def test_no_expression_repeats_a_group_with_a_plus_after_its_number() -> None:
    # It matches wrongly before Python 3.11.5, which Debian has: `(?>(?:...)*)` does not.
    for module, path in modules():
        for node in nodes_of(path):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
                found = re.search(r"(?<!\\)\)(?:[*+?]|\{\d*,?\d*\})\+", text)
                assert not found, f"{module}: {text}"


def test_the_picture_of_the_floors_is_the_present_one() -> None:
    script = runpy.run_path(str(ROOT.parent / "scripts" / "architecture.py"))
    page = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert script["page"]() == page, "run scripts/architecture.py"


def own(folder: Path) -> Iterator[Path]:
    """Our modules in a folder, beside which whole trees of other programs may be installed."""
    for path in folder.iterdir():
        if path.is_dir() and path.name not in ("node_modules", ".venv"):
            yield from own(path)
        elif path.suffix == ".py":
            yield path


def test_no_test_imports_another() -> None:
    for path in own(ROOT.parent / "tests"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.match(r"\s*from tests\.(\w+\.)*test_", line), f"{path.name}: {line}"
