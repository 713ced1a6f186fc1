"""The house's floors: a module imports only from floors below it."""

import ast
from pathlib import Path

import pytest

import proxy

ROOT = Path(proxy.__file__).parent

FLOORS = {
    "proxy": 0,
    "proxy.settings": 0,
    "proxy.errors": 0,
    "proxy.sse": 0,
    "proxy.responses": 0,
    "proxy.keys": 0,
    "proxy.json_depth": 0,
    "proxy.logs": 0,
    "proxy.passwords": 0,
    "proxy.tokens": 0,
    "proxy.tokenizer_process": 0,
    "proxy.openapi_examples": 0,
    "proxy.plan_diff": 0,
    "proxy.plan_template": 0,
    "proxy.storable": 0,
    "proxy.documents": 1,
    "proxy.providers": 1,
    "proxy.source_code": 1,
    "proxy.backup": 1,
    "proxy.caller": 2,
    "proxy.chatgpt_file": 2,
    "proxy.database": 2,
    "proxy.embedded": 2,
    "proxy.fallback": 2,
    "proxy.plan_text": 2,
    "proxy.draft": 2,
    "proxy.endings": 2,
    "proxy.leases": 2,
    "proxy.attachments": 2,
    "proxy.prompt": 2,
    "proxy.auth": 3,
    "proxy.generation": 3,
    "proxy.engine": 4,
    "proxy.chunks": 4,
    "proxy.relay": 4,
    "proxy.new_turn": 4,
    "proxy.turns": 5,
    "proxy.usage": 5,
    "proxy.schemas": 5,
    "proxy.openapi": 6,
    "proxy.conversation_file": 6,
    "proxy.completions": 6,
    "proxy.streams": 6,
    "proxy.plan_generation": 6,
    "proxy.limits": 6,
    "proxy.shutdown": 6,
    "proxy.conversation_import": 7,
    "proxy.remembered": 7,
    "proxy.dependencies": 7,
    "proxy.cors": 8,
    "proxy.middleware": 8,
    "proxy.handlers": 7,
    "proxy.routers": 8,
    "proxy.app": 9,
    "proxy.shell": 6,
    "proxy.admin_commands": 8,
    "proxy.opening": 9,
    "proxy.serving": 10,
    "proxy.cli": 11,
    "proxy.__main__": 12,
}
"""Every module, or its folder, and its floor."""


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = ["proxy", *path.relative_to(ROOT).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        found.append((".".join(parts), path))
    return found


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    known = {name for name, _ in modules()}
    return names & known


def home(module: str) -> str:
    """The entry of FLOORS that a module belongs to."""
    while module not in FLOORS or (module == "proxy"):
        if "." not in module:
            return module
        module = module.rpartition(".")[0]
    return module


@pytest.mark.parametrize(("module", "path"), modules(), ids=[name for name, _ in modules()])
def test_a_module_imports_only_from_floors_below(module: str, path: Path) -> None:
    assert home(module) != "proxy" or module == "proxy", f"{module}: give it a floor"
    for imported in imports_of(path) - {"proxy", module}:
        if home(imported) == home(module):
            continue
        assert FLOORS[home(imported)] < FLOORS[home(module)], f"{module} imports {imported}"


def test_folders_have_no_cycles() -> None:
    graph = {name: imports_of(path) - {name} for name, path in modules()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path, name))
        if name not in done:
            for imported in graph[name]:
                if home(imported) == home(name) and imported != home(name):
                    visit(imported, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_only_the_database_module_imports_motor() -> None:
    for module, path in modules():
        if module != "proxy.database":
            assert "motor" not in {
                name.partition(".")[0]
                for node in ast.walk(ast.parse(path.read_text()))
                for name in (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
            }, module


def test_what_answers_a_request_is_async() -> None:
    # A plain function would run in a thread, which costs more than most of them do.
    trees = [ast.parse(path.read_text()) for _, path in modules()]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    needed = {
        argument.id
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Depends"
        for argument in node.args
        if isinstance(argument, ast.Name)
    }
    assert "engine_of" in needed
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
