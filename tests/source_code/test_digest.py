"""The whole: one text, the same on every machine, with everything said of it."""

import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import BadRequest, NotFound, RequestTimedOut, TooLarge
from proxy.source_code.base import DigestLimits, DigestOptions, Format, Tree
from proxy.source_code.cache import DigestCache, stamp
from proxy.source_code.digest import digest
from proxy.source_code.result import Digest, changed_paths
from proxy.tokenizer.tokens import TOKENIZER_NAME, count_tokens

FORMATS: list[Format] = ["plain", "markdown", "xml", "json"]
OLD = time.time() - 3600


def summary_of(made: Digest) -> Any:
    return json.loads(b"".join(made.summary()))


def write(root: Path, files: dict[str, bytes | str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(path, (OLD, OLD))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(
        tmp_path / "root",
        {
            ".gitignore": "build/\n*.log\n",
            "main.py": "import os\n\nprint('你好')\n",
            "lib/util.py": "x = 1",
            "lib/gbk.txt": "读取配置文件，如果文件不存在就创建一个新的。\n".encode("gbk"),
            "lib/logo.png": b"\x89PNG\0\0",
            "lib/old.txt": "déjà vu\n".encode("latin-1"),
            "build/out.py": "ignored\n",
            "empty.py": "",
            "run.log": "ignored\n",
            "文档/说明.md": "# 说明\n\n```\n=========\n```\n",
        },
    )
    return tmp_path / "root"


def test_the_text_is_the_files_by_path(root: Path) -> None:
    made = digest(root)

    assert made.text == (
        "======== .gitignore (13 bytes) ========\nbuild/\n*.log\n========\n\n"
        "======== empty.py (0 bytes) ========\n========\n\n"
        "======== lib/gbk.txt (45 bytes) ========\n"
        "读取配置文件，如果文件不存在就创建一个新的。\n========\n\n"
        "======== lib/util.py (5 bytes, no line break at the end) ========\nx = 1\n========\n\n"
        "======== main.py (27 bytes) ========\nimport os\n\nprint('你好')\n========\n\n"
        "========== 文档/说明.md (28 bytes) ==========\n"
        "# 说明\n\n```\n=========\n```\n==========\n\n"
    )


def test_everything_is_said_of_it(root: Path) -> None:
    summary = summary_of(digest(root))

    assert [(f["path"], f["bytes"], f["encoding"]) for f in summary["files"]] == [
        (".gitignore", 13, "utf-8"),
        ("empty.py", 0, "utf-8"),
        ("lib/gbk.txt", 45, "gb18030"),
        ("lib/util.py", 5, "utf-8"),
        ("main.py", 27, "utf-8"),
        ("文档/说明.md", 28, "utf-8"),
    ]
    assert summary["skipped"] == [
        {"path": "build/", "reason": "ignored directory"},
        {"path": "lib/logo.png", "reason": "binary"},
        {"path": "lib/old.txt", "reason": "undecodable"},
        {"path": "run.log", "reason": "ignored"},
    ]
    assert summary["tokenizer"] == TOKENIZER_NAME


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("tree", ["none", "top", "only"])
@pytest.mark.parametrize("form", FORMATS)
def test_counts_are_exactly_those_of_the_text(
    root: Path, form: Format, tree: str, lines: bool
) -> None:
    write(
        root,
        {
            "a/1.py": "\n\n  indented\n\n\n",
            "a/2.py": "/// x\n//\n/",
            "a/3.txt": "'s 's\r\n\r\n 中文\n\t\n ",
            "a/4.txt": "=" * 40,
            "a/5.txt": " " * 50 + "\n" * 50,
            "a/6.json": '{"a": [1, 2]}\n',
        },
    )
    made = digest(root, DigestOptions(format=form, tree=tree, lines=lines))  # type: ignore[arg-type]

    assert made.total_tokens == count_tokens(made.text)
    assert made.total_bytes == len(made.text.encode())
    if form == "plain" and tree == "none":
        assert sum(file.tokens for file in made.files) == made.total_tokens


def test_the_same_tree_elsewhere_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other" / "place"
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_file():
            write(copy, {str(path.relative_to(root)): path.read_bytes()})

    first, second = digest(root), digest(copy)

    assert first.sha256 == second.sha256
    assert first.text == second.text
    assert first.etag() == second.etag()


def test_the_etag_changes_with_what_is_skipped_too(root: Path) -> None:
    before = digest(root).etag()
    write(root, {"lib/more.png": b"\0"})

    assert digest(root).etag() != before


@pytest.mark.parametrize("form", FORMATS)
def test_a_budget_takes_whole_files_by_path_and_names_the_rest(root: Path, form: Format) -> None:
    write(root, {"lib/large.py": "value = 1\n" * 500})
    whole = digest(root, DigestOptions(format=form))
    allowed = whole.total_tokens - 1000

    made = digest(root, DigestOptions(format=form, max_tokens=allowed))

    assert [f.path for f in whole.files if f not in made.files] == ["lib/large.py"]
    assert {item.path: item.reason for item in made.skipped}["lib/large.py"] == "over budget"
    assert made.total_tokens == count_tokens(made.text) <= allowed
    assert "lib/large.py" not in made.manifest
    if form == "json":
        json.loads(made.text)


@pytest.mark.parametrize("form", FORMATS)
def test_a_budget_holds_with_a_tree_and_removed_files(root: Path, form: Format) -> None:
    since = {"main.py": "old", "gone.py": "x", "gone/too.py": "y"}
    options = DigestOptions(format=form, tree="top", since=since)
    whole = digest(root, options)

    for maximum in range(whole.total_tokens - 40, whole.total_tokens + 1, 8):
        made = digest(root, replace(options, max_tokens=maximum))
        assert made.total_tokens == count_tokens(made.text) <= maximum
        assert "main.py" in made.text  # at least in the tree
        assert made.removed == ["gone.py", "gone/too.py"]


def test_a_budget_below_the_tree_alone_is_refused(root: Path) -> None:
    with pytest.raises(BadRequest, match="max_tokens"):
        digest(root, DigestOptions(tree="top", max_tokens=5))


def test_a_budget_that_fits_nothing_is_an_empty_text(root: Path) -> None:
    made = digest(root, DigestOptions(max_tokens=1))

    assert made.text == ""
    assert made.total_tokens == 0
    assert made.sha256.startswith("e3b0c44298fc1c14")


def test_only_the_tree(root: Path) -> None:
    made = digest(root, DigestOptions(tree="only"))

    assert made.text == (
        ".\n├── .gitignore\n├── empty.py\n├── lib/\n│   ├── gbk.txt\n│   └── util.py\n"
        "├── main.py\n└── 文档/\n    └── 说明.md\n\n"
    )
    assert len(made.files) == 6
    assert made.manifest == {}


def test_since_sends_what_changed_and_names_what_is_gone(root: Path) -> None:
    first = digest(root)
    write(root, {"lib/util.py": "x = 2\n", "new.py": "new\n"})
    (root / "empty.py").unlink()

    second = digest(root, DigestOptions(since=first.manifest))

    assert second.text == (
        "======== lib/util.py (6 bytes) ========\nx = 2\n========\n\n"
        "======== new.py (4 bytes) ========\nnew\n========\n\n"
        "======== empty.py (removed) ========\n\n"
    )
    assert second.unchanged == 4
    assert second.removed == ["empty.py"]
    assert second.manifest == digest(root).manifest
    assert changed_paths(second.manifest, first.manifest) == (
        {"lib/util.py", "new.py"},
        {"empty.py"},
    )
    third = digest(root, DigestOptions(since=second.manifest))
    assert (third.text, third.files, third.unchanged) == ("", [], 6)


@pytest.mark.parametrize("form", FORMATS)
def test_only_removed_files_are_still_a_whole_document(root: Path, form: Format) -> None:
    since = {**digest(root).manifest, "b": "x", "a": "y"}

    made = digest(root, DigestOptions(format=form, since=since))

    assert made.removed == ["a", "b"]
    assert made.total_tokens == count_tokens(made.text)
    if form == "json":
        assert json.loads(made.text) == {
            "files": [{"path": "a", "removed": True}, {"path": "b", "removed": True}]
        }


def test_secrets_are_redacted_and_counted(root: Path) -> None:
    token = "ghp_" + "a1B2" * 9
    write(root, {".env": "DB_PASSWORD=hunter2\n", "a.py": f"t = '{token}'\nu = '{token}'\n"})

    made = digest(root)
    bare = digest(root, DigestOptions(redact=False))

    assert made.redactions == {"GitHub token": 2, "secret variable": 1}
    assert {f.path: f.redactions for f in made.files if f.redactions} == {".env": 1, "a.py": 2}
    assert token not in made.text
    assert "hunter2" not in made.text
    assert bare.text.count(token) == 2
    assert bare.redactions == {}


def test_limits_refuse_with_a_sentence(root: Path, tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="more than 50 bytes"):
        digest(root, limits=DigestLimits(digest_bytes=50))
    with pytest.raises(RequestTimedOut, match="longer than 0 s"):
        digest(root, limits=DigestLimits(seconds=0))
    with pytest.raises(NotFound):
        digest(tmp_path / "gone")
    made = digest(root, limits=DigestLimits(file_bytes=27))
    assert {s.path: s.reason for s in made.skipped}["文档/说明.md"] == "larger than 27 bytes"


def test_a_cached_digest_is_the_same_as_a_fresh_one(root: Path) -> None:
    cache = DigestCache(10**6)
    for options in (DigestOptions(), DigestOptions(format="xml"), DigestOptions(redact=False)):
        fresh = digest(root, options)
        assert summary_of(digest(root, options, cache=cache)) == summary_of(fresh)
        again = digest(root, options, cache=cache)
        assert summary_of(again) == summary_of(fresh)
        assert again.text == fresh.text


def settle(root: Path) -> None:
    """Wait until the files' change times are too old to be doubted."""
    newest = max(path.stat().st_ctime for path in root.rglob("*"))
    time.sleep(max(0.0, newest + 2.05 - time.time()))


def test_a_settled_file_comes_from_the_cache_until_it_is_written(root: Path) -> None:
    cache = DigestCache(10**6)
    settle(root)
    digest(root, cache=cache)
    key = (str(root), "main.py", True)
    status = (root / "main.py").stat()
    assert cache.get(key, stamp(status)) is not None

    # The same size and the same modification time: only the change time tells.
    content = (root / "main.py").read_bytes()
    (root / "main.py").write_bytes(content.replace(b"os", b"re"))
    os.utime(root / "main.py", ns=(status.st_atime_ns, status.st_mtime_ns))

    assert "import re" in digest(root, cache=cache).text


def test_a_file_written_just_now_is_not_trusted_to_the_cache(root: Path) -> None:
    cache = DigestCache(10**6)
    for number in range(20):
        (root / "main.py").write_text(f"{number:04}\n")
        assert f"\n{number:04}\n" in digest(root, cache=cache).text


def test_the_cache_keeps_within_its_bytes(root: Path) -> None:
    settle(root)
    small = DigestCache(700)
    assert summary_of(digest(root, cache=small)) == summary_of(digest(root, cache=small))
    none = DigestCache(0)
    assert summary_of(digest(root, cache=none)) == summary_of(digest(root, cache=none))


def test_digests_at_once_share_a_cache(root: Path) -> None:
    cache = DigestCache(10**6)
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.append(digest(root, cache=cache).sha256))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert made == [digest(root).sha256] * 8


def test_no_thread_stays_behind_a_digest_that_failed(root: Path) -> None:
    before = threading.active_count()
    with pytest.raises(TooLarge):
        digest(root, limits=DigestLimits(digest_bytes=50))

    assert threading.active_count() == before


def test_progress_counts_up(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    made = digest(root, progress=lambda files, size: seen.append((files, size)))

    assert seen == sorted(seen)
    assert seen[-1] == (len(made.files) + 2, made.total_bytes), "also the two that are no text"


@pytest.mark.parametrize("tree", ["none", "top", "only"])
@pytest.mark.parametrize("form", FORMATS)
def test_a_written_text_is_the_same_and_is_not_kept(root: Path, form: Format, tree: Tree) -> None:
    write(root, {f"lib/{n}.txt": f"{n} 中\n" * 15_000 for n in range(6)})
    for options in (
        DigestOptions(format=form, tree=tree),
        DigestOptions(format=form, tree=tree, max_tokens=100_000),
        DigestOptions(format=form, tree=tree, since={"gone": "x"}),
    ):
        whole = digest(root, options)
        chunks: list[bytes] = []

        made = digest(root, options, write=chunks.append)

        assert b"".join(chunks).decode() == whole.text
        assert made.sha256 == whole.sha256
        assert summary_of(made) == summary_of(whole)
        assert made.pieces == []


def test_a_text_is_written_before_all_files_are_read(root: Path) -> None:
    write(root, {f"lib/{n}.txt": "x\n" * 50_000 for n in range(60)})
    written = [0]
    at_file: list[int] = []

    def count(chunk: bytes) -> None:
        written[0] += len(chunk)

    digest(root, progress=lambda files, _: at_file.append(written[0]), write=count)

    assert at_file[-1] > 0
