"""A model's changes on a real directory: whole, kept, and never outside of it."""

import logging
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import Conflict, NotFound
from proxy.plans.diff import unified_diff
from proxy.source_code.edit_paths import EditError
from proxy.source_code.edit_tree import TreeLimits
from proxy.source_code.edits import BACKUPS, EditOptions, Edits, Event

ROOT_MAY_ALL = os.geteuid() == 0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "项目"
    path.mkdir()
    return path


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "secret").write_text("secret")
    return path


def options(root: Path, **fields: Any) -> EditOptions:
    limits = TreeLimits(file_bytes=fields.pop("file_bytes", 1000), entries=1000, depth=20)
    return EditOptions(data_dir=root.parent / "data", limits=limits, diff=unified_diff, **fields)


def apply(root: Path, *blocks: str, **fields: Any) -> list[Event]:
    return list(Edits(root, "\n------\n".join(blocks), options(root, **fields)).run())


def create(path: str, content: str = "new\n", action: str = "Create file") -> str:
    return f"Step [1/1] - t\nAction: {action}\nFile Path: {path}\n```\n{content}```"


def act(action: str, path: str) -> str:
    return f"Step [1/1] - t\nAction: {action}\nFile Path: {path}"


def types(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


def errors(events: list[Event]) -> str:
    return "\n".join(event["message"] for event in events if event["type"] == "error")


def backups(root: Path) -> dict[str, str]:
    kept = root.parent / "data" / BACKUPS
    return {
        "/".join(path.relative_to(kept).parts[1:]): path.read_text()
        for path in kept.rglob("*")
        if path.is_file()
    }


def test_files_and_folders_come_and_go(root: Path) -> None:
    (root / "old").mkdir()
    (root / "old" / "x.txt").write_text("x")
    (root / "gone.txt").write_text("gone")
    (root / "run.sh").write_text("old\n")
    (root / "run.sh").chmod(0o750)

    events = apply(
        root,
        act("Create folder", "a/空"),
        create("a/b/新.py", "print('你好')\n"),
        create("run.sh", action="Update file"),
        act("Delete file", "gone.txt"),
        act("Delete folder", "old"),
    )

    assert errors(events) == ""
    assert (root / "a" / "空").is_dir()
    assert (root / "a/b/新.py").read_text() == "print('你好')\n"
    assert (root / "run.sh").read_text() == "new\n"
    assert stat.S_IMODE((root / "run.sh").stat().st_mode) == 0o750
    assert sorted(path.name for path in root.iterdir()) == ["a", "run.sh"]
    assert backups(root) == {"3/run.sh": "old\n", "4/gone.txt": "gone", "5/old/x.txt": "x"}
    named = [event["data"].get("backup_path") for event in events if event["type"] == "success"]
    assert [path and path.split("/", 2)[2] for path in named] == [
        None,
        None,
        "3/run.sh",
        "4/gone.txt",
        "5/old",
    ]


def test_the_events_are_what_clients_count(root: Path) -> None:
    events = apply(root, create("a"), act("Run", "a"), create("../b"), create("c"))
    assert types(events) == [
        "info",
        *("progress", "success", "progress", "error"),
        *("progress", "error", "progress", "success", "summary"),
    ]
    assert all(set(event) == {"message", "type", "timestamp", "data"} for event in events)
    summary = events[-1]["data"]
    assert summary.pop("execution_time").endswith("s")
    assert summary == {
        "total_tasks": 4,
        "successful_tasks": 2,
        "failed_tasks": 1,
        "invalid_tasks": 1,
        "success_rate": "50.0%",
    }
    assert events[1]["data"] == {
        "step_index": 1,
        "title": "Step [1/1] - t",
        "action": "create_file",
        "file_path": "a",
    }


def test_a_reply_without_steps_says_so(root: Path) -> None:
    assert types(apply(root, "Hello!")) == ["info", "error", "summary"]


@pytest.mark.parametrize(
    "path",
    [
        "../outside/x",
        "a/../../outside/x",
        "..\\outside\\x",
        "/etc/proxy-test",
        "C:\\x",
        ".",
        "/",
        "a\0b",
        "a\nb",
        "a\u202eb",
        "a /b",
        "x" * 300,
        "/".join("d" * 30),
        "\ud800",
        *(".git/config", "a/.git/hooks/post-checkout", ".GIT/config", ".git./config", "git~1/x"),
        *(".git::$INDEX_ALLOCATION/x", ".g\u200cit/config", ".ｇｉｔ/config", ".git", "sub/.Git"),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(root: Path, outside: Path, path: str) -> None:
    for action in ("Create file", "Delete file", "Delete folder", "Create folder"):
        block = create(path.replace("\n", "\x0b"), action=action)
        assert types(apply(root, block))[-2:] == ["error", "summary"], action
    assert list(root.iterdir()) == []
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_an_absolute_path_below_the_root_is_taken(root: Path) -> None:
    assert errors(apply(root, create(f"{root}/src/a.py"))) == ""
    assert (root / "src/a.py").exists()
    assert "outside" in errors(apply(root, create(f"{root}-other/a.py")))


def test_nothing_goes_through_a_link(root: Path, outside: Path) -> None:
    (root / "link").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "dangling").symlink_to(outside / "new")
    blocks = [
        create("link/x"),
        create("link/secret", action="Update file"),
        act("Delete file", "link/secret"),
        act("Create folder", "link/d"),
        act("Delete folder", "link"),
        create("file"),
        act("Delete file", "file"),
        create("dangling"),
    ]
    events = apply(root, *blocks)
    assert events[-1]["data"]["failed_tasks"] == len(blocks), errors(events)
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"secret": "secret"}
    assert (root / "file").is_symlink()
    assert backups(root) == {}


def test_a_folder_with_links_is_deleted_without_what_they_lead_to(
    root: Path, outside: Path
) -> None:
    (root / "d").mkdir()
    (root / "d" / "link").symlink_to(outside)
    assert errors(apply(root, act("Delete folder", "d"))) == ""
    assert errors(apply(root, act("Create folder", "e"))) == ""
    (root / "e" / "link").symlink_to(outside)
    assert errors(apply(root, act("Delete folder", "e"), keep_backups=False)) == ""
    assert (outside / "secret").read_text() == "secret"
    assert list(root.iterdir()) == []


def test_a_component_that_becomes_a_link_meanwhile_leads_nowhere(root: Path, outside: Path) -> None:
    stop = threading.Event()

    def swap_for_ever() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with suppress(OSError):
                (root / "dir").rename(root / f"away{number}")
            with suppress(OSError):
                (root / "dir").symlink_to(outside)
            with suppress(OSError):
                (root / "dir").unlink()

    thread = threading.Thread(target=swap_for_ever)
    thread.start()
    try:
        for _ in range(20):
            blocks = [create(f"dir/f{number}") for number in range(20)]
            apply(root, *blocks, keep_backups=False)
    finally:
        stop.set()
        thread.join()
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_a_root_that_is_a_link_is_refused(root: Path, outside: Path) -> None:
    (root.parent / "alias").symlink_to(root)
    with pytest.raises(NotFound):
        apply(root.parent / "alias", create("x"))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.mkdir()])
