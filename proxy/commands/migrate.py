"""`proxy migrate`: rewrite now what a server would rewrite in the background."""

import argparse
import asyncio

from proxy.commands.connect import beside, opened
from proxy.documents.schema_version import (
    VERSION,
    check_version,
    migrate,
    pending_migrations,
    record_version,
)
from proxy.settings import Settings


def add_migrate_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    sub = commands.add_parser("migrate", help="rewrite what an upgrade changed, without a server")
    sub.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 when something is pending"
    )
    sub.set_defaults(command=migrate_database)


def migrate_database(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print what is pending, and do it unless it is a check."""

    async def run() -> int:
        async with beside(settings) as found, opened(found) as database:
            await check_version(database.database)
            pending = await pending_migrations(database.database)
            for name, count in pending.items():
                print(f"{count:>10} documents: {name}")
            if not pending:
                print(f"Nothing to do: the database is of version {VERSION}")
            if arguments.check:
                return 1 if pending else 0
            changed = await migrate(database.database)
            await record_version(database.database)
            if pending:
                print(f"{changed:>10} documents changed")
            return 0

    return asyncio.run(run())
