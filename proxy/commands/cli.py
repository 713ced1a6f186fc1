"""The `proxy` command: serve, and what an operator does beside it."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from proxy import __version__
from proxy.commands.admin import add_admin_commands
from proxy.commands.apply import add_apply_command
from proxy.commands.arguments import moment
from proxy.commands.backup import BackupError, Counts, export_database, import_database
from proxy.commands.connect import beside, opened
from proxy.commands.migrate import add_migrate_command
from proxy.commands.providers import add_providers_command
from proxy.commands.search import add_search_command
from proxy.embedded import EmbeddedError
from proxy.errors import ProxyError
from proxy.settings import Settings, SettingsError, load_settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 2 for a wrong setting or argument."""
    arguments = _parser().parse_args(argv)
    try:
        settings = load_settings()
        command: Callable[[Settings, argparse.Namespace], int] = arguments.command
        if arguments.run is not None:
            command = administer
        code = command(settings, arguments)
        sys.stdout.flush()
        return code
    except (SettingsError, EmbeddedError) as error:
        print(f"proxy: {error}", file=sys.stderr)
        return 2
    except (BackupError, ProxyError) as error:
        print(f"proxy: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # `proxy keys list | head` has read enough; the rest is not flushed at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except PyMongoError as error:
        print(f"proxy: {_database_failure(error)}", file=sys.stderr)
        return 1


def _database_failure(error: PyMongoError) -> str:
    """One sentence; the error's own text may hold addresses and names."""
    if isinstance(error, ConnectionFailure):
        return "The database does not answer: start it, or correct PROXY_MONGODB_URI"
    if isinstance(error, OperationFailure) and error.code in (13, 18, 8000):
        return "The database refuses the user or password in PROXY_MONGODB_URI"
    return f"The database does not work as expected ({type(error).__name__})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="proxy", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(command=serve, workers=None, run=None)
    commands = parser.add_subparsers(metavar="COMMAND")
    sub = commands.add_parser("serve", help="start the server (the default)")
    sub.add_argument("--workers", type=int, help="worker processes (PROXY_WORKERS)")
    sub.set_defaults(command=serve)
    # Only for the list of commands: `__main__` runs it before anything here is imported.
    commands.add_parser("digest", help="print a directory's source as one text")
    sub = commands.add_parser("export", help="write the whole database to one file")
    sub.add_argument("file", type=Path)
    sub.add_argument(
        "--since",
        type=moment,
        metavar="TIME",
        help="only what changed from then on (2026-11-25T03:30:00Z), to import on top of the rest",
    )
    sub.set_defaults(command=export_to)
    sub = commands.add_parser("import", help="read such a file into a database")
    sub.add_argument("file", type=Path)
    sub.set_defaults(command=import_from)
    add_migrate_command(commands)
    add_apply_command(commands)
    add_search_command(commands)
    add_admin_commands(commands)
    add_providers_command(commands)
    return parser


def serve(settings: Settings, arguments: argparse.Namespace) -> int:
    """Start the server; its import takes as long as all others, which no other command needs."""
    from proxy.commands.serve import serve  # noqa: PLC0415

    return serve(settings, arguments)


def administer(settings: Settings, arguments: argparse.Namespace) -> int:
    """Run a command on what is stored, beside a running server or without one."""

    async def run() -> int:
        async with beside(settings) as found, opened(found) as database:
            await database.prepare()
            return int(await arguments.run(arguments))

    return asyncio.run(run())


# Moving everything


def export_to(settings: Settings, arguments: argparse.Namespace) -> int:
    """Write every document to one file, to move to another database or version of one."""
    work = partial(export_database, since=arguments.since)
    _print_counts("exported", _with_database(settings, work, arguments.file))
    return 0


def import_from(settings: Settings, arguments: argparse.Namespace) -> int:
    """Read such a file into an empty database, or one of changes on top of it."""
    _print_counts("imported", _with_database(settings, import_database, arguments.file))
    return 0


def _with_database(
    settings: Settings, work: Callable[[Any, Path], Awaitable[Counts]], file: Path
) -> Counts:
    async def run() -> Counts:
        async with beside(settings) as found, opened(found) as database:
            return await work(database.database, file)

    return asyncio.run(run())


def _print_counts(done: str, counts: Counts) -> None:
    for name, count in sorted(counts.items()):
        print(f"{count:>10} {name}")
    print(f"{sum(counts.values()):>10} documents {done}")


if __name__ == "__main__":
    sys.exit(main())
