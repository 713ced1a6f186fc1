"""`proxy apply FILE --root DIR`."""

import io
import sys
from pathlib import Path

import pytest

from proxy.commands.cli import main

REPLY = """Step [1/1] - x
Action: Update file
File Path: 你好.txt
```
new
```
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "shop"
    path.mkdir()
    (path / "你好.txt").write_text("old\n")
    (tmp_path / "reply.md").write_text(REPLY)
    return path


def test_a_reply_is_carried_out(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply", str(tmp_path / "reply.md"), "--root", str(root)]) == 0
    assert (root / "你好.txt").read_text() == "new\n"
    out, err = capsys.readouterr()
    assert out == ""
    assert "1 of 1 steps done" in err
    (kept,) = (tmp_path / "data").rglob("你好.txt")
    assert kept.read_text() == "old\n"


def test_a_dry_run_prints_a_diff(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(REPLY.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["apply", "-", "--root", str(root), "--dry-run"]) == 0
    assert (root / "你好.txt").read_text() == "old\n"
    assert capsys.readouterr().out == ("--- a/你好.txt\n+++ b/你好.txt\n@@ -1 +1 @@\n-old\n+new\n")


def test_a_step_that_failed_is_a_failure(root: Path, tmp_path: Path) -> None:
    (tmp_path / "reply.md").write_text(REPLY.replace("你好.txt", "../x"))
    assert main(["apply", str(tmp_path / "reply.md"), "--root", str(root)]) == 1


@pytest.mark.parametrize("arguments", [["gone.md", "--root", "shop"], ["reply.md", "--root", "no"]])
def test_what_is_not_there_is_named(
    root: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply", *arguments]) == 1
    assert capsys.readouterr().err.startswith("proxy: ")
