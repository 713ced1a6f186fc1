"""Random trees with random ignore files, and what git says of them.

`python -m tests.support.random_trees 2000` compares that many and prints each
difference; the suite runs fewer.
"""

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from proxy.source_code.base import Deadline, DigestLimits, DigestOptions, display_path
from proxy.source_code.source_file import SourceFile
from proxy.source_code.walk import walk

NAMES = [
    *("a", "b", "c", "ab", "abc", "foo", "bar", "foo.py", "bar.py", "a.txt", "b.log", "x.o"),
    *("foobar", "foo bar", "foo ", " foo", "#foo", "!foo", "[a]", "a]b", "a-b", "a*b", "?"),
    *("中", "文档", "程序.py", "说明 书.md", "é", "a\\b", ".env", ".hidden", "-", "^", "A", "Foo"),
    *("1", "9", "a1", "~", "build", "dist", "node_modules", "a\tb", "foo\r", "**", "z{1,2}"),
]
ATOMS = [
    *("*", "**", "?", "***", "a*", "*a", "*.py", "*.*", "f?o", "[ab]", "[!a]", "[^a]", "[a-c]"),
    *("[]a]", "[!]a]", "[a-]", "[-a]", "[c-a]", "[[:alpha:]]", "[[:digit:]a]", "[[:space:]]"),
    *("[[:upper:]]*", "[[:foo:]]", "[[:alpha:]", "[a", "[", "]", "[\\]]", "[\\a-c]", "[a\\-c]"),
    *("\\*", "\\?", "\\a", "\\[a\\]", "\\\\", "a\\\\b", "\\ ", "foo\\ ", "foo**", "**foo", "a**b"),
    *(
        "*中*",
        "中?",
        "中??",
        "文*",
        "程序.*",
        "[中]",
        "[中文]*",
        "é",
        "?é",
        "??",
        "z{1,2}",
        "*o*b*r",
    ),
    *("[[:punct:]]", "[[:cntrl:]]", "[[:alnum:]]*", "[!-~]*", "[a-z]*", "[[:xdigit:]-z]", "[:a]"),
]
LINE_ENDS = ["\n"] * 8 + [
    "\r\n",
    " \n",
    "  \n",
    "\\ \n",
    "\t\n",
    "\\\n",
    " \r\n",
    "\r\r\n",
    "\0x\n",
]


def make_tree(root: Path, seed: int) -> None:
    """Directories, files, links and `.gitignore` files under `root`."""
    rng = random.Random(seed)
    directories = [root]
    names = rng.sample(NAMES, rng.randint(4, 14))
    for _ in range(rng.randint(3, 14)):
        parent = rng.choice(directories)
        child = parent / rng.choice(names)
        if not os.path.lexists(child):
            child.mkdir()
            directories.append(child)
    for _ in range(rng.randint(5, 40)):
        child = rng.choice(directories) / rng.choice(names)
        if os.path.lexists(child):
            continue
        if rng.random() < 0.06:
            child.symlink_to(rng.choice(directories))
        else:
            child.write_text("x\n")
    for directory in directories:
        if directory is root or rng.random() < 0.35:
            _write_rules(directory, rng, names)
        elif rng.random() < 0.05:
            _write_oddity(directory, rng)


def _write_rules(directory: Path, rng: random.Random, names: list[str]) -> None:
    text = "\ufeff" if rng.random() < 0.1 else ""
    text += "".join(_line(rng, names) for _ in range(rng.randint(1, 7)))
    if rng.random() < 0.3:
        text = text.rstrip("\n")
    (directory / ".gitignore").write_bytes(text.encode())


def _write_oddity(directory: Path, rng: random.Random) -> None:
    kind = rng.randrange(5)
    git = directory / ".git"
    if kind == 0:
        (directory / ".gitignore").symlink_to("missing")
    elif kind == 1:
        (directory / ".gitignore").mkdir()
    elif kind == 2:
        subprocess.run(["git", "init", "-q", str(directory)], check=True, env=git_environment())
    elif kind == 3:
        git.mkdir()
    else:
        git.write_text("gitdir: /nowhere\n")


def _line(rng: random.Random, names: list[str]) -> str:
    if rng.random() < 0.04:
        return rng.choice(
            ["", "#comment", "# x", "!", "/", "//", "\\", "!/", "**/", "/**", "\\#foo"]
        )
    count = rng.choice([1, 1, 1, 2, 2, 3])
    segments = []
    for _ in range(count):
        segment = rng.choice(names) if rng.random() < 0.5 else rng.choice(ATOMS)
        if rng.random() < 0.15:
            segment += rng.choice(ATOMS)
        segments.append(segment)
    pattern = "/".join(segments)
    if rng.random() < 0.2:
        pattern = "/" + pattern
    if rng.random() < 0.25:
        pattern += "/"
    if rng.random() < 0.12:
        pattern += rng.choice(["/**", "/*", "**"])
    if rng.random() < 0.1:
        pattern = "**/" + pattern
    if git_takes_stars_after_a_name_for_one():
        pattern = re.sub(r"^([^*?\[\\]*[^*?\[\\/])\*\*+", r"\1*", pattern)
    if rng.random() < 0.3:
        pattern = "!" + pattern
    return pattern + rng.choice(LINE_ENDS)


@cache
def git_takes_stars_after_a_name_for_one() -> bool:
    """Return whether `foo**/x` is `foo*/x` for this git, as for 2.55 and as its manual has it.

    Up to 2.47 at least, `**` there crosses directories, and so it does for us.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / ".gitignore").write_text("foo**/x\n")
        command = ["git", "check-ignore", "--quiet", "--no-index", "foox"]
        environment = git_environment()
        subprocess.run(["git", "init", "-q"], check=True, cwd=folder, env=environment)
        done = subprocess.run(command, check=False, cwd=folder, env=environment)
        return done.returncode == 1


def git_environment() -> dict[str, str]:
    """No ignore rules but the tree's own."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C.UTF-8",
    }


