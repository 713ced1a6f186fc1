"""Nothing outside of the root is read, and what is not read is named."""

import os
import socket
from pathlib import Path

import pytest

from proxy.errors import Conflict, Forbidden, NotFound, RequestTimedOut, TooLarge
from proxy.source_code.base import Deadline, DigestLimits, DigestOptions, Skipped
from proxy.source_code.roots import resolve_root
from proxy.source_code.source_file import SourceFile, UnreadableError
from proxy.source_code.walk import walk


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return (tmp_path / "root").resolve()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    return outside


def listed(
    root: Path, options: DigestOptions | None = None, limits: DigestLimits | None = None
) -> tuple[list[str], dict[str, str]]:
    files: list[str] = []
    skipped: dict[str, str] = {}
    for item in walk(root, options or DigestOptions(), limits or DigestLimits(), Deadline(60)):
        if isinstance(item, Skipped):
            skipped[item.path] = item.reason
        else:
            files.append(item.path)
    return files, skipped


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x\n")


def test_files_come_in_the_order_of_their_whole_paths(root: Path) -> None:
    write(root, "a/b", "a-b", "a.b", "a0", "ab/c", "b/a", "B", "é", "中/文", "a/a/z")

    files, _ = listed(root)

    assert files == sorted(files, key=str.encode)
    assert len(files) == 10


def test_links_are_named_and_never_followed(root: Path, secret: Path) -> None:
    write(root, "a.py", "dir/b.py")
    (root / "file_out").symlink_to(secret / "secret.txt")
    (root / "dir_out").symlink_to(secret)
    (root / "up").symlink_to("..")
    (root / "inside").symlink_to("dir")
    (root / "loop").symlink_to("loop")
    (root / "broken").symlink_to("missing")

    files, skipped = listed(root)

    assert files == ["a.py", "dir/b.py"]
    assert skipped == {
        "file_out": "link out of the tree",
        "dir_out": "link out of the tree",
        "up": "link out of the tree",
        "inside": "link inside the tree",
        "loop": "broken link",
        "broken": "broken link",
    }


def test_fifos_and_sockets_are_skipped(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(root / "socket"))
        files, skipped = listed(root)

    assert files == []
    assert skipped == {"fifo": "not a regular file", "socket": "not a regular file"}


def test_a_file_swapped_for_a_link_before_it_is_opened_is_not_read(
    root: Path, secret: Path
) -> None:
    write(root, "a.py")
    for item in walk(root, DigestOptions(), DigestLimits(), Deadline(60)):
        assert isinstance(item, SourceFile)
        (root / "a.py").unlink()
        (root / "a.py").symlink_to(secret / "secret.txt")
        with pytest.raises(UnreadableError, match="replaced by a link"):
            item.read(1000)


@pytest.mark.parametrize("kind", ["file", "hard link", "fifo", "directory", "nothing"])
def test_a_file_swapped_for_something_else_is_not_read(root: Path, secret: Path, kind: str) -> None:
    write(root, "a.py")
    keep = os.open(root / "a.py", os.O_RDONLY)  # its inode number is not given away again
    for item in walk(root, DigestOptions(), DigestLimits(), Deadline(60)):
        assert isinstance(item, SourceFile)
        (root / "a.py").unlink()
        if kind == "file":
            (root / "a.py").write_text("other\n")
        elif kind == "hard link":
            os.link(secret / "secret.txt", root / "a.py")
        elif kind == "fifo":
            os.mkfifo(root / "a.py")
        elif kind == "directory":
            (root / "a.py").mkdir()
        with pytest.raises(UnreadableError):
            item.read(1000)
    os.close(keep)


def test_a_directory_swapped_for_a_link_is_not_entered(root: Path, secret: Path) -> None:
    write(root, "a.py", "dir/secret.txt", "z.py")
    found: list[str] = []
    for item in walk(root, DigestOptions(), DigestLimits(), Deadline(60)):
        found.append(item.path)
        if item.path == "a.py":
            (root / "dir").rename(root / "moved")
            (root / "dir").symlink_to(secret)

    assert found == ["a.py", "dir/", "z.py"]


def test_a_parent_swapped_for_a_link_while_its_files_are_read_changes_nothing(
    root: Path, secret: Path
) -> None:
    write(root, "dir/secret.txt", "dir/z.py")
    texts: list[bytes] = []
    for item in walk(root, DigestOptions(), DigestLimits(), Deadline(60)):
        assert isinstance(item, SourceFile)
        if item.path == "dir/secret.txt":
            (root / "dir").rename(root / "moved")
            (root / "dir").symlink_to(secret)
        texts.append(item.read(1000)[0])

    assert texts == [b"x\n", b"x\n"]


def test_a_root_reached_through_a_swapped_link_is_refused(tmp_path: Path, secret: Path) -> None:
    write(tmp_path, "projects/a/secret.txt")
    resolved = (tmp_path / "projects/a").resolve()
    (tmp_path / "projects").rename(tmp_path / "moved")
    (secret / "a").mkdir()
    (tmp_path / "projects").symlink_to(secret)

    with pytest.raises(Forbidden):
        listed(resolved)


def test_a_root_that_is_gone_is_not_found(root: Path) -> None:
    root.rmdir()
    with pytest.raises(NotFound):
        listed(root)


def test_every_directory_is_closed_again(root: Path) -> None:
    write(root, "a/b/c/d.py", "a/e.py", "f.py")
    before = len(os.listdir("/proc/self/fd"))
    listed(root)
    walking = walk(root, DigestOptions(), DigestLimits(), Deadline(60))
    next(walking)
    walking.close()

    assert len(os.listdir("/proc/self/fd")) == before


