"""How a command begins, and what a server at rest keeps: no garbage, nothing it may not need."""

import gc
import subprocess
import sys

import pytest

from proxy.__main__ import run

WORKER = """
import gc, sys
from pathlib import Path
import proxy.__main__
from proxy.commands.serve import worker_app
worker_app(on_embedded=False, numbers=Path("."))
print(gc.isenabled(), gc.get_freeze_count() > 50_000)
print({"cryptography", "openai", "fastapi_poe"} & sys.modules.keys() or "{}")
"""


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["keys", "list"], "proxy.commands.cli.main"),
        (["digest", "."], "proxy.commands.digest.run_digest_command"),
    ],
)
def test_a_command_collects_garbage(
    arguments: list[str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["proxy", *arguments])
    monkeypatch.setattr(command, lambda *_: int(gc.isenabled()))
    assert run() == 1


@pytest.mark.parametrize(
    ("arguments", "module"),
    [(["keys", "list"], "proxy.commands.cli"), (["digest", "."], "proxy.commands.digest")],
)
def test_a_ctrl_c_prints_no_stack_also_while_it_imports(
    arguments: list[str], module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["proxy", *arguments])
    monkeypatch.setitem(sys.modules, module, Interrupted())
    try:
        assert run() == 130
    finally:
        gc.enable()


@pytest.mark.slow
def test_a_server_collects_garbage_but_leaves_alone_what_stays_and_imports_what_it_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKER], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True", "{}"]