def git_files(root: Path, git_dir: Path) -> list[bytes]:
    """What git lists; its own directory is kept outside of the tree."""
    environment = git_environment() | {"GIT_DIR": str(git_dir), "GIT_WORK_TREE": str(root)}
    if not git_dir.exists():
        subprocess.run(["git", "init", "-q"], check=True, env=environment)
        (git_dir / "info" / "exclude").unlink(missing_ok=True)
    listing = subprocess.run(
        [
            *("git", "-c", f"core.excludesFile={os.devnull}"),
            *("ls-files", "-z", "--others", "--cached", "--exclude-standard"),
        ],
        check=True,
        cwd=root,
        env=environment,
        capture_output=True,
    )
    # A nested repository is one entry with a slash; the digest names it as skipped.
    return sorted(path for path in listing.stdout.split(b"\0") if path and path[-1:] != b"/")


def our_files(root: Path) -> list[bytes]:
    """What the digest would read, and the links that it names instead of reading them."""
    found = []
    named: set[str] = set()
    for item in walk(root, DigestOptions(), DigestLimits(), Deadline(60)):
        if isinstance(item, SourceFile):
            found.append(item.raw_path)
        elif "link" in item.reason:
            named.add(item.path)
    return sorted(found + [link for link in _links(root) if display_path(link) in named])


def _links(root: Path) -> list[bytes]:
    top = os.fsencode(root)
    return [
        os.path.relpath(path, top)
        for directory, names, files in os.walk(top)
        for path in (os.path.join(directory, name) for name in [*names, *files])
        if os.path.islink(path)
    ]


def difference(seed: int, git_dir: Path) -> str:
    """Empty when git and we agree on the tree of this seed."""
    root = Path(tempfile.mkdtemp(prefix="tree"))
    try:
        make_tree(root, seed)
        git, ours = set(git_files(root, git_dir)), set(our_files(root.resolve()))
        if git == ours:
            return ""
        rules = {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob(".gitignore")
            if path.is_file()
        }
        return f"seed {seed}: only git {git - ours}, only ours {ours - git}, rules {rules}"
    finally:
        shutil.rmtree(root)


def make_repository(top: Path, seed: int) -> Path:
    """A repository with some tracked files, ignored or not; a directory in it to look at."""
    rng = random.Random(seed * 7919)
    top.mkdir()
    run_git(top, "init", "-q")
    make_tree(top, seed)
    names = [path.name for path in top.rglob("*") if ".git" not in path.parts][:10] or ["a"]
    lines = "".join(_line(rng, names) for _ in range(rng.randint(0, 2)))
    (top / ".git" / "info" / "exclude").write_text(lines)
    files = git_lines(top, "ls-files", "-z", "--others")
    tracked = [path for path in files if path[-1:] != b"/" and rng.random() < 0.4]
    if tracked:
        paths = b"\0".join(tracked)
        run_git(top, "update-index", "--add", "-z", "--stdin", given=paths)
    run_git(top, "update-index", "--index-version", str(rng.choice((2, 3, 4))))
    if tracked and rng.random() < 0.3:
        run_git(top, "update-index", "--skip-worktree", "--", os.fsdecode(rng.choice(tracked)))
    directories = [
        path
        for path in sorted(top.rglob("*"))
        if path.is_dir() and not path.is_symlink() and ".git" not in path.parts
    ]
    # One that git takes for a repository of its own is not what is compared.
    own = [path for path in directories if not (path / ".git").exists()]
    return rng.choice([top, *(own if own == directories else [])])


def run_git(directory: Path, *arguments: str, given: bytes = b"") -> bytes:
    """What git prints, asked in a directory with no rules but the tree's own."""
    done = subprocess.run(
        ["git", "-c", f"core.excludesFile={os.devnull}", *arguments],
        check=True,
        cwd=directory,
        env=git_environment(),
        input=given,
        capture_output=True,
    )
    return done.stdout


def git_lines(directory: Path, *arguments: str) -> list[bytes]:
    return [line for line in run_git(directory, *arguments).split(b"\0") if line]


def listed_by_git(directory: Path) -> list[bytes]:
    """What git lists below a directory of a repository, of what is there."""
    listed = git_lines(
        directory, "ls-files", "-z", "--others", "--cached", "--exclude-standard", "--deduplicate"
    )
    top = os.fsencode(directory)
    found = {path for path in listed if path[-1:] != b"/"}
    return sorted(path for path in found if _is_leaf(os.path.join(top, path)))


def _is_leaf(path: bytes) -> bool:
    return os.path.islink(path) or os.path.isfile(path)


def repository_difference(seed: int) -> str:
    """Empty when git and we agree on a directory inside of the repository of this seed."""
    scratch = Path(tempfile.mkdtemp(prefix="tree")).resolve()
    try:
        directory = make_repository(scratch / "top", seed)
        git, ours = set(listed_by_git(directory)), set(our_files(directory))
        if git == ours:
            return ""
        return f"seed {seed}: {directory}: only git {git - ours}, only ours {ours - git}"
    finally:
        shutil.rmtree(scratch)


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    start = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as scratch:
        found = [
            text
            for seed in range(start, start + count)
            if (text := difference(seed, Path(scratch) / "git") or repository_difference(seed))
        ]
    print("\n".join(found[:40]))
    print(f"{count} trees, {len(found)} differences")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
