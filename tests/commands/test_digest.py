"""The command line: the text on standard output, all else on standard error."""

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.commands.digest import run_digest_command
from proxy.source_code.digest import digest

COMMAND = [sys.executable, "-m", "proxy.commands.digest"]
HERE = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "程序.py").write_text("print('你好')\n")
    (tmp_path / "b.md").write_text("# b\n")
    (tmp_path / "c.png").write_bytes(b"\0")
    return tmp_path


@dataclass
class Done:
    """What a command ended with, and what it wrote."""

    status: int
    text: str
    said: str


Run = Callable[..., Done]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process: one of its own takes half a second to start."""

    def run_it(*arguments: str) -> Done:
        status = run_digest_command(arguments)
        return Done(status, *capfd.readouterr())

    return run_it


def test_the_text_goes_out_and_the_tree_beside_it(root: Path) -> None:
    done = subprocess.run([*COMMAND, str(root)], cwd=HERE, capture_output=True, check=False)
    made = digest(root)

    assert done.returncode == 0
    assert done.stdout.decode() == made.text
    report = done.stderr.decode()
    assert "├── b.md (" in report
    assert "    └── 程序.py (" in report
    assert "skipped c.png: binary\n" in report
    assert f"2 files, {made.total_bytes} bytes, {made.total_tokens} tokens (o200k_base)" in report
    assert "\x1b" not in report


def test_every_choice_is_an_option(root: Path, run: Run) -> None:
    done = run(
        *(str(root), "--format", "json", "--include", "*.md", "--include", "pkg", "--lines"),
        *("--exclude", "*.py", "--max-tokens", "90", "--tree", "top", "-q", "--no-redact"),
    )

    assert done.status == 0
    assert done.said == ""
    assert done.text == (
        '{"tree":".\\n└── b.md\\n",\n"files":[\n'
        '{"path":"b.md","bytes":4,"content":"1\\t# b\\n"}\n]}\n'
    )


def everything_in(terminal: int) -> str:
    """What was written to a terminal, which gives it in pieces until nobody writes any more."""
    pieces = []
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 10_000):
            pieces.append(piece)
    return b"".join(pieces).decode()


def test_a_terminal_sees_progress_that_is_cleared_again(
    root: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ours, theirs = pty.openpty()
    with open(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        done = run(str(root), "-q")
    shown = everything_in(ours)
    os.close(ours)

    assert (done.status, done.text) == (0, digest(root).text)
    assert "looking: 1 files" in shown
    assert "[##########....................]  33% 1 of 3 files, 0.0 MB" in shown
    assert shown.endswith("\r\x1b[K")


def test_on_a_terminal_the_text_comes_after_the_bar(root: Path) -> None:
    ours, theirs = pty.openpty()
    subprocess.run([*COMMAND, str(root), "-q"], cwd=HERE, stdout=theirs, stderr=theirs, check=True)
    os.close(theirs)
    shown = everything_in(ours)
    os.close(ours)

    assert shown.rpartition("MB")[2] == "\r\x1b[K" + digest(root).text.replace("\n", "\r\n")


def test_a_missing_directory_is_one_sentence(tmp_path: Path, run: Run) -> None:
    done = run(str(tmp_path / "gone"))

    assert done.status == 1
    assert done.text == ""
    assert done.said == "proxy digest: The project's source directory does not exist\n"


def test_a_text_over_the_limit_is_one_sentence(root: Path, run: Run) -> None:
    done = run(str(root), "--max-bytes", "10")

    assert done.status == 1
    assert done.said.startswith("proxy digest: The source is more than 10 bytes")
    assert done.said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-tokens", "0"], "argument --max-tokens: '0' is not a whole number above 0"),
        (["--max-bytes", "many"], "argument --max-bytes: 'many' is not a whole number above 0"),
        (["--format", "pdf"], "argument --format: invalid choice: 'pdf'"),
        (["a", "b"], "unrecognized arguments: b"),
    ],
)
def test_wrong_arguments_end_with_2_and_say_what_is_wrong(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        run_digest_command(arguments)
    assert raised.value.code == 2
    assert said in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error_trace(root: Path) -> None:
    (root / "large.txt").write_text("x\n" * 200_000)
    done = subprocess.run(
        ["bash", "-c", '"$@" | head -c 10', "-", *COMMAND, str(root)],
        cwd=HERE,
        capture_output=True,
        check=True,
    )

    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_a_disk_that_is_full_while_it_writes_is_one_sentence(
    root: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "large.txt").write_text("x" * 2_000_000)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        done = run(str(root))

    assert done.status == 1
    assert done.said == "proxy digest: the text cannot be written: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_a_disk_that_is_full_at_the_end_is_one_sentence(root: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, str(root)], cwd=HERE, stdout=full, stderr=subprocess.PIPE, check=False
        )

    assert done.returncode == 1
    assert done.stderr == b"proxy digest: the text cannot be written: No space left on device\n"
