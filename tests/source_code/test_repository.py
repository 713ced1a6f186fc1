"""In a repository, our answer and git's are the same: git is asked each time."""

import os
import shutil
from pathlib import Path

import pytest

from proxy.errors import Forbidden
from proxy.source_code.base import Deadline, DigestLimits, DigestOptions, Skipped
from proxy.source_code.git_index import UnknownIndexError, parse_index
from proxy.source_code.roots import resolve_root
from proxy.source_code.walk import walk
from tests.support.random_trees import (
    listed_by_git,
    our_files,
    repository_difference,
    run_git,
)

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
pytestmark = needs_git


@pytest.fixture
def top(tmp_path: Path) -> Path:
    found = tmp_path.resolve() / "top"
    found.mkdir()
    run_git(found, "init", "-q")
    return found


def write(root: Path, *names: str, text: str = "x\n") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def skipped(root: Path) -> dict[str, str]:
    found = walk(root, DigestOptions(), DigestLimits(), Deadline(60))
    return {item.path: item.reason for item in found if isinstance(item, Skipped)}


@pytest.mark.slow
def test_directories_of_random_repositories_are_listed_as_git_lists_them() -> None:
    found = [text for seed in range(15) if (text := repository_difference(seed))]

    assert found == []


def test_ignore_files_above_and_info_exclude_count(top: Path) -> None:
    write(top, "a/b/x.log", "a/b/x.tmp", "a/b/keep.log", "a/b/local", "a/b/c/y.py", "a/x.py")
    write(top, ".gitignore", text="*.log\n/a/b/c/\n")
    write(top, "a/.gitignore", text="*.tmp\n")
    write(top, "a/b/.gitignore", text="!keep.log\n")
    write(top, ".git/info/exclude", text="local\n")

    assert our_files(top / "a/b") == listed_by_git(top / "a/b") == [b".gitignore", b"keep.log"]


@pytest.mark.parametrize("version", ["2", "3", "4"])
def test_a_tracked_file_is_never_ignored(top: Path, version: str) -> None:
    long = "d/" + "n" * 200 + "/" + "程序" * 30 + ".log"
    write(top, "a.log", "b.log", "build/in.c", "build/out.o", "build/deep/x", long, ".env")
    run_git(top, "add", "a.log", "build/in.c", "build/deep/x", long)
    run_git(top, "update-index", "--index-version", version)
    write(top, ".gitignore", text="*.log\nbuild/\n.env\n")
    wanted = [b".gitignore", b"a.log", b"build/deep/x", b"build/in.c", long.encode()]

    assert our_files(top) == listed_by_git(top) == wanted
    assert our_files(top / "build") == listed_by_git(top / "build") == [b"deep/x", b"in.c"]
    assert skipped(top / "build") == {
        "./": "ignored by the repository that it lies in",
        "out.o": "ignored",
    }


def test_a_repository_whose_names_are_sha256_is_read(tmp_path: Path) -> None:
    top = tmp_path.resolve() / "top"
    top.mkdir()
    run_git(top, "init", "-q", "--object-format=sha256")
    write(top, "a.log", "b.log")
    run_git(top, "add", "a.log")
    write(top, ".gitignore", text="*.log\n")

    assert our_files(top) == listed_by_git(top) == [b".gitignore", b"a.log"]


def test_a_linked_work_tree_has_an_index_of_its_own(top: Path) -> None:
    write(top, "a.log", ".gitignore", text="*.log\nlocal\n")
    run_git(top, "add", "-f", ".")
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    run_git(top, *identity, "commit", "-qm", "first")
    write(top, ".git/info/exclude", text="*.tmp\n")
    linked = top.parent / "linked"
    run_git(top, "worktree", "add", "-q", str(linked))
    write(linked, "b.log", "c.tmp", "d.py")
    run_git(linked, "rm", "-q", "--cached", "a.log")

    assert our_files(linked) == listed_by_git(linked) == [b".gitignore", b"d.py"]


def test_a_submodule_is_one_entry_even_when_it_was_not_fetched(top: Path) -> None:
    write(top, "lib/a.py", "b.py")
    made = run_git(top, "hash-object", "-w", "b.py").decode().strip()
    run_git(top, "update-index", "--add", "--cacheinfo", f"160000,{made},lib")

    assert our_files(top) == [path for path in listed_by_git(top) if path != b"lib"] == [b"b.py"]
    assert skipped(top) == {"lib/": "nested repository"}


def test_files_tracked_inside_of_a_later_repository_are_listed(top: Path) -> None:
    write(top, "in/a.py", "in/b.py")
    run_git(top, "add", "in/a.py")
    run_git(top / "in", "init", "-q")

    assert our_files(top) == listed_by_git(top) == [b"in/a.py", b"in/b.py"]


@pytest.mark.parametrize("damage", ["cut", "version", "split", "fifo", "nonsense"])
def test_an_index_that_cannot_be_read_is_named_and_tracks_nothing(top: Path, damage: str) -> None:
    write(top, "a.log", "b.py")
    run_git(top, "add", "a.log", "b.py")
    write(top, ".gitignore", text="*.log\n")
    index = top / ".git/index"
    data = index.read_bytes()
    if damage == "split":
        run_git(top, "update-index", "--split-index")
    elif damage == "fifo":
        index.unlink()
        os.mkfifo(index)
    else:
        spoiled = {"cut": data[:70], "version": data[:7] + b"\x05" + data[8:], "nonsense": b"x"}
        index.write_bytes(spoiled[damage])

    assert our_files(top) == [b".gitignore", b"b.py"]
    assert skipped(top)[".git/index"] == "cannot be read: tracked files count as any others"


def test_every_cut_of_an_index_is_an_error_and_nothing_else(top: Path) -> None:
    write(top, "a", "b/c", "b/d")
    run_git(top, "add", ".")
    run_git(top, "update-index", "--index-version", "4")
    data = (top / ".git/index").read_bytes()

    assert parse_index(data).files == {b"a", b"b/c", b"b/d"}
    for end in range(len(data) - 20):
        with pytest.raises((UnknownIndexError, IndexError, ValueError)):
            parse_index(data[:end])


@pytest.mark.parametrize("inside", [".git", ".git/hooks", "bare.git", "bare.git/refs/heads"])
def test_a_directory_of_gits_own_is_refused(top: Path, inside: str) -> None:
    run_git(top.parent, "init", "-q", "--bare", str(top / "bare.git"))
    with pytest.raises(Forbidden, match="git repository's own"):
        list(
            walk(
                resolve_root(str(top / inside), [top]),
                DigestOptions(),
                DigestLimits(),
                Deadline(60),
            )
        )


def test_a_link_in_place_of_an_ignore_file_above_holds_no_rules(top: Path) -> None:
    write(top, "a/x.log", "rules", text="*.log\n")
    (top / ".gitignore").symlink_to("rules")
    os.mkfifo(top / "a/.gitignore")

    assert our_files(top / "a") == [b"x.log"]


def test_an_ignore_file_above_that_is_too_much_closes_the_directory(top: Path) -> None:
    write(top, "a/x.py")
    write(top, ".gitignore", text="x" * 5000)

    assert our_files(top / "a") == []
    assert skipped(top / "a") == {"./": "above it: .gitignore with a line over 4 KiB"}
