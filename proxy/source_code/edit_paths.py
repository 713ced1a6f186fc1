"""Which paths a model may name, and why a change to one failed."""

import errno
import re
import unicodedata
from pathlib import Path

_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_LINE_ENDS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

PROBLEMS = {
    errno.EACCES: "The server has no permission to change it",
    errno.EPERM: "The server has no permission to change it",
    errno.EROFS: "The file system is read-only",
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "The disk quota is used up",
    errno.ENAMETOOLONG: "The name is too long for the file system",
    errno.ENOTDIR: "A part of the path is a file or a link, not a directory",
    errno.ELOOP: "A part of the path is a link, which is not followed",
    errno.EMFILE: "The server has too many files open; try again",
    errno.EISDIR: "It is a directory",
}


class EditError(Exception):
    """A change that was not made; the message is one sentence."""


def split_path(path: str, root: Path, max_depth: int) -> tuple[str, ...]:
    """Split a path below the root into its names.

    Raises:
        EditError: it leads elsewhere, into a repository's own files, or is no plain name.
    """
    text = path.replace("\\", "/")
    prefix = str(root).rstrip("/") + "/"
    if text.startswith(prefix):
        text = text[len(prefix) :]
    elif text.startswith("/") or re.match("[A-Za-z]:", text):
        raise EditError("The path lies outside of the project's directory; use a relative one")
    parts = tuple(part for part in text.split("/") if part not in ("", "."))
    if not parts:
        raise EditError("The path names the project's directory itself")
    if len(parts) > max_depth:
        raise EditError(f"The path is deeper than {max_depth} directories")
    for part in parts:
        _check_name(part)
    return parts


def problem_of(error: OSError) -> str:
    """Say in one sentence why the system refused a change."""
    return PROBLEMS.get(error.errno or 0, "The file system refused the change")


def _check_name(name: str) -> None:
    if name == "..":
        raise EditError("The path must not contain '..'")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise EditError("The path is not valid Unicode") from None
    if _LINE_ENDS.search(name):
        raise EditError("The path holds control characters")
    if name != name.strip():
        raise EditError("A name in the path begins or ends with a space")
    if is_git_name(name):
        raise EditError("The files of a git repository itself are never written to")


def is_git_name(name: str) -> bool:
    """Whether some file system takes a name for `.git`.

    Without case (macOS, Windows), with characters that macOS ignores, with dots and spaces at
    the end or as a stream (Windows), or as Windows shortens it.
    """
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", name)).casefold()
    return plain.partition(":")[0].rstrip(". ") in (".git", "git~1")
