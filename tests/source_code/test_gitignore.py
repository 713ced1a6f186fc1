"""Our answer and git's are the same: git is asked each time, nothing is written down."""

import shutil
from pathlib import Path

import pytest
from pathspec import PathSpec

from proxy.source_code.base import display_path
from proxy.source_code.gitignore import GitPattern, IgnoreRules
from tests.support.random_trees import (
    difference,
    git_files,
    git_takes_stars_after_a_name_for_one,
    our_files,
)

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

FILES = (
    "a.py",
    "foo",
    "bar/foo",
    "foobar/x",
    "foo bar",
    "foo ",
    "#foo",
    "!foo",
    "dir/foo",
    "dir/keep/a.py",
    "dir/keep/deep/a.py",
    "dir/sub/a.txt",
    "build/out/x.o",
    "src/build/y.o",
    "a/c/d.txt",
    "a/x/b",
    "a/b",
    "[x]",
    "a]",
    "a-b",
    "b",
    "文档/说明.md",
    "文/x",
    "中",
    "é.py",
    "back\\slash",
    "tab\there",
    ".env",
    ".env.example",
)

STARS_AFTER_A_NAME = "double_star_after_a_literal_start_crosses"

CASES: dict[str, dict[str, bytes]] = {
    "a_directory_pattern_leaves_files_of_that_name": {".gitignore": b"foo/\n"},
    "a_file_below_an_ignored_directory_is_not_taken_back": {
        ".gitignore": b"dir/\n!dir/keep/a.py\n"
    },
    "contents_ignored_one_taken_back": {".gitignore": b"dir/*\n!dir/keep\n"},
    "a_nested_file_overrules_its_parent": {".gitignore": b"*.py\n", "dir/.gitignore": b"!*.py\n"},
    "a_nested_file_in_an_ignored_directory_is_not_read": {
        ".gitignore": b"dir\n",
        "dir/.gitignore": b"!*\n",
    },
    "a_nested_pattern_is_anchored_where_it_stands": {"a/.gitignore": b"/b\n"},
    "a_middle_slash_anchors": {".gitignore": b"x/b\nkeep/a.py\n"},
    "double_star_in_the_middle_is_also_no_directory": {".gitignore": b"a/**/b\n"},
    STARS_AFTER_A_NAME: {".gitignore": b"foo**/x\na**/d.txt\n"},
    "trailing_double_star": {".gitignore": b"dir/**\n!dir/keep/\n"},
    "leading_double_star": {".gitignore": b"**/build\n"},
    "lone_double_star_directories": {".gitignore": b"**/\n"},
    "everything_but": {".gitignore": b"*\n!*/\n!*.py\n"},
    "escaped_hash_and_bang": {".gitignore": b"\\#foo\n\\!foo\n"},
    "trailing_spaces_are_dropped": {".gitignore": b"foo   \n"},
    "an_escaped_trailing_space_is_kept": {".gitignore": b"foo\\ \n"},
    "a_trailing_tab_is_kept": {".gitignore": b"foo\t\n"},
    "crlf": {".gitignore": b"foo\r\n*.py\r\n!a.py\r\n"},
    "a_second_carriage_return_is_part_of_the_name": {".gitignore": b"foo\r\r\n"},
    "bom": {".gitignore": b"\xef\xbb\xbffoo\n"},
    "no_line_end_at_the_end": {".gitignore": b"a.py\nfoo"},
    "a_nul_ends_the_pattern": {".gitignore": b"foo\0bar\n"},
    "classes": {".gitignore": b"[[:alpha:]]\n"},
    "an_unknown_class_matches_nothing": {".gitignore": b"[[:nope:]a]\n"},
    "an_open_class_matches_nothing": {".gitignore": b"[a\n[x\n"},
    "a_bracket_first_in_a_class": {".gitignore": b"a[]]\n\\[x]\n"},
    "a_reversed_range": {".gitignore": b"[c-a]\n"},
    "negated_classes_never_match_a_slash": {".gitignore": b"a[!x]b\n"},
    "a_question_mark_is_one_byte": {".gitignore": b"?\n???\n"},
    "chinese_names": {".gitignore": "文*\n".encode()},
    "chinese_directory": {".gitignore": "文档/\n".encode()},
    "backslash_names": {".gitignore": b"back\\\\slash\n"},
    "a_trailing_backslash_matches_nothing": {".gitignore": b"foo\\\n"},
    "a_lone_slash_matches_nothing": {".gitignore": b"/\n//\n!\n"},
    "a_double_slash_matches_nothing": {".gitignore": b"dir//foo\nfoo//\n"},
    "the_last_pattern_wins": {".gitignore": b"*.py\n!a.py\na.py\n!a.py\n"},
    "a_star_does_not_cross": {".gitignore": b"dir/*.py\ndir/*/a.txt\n"},
    "env_but_the_example": {".gitignore": b".env*\n!.env.example\n"},
}


