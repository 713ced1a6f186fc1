"""The command line: the text on standard output, all else on standard error."""

import contextlib
import os
import pty
import subprocess
import sys
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


def run(*args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *args], cwd=HERE, capture_output=True, check=False)


def test_the_text_goes_out_and_the_tree_beside_it(root: Path) -> None:
    done = run(str(root))
    made = digest(root)

    assert done.returncode == 0
    assert done.stdout.decode() == made.text
    report = done.stderr.decode()
    assert "├── b.md (" in report
    assert "    └── 程序.py (" in report
    assert "skipped c.png: binary\n" in report
    assert f"2 files, {made.total_bytes} bytes, {made.total_tokens} tokens (o200k_base)" in report
    assert "\x1b" not in report


def test_every_choice_is_an_option(root: Path) -> None:
    done = run(
        *(str(root), "--format", "json", "--include", "*.md", "--include", "pkg", "--lines"),
        *("--exclude", "*.py", "--max-tokens", "90", "--tree", "top", "-q", "--no-redact"),
    )

    assert done.returncode == 0
    assert done.stderr == b""
    assert done.stdout.decode() == (
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


def test_a_terminal_sees_progress_that_is_cleared_again(root: Path) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*COMMAND, str(root), "-q"],
        cwd=HERE,
        env={**os.environ, "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=True,
    )
    os.close(theirs)
    shown = everything_in(ours)
    os.close(ours)

    assert done.stdout.decode() == digest(root).text
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


def test_a_missing_directory_is_one_sentence(tmp_path: Path) -> None:
    done = run(str(tmp_path / "gone"))

    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.decode() == ("proxy digest: The project's source directory does not exist\n")


def test_a_text_over_the_limit_is_one_sentence(root: Path) -> None:
    done = run(str(root), "--max-bytes", "10")

    assert done.returncode == 1
    assert done.stderr.decode().startswith("proxy digest: The source is more than 10 bytes")
    assert done.stderr.count(b"\n") == 1


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
@pytest.mark.parametrize("size", [10, 2_000_000])
def test_a_disk_that_is_full_is_one_sentence(root: Path, size: int) -> None:
    (root / "large.txt").write_text("x" * size)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, str(root)], cwd=HERE, stdout=full, stderr=subprocess.PIPE, check=False
        )

    assert done.returncode == 1
    assert done.stderr == b"proxy digest: the text cannot be written: No space left on device\n"