def test_limits_skip_or_refuse(root: Path) -> None:
    write(root, "a/b/c/deep.py", "a/b.py")
    (root / "big").write_bytes(b"x" * 101)
    (root / "fits").write_bytes(b"x" * 100)

    files, skipped = listed(root, limits=DigestLimits(file_bytes=100, depth=2))
    assert files == ["a/b.py", "fits"]
    assert skipped == {"a/b/c/": "deeper than 2 directories", "big": "larger than 100 bytes"}

    with pytest.raises(TooLarge, match="more than 3 entries"):
        listed(root, limits=DigestLimits(entries=3))
    with pytest.raises(RequestTimedOut):
        list(walk(root, DigestOptions(), DigestLimits(), Deadline(-1)))


def test_a_file_that_grew_over_the_limit_after_it_was_listed_is_not_read(root: Path) -> None:
    write(root, "a.log")
    for item in walk(root, DigestOptions(), DigestLimits(), Deadline(60)):
        assert isinstance(item, SourceFile)
        with (root / "a.log").open("ab") as file:
            file.write(b"x" * 100_000)
        with pytest.raises(UnreadableError, match="larger than"):
            item.read(50_000)
        assert len(item.read(200_000)[0]) == 100_002


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (b"secret.py\n" * 110_000, ".gitignore larger than 1 MiB"),
        (b"secret.py\n" + b"[a]" * 150_000, ".gitignore with a line over 4 KiB"),
    ],
)
@pytest.mark.parametrize("at", ["shut/", ""])
def test_a_gitignore_that_is_too_much_closes_its_directory(
    root: Path, at: str, rules: bytes, reason: str
) -> None:
    write(root, f"{at}secret.py")
    (root / f"{at}.gitignore").write_bytes(rules)

    assert listed(root) == ([], {at or "./": reason})


def test_a_comment_of_any_length_is_no_pattern(root: Path) -> None:
    write(root, "a.py", "b.py")
    (root / ".gitignore").write_bytes(b"#" * 10_000 + b"\nb.py\n")

    assert listed(root) == ([".gitignore", "a.py"], {"b.py": "ignored"})


def test_a_path_longer_than_any_that_git_opens_is_skipped(root: Path) -> None:
    fd = os.open(root, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=fd)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)

    files, skipped = listed(root)

    assert files == []
    assert list(skipped.values()) == ["path over 4095 bytes"]


class Looks(Deadline):
    """A deadline that passes at the given look."""

    def __init__(self, looks: int) -> None:
        super().__init__(3600)
        self.left = looks

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.pass_now()
        super().check()


def test_the_deadline_is_looked_at_between_patterns_and_between_entries(root: Path) -> None:
    write(root, *(f"{number}.py" for number in range(50)))
    (root / ".gitignore").write_bytes(b"x*y\n" * 1000)

    for looks in (500, 1030):
        with pytest.raises(RequestTimedOut):
            list(walk(root, DigestOptions(), DigestLimits(), Looks(looks)))
    assert list(walk(root, DigestOptions(), DigestLimits(), Looks(1200)))


def test_include_and_exclude_choose_among_what_is_not_ignored(root: Path) -> None:
    write(root, "src/a.py", "src/b.js", "src/gen/c.py", "docs/d.md", "ignored.py", "e.py")
    (root / ".gitignore").write_text("ignored.py\n")

    files, skipped = listed(
        root, DigestOptions(include=("src", "e.py", "ignored.py"), exclude=("gen/", "*.js"))
    )

    assert files == ["e.py", "src/a.py"]
    assert skipped == {
        ".gitignore": "not included",
        "docs/d.md": "not included",
        "ignored.py": "ignored",
        "src/b.js": "excluded",
        "src/gen/": "excluded",
    }
    assert listed(root, DigestOptions(include=("*.py", "!/src")))[0] == [
        "e.py",
        "src/a.py",
        "src/gen/c.py",
    ]


class TestResolveRoot:
    def test_a_directory_under_a_root_is_taken(self, tmp_path: Path) -> None:
        write(tmp_path, "a/b/x")
        (tmp_path / "link").symlink_to("a")

        assert resolve_root(str(tmp_path / "a/b"), [tmp_path]) == tmp_path / "a/b"
        assert resolve_root(str(tmp_path), [Path("/other"), tmp_path]) == tmp_path
        assert resolve_root(str(tmp_path / "link/b"), [tmp_path / "a"]) == tmp_path / "a/b"
        assert resolve_root(str(tmp_path / "a"), [Path("/")]) == tmp_path / "a"

    def test_none_is_a_conflict(self) -> None:
        for nothing in (None, ""):
            with pytest.raises(Conflict):
                resolve_root(nothing, [Path("/")])

    @pytest.mark.parametrize(
        "path", ["/etc", "{root}/../other", "{root}-beside", "{root}/out", "relative", "/a\0b"]
    )
    def test_outside_is_forbidden_whether_it_exists_or_not(self, tmp_path: Path, path: str) -> None:
        inside = tmp_path / "root"
        inside.mkdir()
        (inside / "out").symlink_to(tmp_path)
        with pytest.raises(Forbidden) as raised:
            resolve_root(path.format(root=inside), [inside])
        assert str(tmp_path) not in raised.value.detail

    def test_gone_or_a_file_is_not_found(self, tmp_path: Path) -> None:
        write(tmp_path, "file")
        for path in ("gone", "file", "file/below"):
            with pytest.raises(NotFound):
                resolve_root(str(tmp_path / path), [tmp_path])
