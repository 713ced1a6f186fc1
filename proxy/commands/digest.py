"""`proxy digest DIR`: a directory as one text on standard output.

The tree with its token counts goes to standard error, so that
`proxy digest . | xclip` (or `pbcopy`, `clip`) copies the text alone.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from proxy.errors import ProxyError
from proxy.source_code.base import Deadline, DigestLimits, DigestOptions, Skipped
from proxy.source_code.digest import digest
from proxy.source_code.formats import draw_tree
from proxy.source_code.result import Digest
from proxy.source_code.source_file import SourceFile
from proxy.source_code.walk import walk
from proxy.tokenizer.tokens import TokenizerDied, tokenizer

_GIB = 1024**3
_WRITE_BYTES = 256 * 1024
_REDRAW_SECONDS = 0.1
_SHOWN_SKIPPED = 20


def run_digest_command(args: Sequence[str]) -> int:
    """Run the command; 0 when a text was written, 1 when it could not, 2 for wrong arguments."""
    arguments = _parser().parse_args(args)
    root = Path(arguments.directory).resolve()
    options = DigestOptions(
        format=arguments.format,
        include=tuple(arguments.include),
        exclude=tuple(arguments.exclude),
        max_tokens=arguments.max_tokens,
        tree=arguments.tree,
        lines=arguments.lines,
        redact=arguments.redact,
    )
    limits = DigestLimits(digest_bytes=arguments.max_bytes, seconds=24 * 3600)
    try:
        made = _make(root, options, limits)
    except ProxyError as error:
        print(f"proxy digest: {error.detail}", file=sys.stderr)
        return 1
    except TokenizerDied:
        print("proxy digest: the process that counts tokens ended early", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever reads has seen enough, as in `proxy digest . | head`.
        return 1
    except OSError as error:
        print(f"proxy digest: the text cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    if not arguments.quiet:
        sys.stderr.write(_report(made))
    return 0


def _make(root: Path, options: DigestOptions, limits: DigestLimits) -> Digest:
    """Write the text, with a bar beside it on a terminal."""
    progress = _Progress() if sys.stderr.isatty() else None
    # Half of a short run is the tokenizer's start, beside which the files are read.
    tokenizer.start()
    # A writer of our own, since Python's may be unbuffered. The context is left when all
    # is written: a disk that is full must not go unnoticed.
    with open(sys.stdout.fileno(), "wb", _WRITE_BYTES, closefd=False) as out:
        try:
            if progress:
                progress.expect(walk(root, options, limits, Deadline(limits.seconds)))
            made = digest(
                *(root, options, limits),
                progress=progress.show if progress else None,
                # The bar and the text on one terminal would run through each other.
                write=None if progress and sys.stdout.isatty() else out.write,
                manifest=False,
            )
        finally:
            if progress:
                progress.clear()
        out.writelines(made.pieces)
    return made


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="proxy digest", description=__doc__)
    parser.add_argument("directory", nargs="?", default=".")
    parser.add_argument("--format", choices=("plain", "markdown", "xml", "json"), default="plain")
    parser.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only files that a gitignore-style pattern names; repeatable",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out what a gitignore-style pattern names; repeatable",
    )
    parser.add_argument("--max-tokens", type=_positive, help="whole files up to so many tokens")
    parser.add_argument(
        "--tree", choices=("none", "top", "only"), default="none", help="the tree in the text"
    )
    parser.add_argument("--lines", action="store_true", help="number the lines")
    parser.add_argument(
        "--no-redact", dest="redact", action="store_false", help="leave secrets in the text"
    )
    parser.add_argument("--max-bytes", type=_positive, default=_GIB, help="refuse a longer text")
    parser.add_argument("--quiet", "-q", action="store_true", help="no tree on standard error")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _report(made: Digest) -> str:
    tokens = {file.path: file.tokens for file in made.files}
    lines = [draw_tree(tokens, tokens), "\n"]
    lines += [f"skipped {item.path}: {item.reason}\n" for item in made.skipped[:_SHOWN_SKIPPED]]
    if len(made.skipped) > _SHOWN_SKIPPED:
        lines.append(f"… and {len(made.skipped) - _SHOWN_SKIPPED} more\n")
    taken = sum(made.redactions.values())
    lines.append(
        f"{len(made.files):,} files, {made.total_bytes:,} bytes, {made.total_tokens:,} tokens "
        f"({made.tokenizer}){f', {taken:,} secrets redacted' if taken else ''}\n"
    )
    return "".join(lines)


class _Progress:
    """A bar on a terminal, redrawn ten times a second."""

    def __init__(self) -> None:
        self._drawn = 0.0
        self._expected = 0
        self._width = max(0, min(30, shutil.get_terminal_size().columns - 50))

    def expect(self, found: Iterable[SourceFile | Skipped]) -> None:
        """Count the files first: looking is quick beside reading."""
        files = 0
        for item in found:
            if isinstance(item, SourceFile):
                files += 1
                self._draw(f"looking: {files:,} files")
        self._expected = files
        self._drawn = 0.0

    def show(self, files: int, size_bytes: int) -> None:
        done = min(files / max(self._expected, 1), 1)
        bar = ("#" * round(done * self._width)).ljust(self._width, ".")
        self._draw(
            f"[{bar}] {done:4.0%} {files:,} of {self._expected:,} files, {size_bytes / 1e6:,.1f} MB"
        )

    def clear(self) -> None:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()

    def _draw(self, line: str) -> None:
        now = time.monotonic()
        if now - self._drawn >= _REDRAW_SECONDS:
            self._drawn = now
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(run_digest_command(sys.argv[1:]))
