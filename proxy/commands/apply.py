"""`proxy apply FILE --root DIR`: the changes that a model's reply describes, carried out here."""

import argparse
import sys
from pathlib import Path

from proxy.errors import BadRequest
from proxy.plans.diff import unified_diff
from proxy.settings import Settings
from proxy.source_code.edit_paths import EditError
from proxy.source_code.edit_tree import TreeLimits
from proxy.source_code.edits import EditOptions, Edits, Event


def add_apply_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    sub = commands.add_parser("apply", help="write a model's reply into a directory's files")
    sub.add_argument("file", help="the reply; - reads standard input")
    sub.add_argument("--root", type=Path, required=True, metavar="DIR", help="what may be changed")
    sub.add_argument("--dry-run", action="store_true", help="print a diff and change nothing")
    sub.add_argument(
        "--no-backup",
        dest="keep_backups",
        action="store_false",
        help="keep nothing of what is replaced or deleted",
    )
    sub.set_defaults(command=apply_reply)


def apply_reply(settings: Settings, arguments: argparse.Namespace) -> int:
    """Carry out a reply; 0 when every step was done, 1 when not."""
    root = arguments.root.resolve()
    options = EditOptions(
        data_dir=settings.data_dir.resolve(),
        limits=TreeLimits(
            settings.source_write_file_bytes, settings.source_entries, settings.source_depth
        ),
        diff=unified_diff,
        dry_run=arguments.dry_run,
        keep_backups=arguments.keep_backups,
        backup_days=settings.source_backup_days,
        redact=False,
        caller="command line",
    )
    try:
        edits = Edits(root, _read(arguments.file), options)
    except EditError as error:
        raise BadRequest(str(error)) from None
    is_done = True
    for event in edits.run():
        _print(event)
        is_done = is_done and event["type"] != "error"
    return 0 if is_done else 1


def _read(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise BadRequest(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadRequest(f"{file} is not UTF-8") from None


def _print(event: Event) -> None:
    """Print a diff to standard output, so that it can be piped, and the rest beside it."""
    if event["type"] == "progress":
        return
    sys.stdout.write(event["data"].get("diff", ""))
    sys.stdout.flush()
    print(f"{event['type']}: {event['message']}", file=sys.stderr)