def test_what_is_no_file_is_not_replaced(root: Path, make: Callable[[Path], None]) -> None:
    make(root / "x")
    for block in (create("x"), act("Delete file", "x")):
        assert errors(apply(root, block))
    assert (root / "x").exists()


def test_a_file_is_no_directory(root: Path) -> None:
    (root / "f").write_text("f")
    events = apply(root, create("f/x"), act("Create folder", "f"), act("Delete folder", "f"))
    assert events[-1]["data"]["failed_tasks"] == 3
    assert (root / "f").read_text() == "f"


def test_a_repository_is_never_deleted_with_its_folder(root: Path) -> None:
    (root / "vendor/lib/.git").mkdir(parents=True)
    assert "git repository" in errors(apply(root, act("Delete folder", "vendor")))
    assert (root / "vendor/lib/.git").exists()


def test_the_servers_data_is_never_touched(root: Path) -> None:
    data = root / "data"
    data.mkdir()
    for name in ("embedded.json", "mongodb-uri"):
        (data / name).write_text("{}")
    other = root.parent / "data"
    blocks = (create("data/x"), act("Delete folder", "data"), create("data/embedded.json"))
    assert apply(root, *blocks)[-1]["data"]["failed_tasks"] == 3
    moved = root / "d"
    other.mkdir(exist_ok=True)
    other.rename(moved)
    events = list(
        Edits(
            root,
            f"{create('d/x')}\n------\n{act('Delete folder', 'd')}",
            EditOptions(data_dir=moved, limits=TreeLimits(1000), diff=unified_diff),
        ).run()
    )
    assert events[-1]["data"]["failed_tasks"] == 2


def test_limits_are_named(root: Path) -> None:
    assert "larger than 1000 bytes" in errors(apply(root, create("a", "x" * 1001 + "\n")))
    assert errors(apply(root, create("b", "x" * 999 + "\n"))) == ""
    for number in range(1100):
        (root / f"many{number // 100}").mkdir(exist_ok=True)
        (root / f"many{number // 100}" / str(number)).touch()
    (root / "all").mkdir()
    for number in range(11):
        (root / f"many{number}").rename(root / "all" / str(number))
    assert "more than 1000 entries" in errors(apply(root, act("Delete folder", "all")))


