"""No garbage is looked for while modules are imported, and it is from then on."""

import gc
import subprocess
import sys

import pytest

from proxy.__main__ import run

WORKER = """
import gc
from pathlib import Path
from proxy.commands.serve import worker_app
worker_app(on_embedded=False, numbers=Path("."))
print(gc.isenabled(), gc.get_freeze_count() > 50_000)
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


@pytest.mark.slow
def test_a_server_collects_garbage_but_leaves_alone_what_stays() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKER], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True"]