@needs_git
@pytest.mark.parametrize("rules", CASES.values(), ids=CASES.keys())
def test_a_nasty_case_is_decided_as_git_decides_it(rules: dict[str, bytes], tmp_path: Path) -> None:
    if rules is CASES[STARS_AFTER_A_NAME] and git_takes_stars_after_a_name_for_one():
        pytest.skip("this git does not cross directories there")
    root = tmp_path / "tree"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x\n")
    for name, text in rules.items():
        (root / name).write_bytes(text)

    assert our_files(root) == git_files(root, tmp_path / "git")


@pytest.mark.slow
@needs_git
def test_random_trees_are_listed_as_git_lists_them(tmp_path: Path) -> None:
    found = [text for seed in range(150) if (text := difference(seed, tmp_path / "git"))]

    assert found == []


@needs_git
def test_nested_repositories_are_one_entry_and_are_not_entered(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for name in ("in/repo/.git/HEAD", "in/repo/.git/objects/x", "in/repo/.git/refs/x"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("ref: refs/heads/main\n")
    (root / "in/repo/a.py").write_text("x\n")
    (root / "in/fake/.git").mkdir(parents=True)
    (root / "in/fake/a.py").write_text("x\n")

    assert our_files(root) == git_files(root, tmp_path / "git") == [b"in/fake/a.py"]


@pytest.mark.parametrize(
    "pattern", [b"*a" * 40 + b"b", b"x/" + b"**/a*/" * 20 + b"b", b"/" + b"*a*" * 30 + b"/b"]
)
def test_a_hostile_pattern_is_decided_at_once(pattern: bytes) -> None:
    rules = IgnoreRules(pattern)
    path = "x/" + "a" * 200 + "/" + "aa/" * 60 + "c"

    # Backtracking through every star would never come to an end.
    for _ in range(20):
        assert rules.verdict(path) is None
        assert rules.verdict("a" * 255) is None


def test_the_pattern_class_works_in_a_pathspec_of_anybody() -> None:
    spec = PathSpec.from_lines(GitPattern, ["*.log", "!keep.log", "build/", "[a", "/top"])

    found = spec.match_files(["a.log", "d/keep.log", "d/build/", "d/build", "[a", "top", "d/top"])

    assert list(found) == ["a.log", "d/build/", "top"]
    assert [pattern.include for pattern in spec.patterns] == [True, False, True, None, True]


def test_a_displayed_path_has_no_line_break_and_is_never_shared() -> None:
    raw = [
        b"a\nb",
        b'"a\\012b"',
        b"a\xffb",
        b"a\\377b",
        "程序.py".encode(),
        b"a b",
        b'"',
        b"\xe2\x80\xa8",
    ]
    shown = [display_path(path) for path in raw]

    assert shown[4:6] == ["程序.py", "a b"]
    assert len(set(shown)) == len(raw)
    assert all(text.isprintable() for text in shown)