@pytest.mark.skipif(ROOT_MAY_ALL, reason="the superuser may write everywhere")
def test_a_read_only_directory_says_so(root: Path) -> None:
    (root / "d").mkdir(mode=0o500)
    assert "no permission" in errors(apply(root, create("d/x")))


def test_a_file_that_is_read_through_a_hard_link_elsewhere_stays(root: Path, outside: Path) -> None:
    os.link(outside / "secret", root / "x")
    assert errors(apply(root, create("x"))) == ""
    assert (root / "x").read_text() == "new\n"
    assert (outside / "secret").read_text() == "secret"


def test_two_runs_in_one_directory_do_not_mix(root: Path) -> None:
    first = Edits(root, create("a"), options(root))
    with pytest.raises(Conflict, match="being written"):
        Edits(root, create("b"), options(root))
    list(first.run())
    assert errors(apply(root, create("b"))) == ""


def test_no_reader_sees_half_a_file(root: Path) -> None:
    whole = {"a" * 900_000 + "\n", "b" * 900_000 + "\n"}
    (root / "x").write_text(min(whole))
    seen: set[str] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add((root / "x").read_text())

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(10):
        for content in sorted(whole):
            apply(root, create("x", content), file_bytes=1_000_000, keep_backups=False)
    stop.set()
    thread.join()
    assert seen <= whole
    assert [path.name for path in root.iterdir()] == ["x"]


def test_nothing_is_replaced_that_cannot_be_kept(root: Path) -> None:
    (root / "x").write_text("old")
    (root.parent / "data").write_text("a file where backups should be")
    assert errors(apply(root, create("x"), act("Delete file", "x")))
    assert [path.name for path in root.iterdir()] == ["x"]
    assert (root / "x").read_text() == "old"


def test_without_backups_nothing_is_kept(root: Path) -> None:
    (root / "x").write_text("old")
    (root / "d").mkdir()
    blocks = (create("x"), act("Delete file", "x"), act("Delete folder", "d"))
    assert errors(apply(root, *blocks, keep_backups=False)) == ""
    assert not (root.parent / "data").exists()
    assert list(root.iterdir()) == []


def test_old_backups_are_removed(root: Path) -> None:
    old = root.parent / "data" / BACKUPS / "20200101T000000Z-00000000"
    old.mkdir(parents=True)
    apply(root, create("x"))
    assert old.exists()
    apply(root, create("x"), backup_days=90)
    assert not old.exists()


def test_what_is_so_already_is_said(root: Path) -> None:
    (root / "x").write_text("new\n")
    events = apply(root, create("x"), act("Delete file", "y"), act("Delete folder", "z"))
    assert types(events)[1:-1] == ["progress", "warning"] * 3
    assert events[-1]["data"]["successful_tasks"] == 3
    assert backups(root) == {}


def test_a_dry_run_shows_a_diff_and_changes_nothing(root: Path) -> None:
    (root / "x").write_text("one\ntwo\n")
    (root / "b").write_bytes(b"\0\1")
    (root / "d").mkdir()
    (root / "d" / "f").touch()
    events = apply(
        root,
        create("x", "one\n2\n"),
        create("n/new"),
        act("Delete file", "x"),
        act("Delete folder", "d"),
        create("b"),
        create("../y"),
        dry_run=True,
    )
    diffs = [event["data"]["diff"] for event in events if event["type"] == "success"]
    assert diffs == [
        "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n",
        "--- /dev/null\n+++ b/n/new\n@@ -0,0 +1 @@\n+new\n",
        "--- a/x\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-one\n-two\n",
        "deleted f\n",
        "Binary file b differs\n",
    ]
    assert events[-1]["data"]["failed_tasks"] == 1
    assert sorted(path.name for path in root.iterdir()) == ["b", "d", "x"]
    assert not (root.parent / "data").exists()


def test_a_diff_shows_no_secret(root: Path) -> None:
    key = "AKIA" + "QWERTYUIOPASDFGH"
    (root / "x").write_text(f"a = '{key}'\nb\n")
    (event,) = [
        event
        for event in apply(root, create("x", "b\n"), dry_run=True)
        if event["type"] == "success"
    ]
    assert key not in event["data"]["diff"]
    assert "-a = '[REDACTED" in event["data"]["diff"]


def test_each_change_is_in_the_audit_log(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "proxy.audit")
    apply(root, create("a"), create("../b"), act("Delete file", "c"), caller="key_1")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert all(line.startswith("source write by key_1: create_file") for line in lines)


def test_an_error_of_a_path_is_one_sentence_without_places_of_the_server(root: Path) -> None:
    (root / "f").write_text("f")
    message = errors(apply(root, create("f/x")))
    assert str(root) not in message
    assert isinstance(EditError(message), Exception)
