"""Which version of this program's data a database holds, and changes that rewrite it.

A version reads what the one before and the one after it write, so that servers can be
restarted one after the other. A change that needs documents rewritten is a `Migration`: it
runs in the background by `_id`, remembers how far it came, and may run on two servers at once.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.errors import PyMongoError

from proxy.documents.base import Raw, Stored, utc_now
from proxy.settings import SettingsError

log = logging.getLogger(__name__)

VERSION = 1
"""Of the data that this program writes."""

MIN_READER = 1
"""The lowest version of a program that can read what this one writes."""

BATCH = 100


class Meta(Stored):
    """`{"_id": "schema", "version": 1, "min_reader": 1}`, and how far each migration came.

    `{"_id": "migration 2 split names", "after": <the last _id that was looked at>}`; once it is
    through, `done_at` as well.
    """

    id: str  # type: ignore[assignment]

    class Settings:
        """Where it is kept."""

        name = "meta"


async def check_version(database: Any) -> None:
    """Refuse a database that a newer program has changed beyond this one's understanding.

    Raises:
        SettingsError: it has.
    """
    schema = await database["meta"].find_one({"_id": "schema"})
    needed = schema.get("min_reader", 0) if schema is not None else 0
    if needed > VERSION:
        raise SettingsError(
            f"The database holds data of version {schema['version']}, which this version of the "
            f"program (it reads up to {VERSION}) cannot read: install a newer version, or import "
            "a backup made before the upgrade into a new database"
        )


async def record_version(database: Any) -> None:
    """Say which version writes here from now on; never lower than what is there."""
    await database["meta"].update_one(
        {"_id": "schema"}, {"$max": {"version": VERSION, "min_reader": MIN_READER}}, upsert=True
    )


@dataclass(frozen=True, slots=True)
class Migration:
    """A change to the documents of one collection.

    `pending` is a filter of those that still need it; `update` makes the update of one. It must be
    right to apply it while other servers read and write the document.
    """

    name: str
    """Begins with the version that brought it: `2 split names`."""
    collection: str
    pending: Raw
    update: Callable[[Raw], Raw]

    @property
    def id(self) -> str:
        """The `_id` of its progress."""
        return f"migration {self.name}"


MIGRATIONS: tuple[Migration, ...] = ()
"""Every change since version 1, oldest first."""


async def pending_migrations(
    database: Any, migrations: Sequence[Migration] = MIGRATIONS
) -> dict[str, int]:
    """Return the documents that each migration has still to look at; empty when all are through."""
    found = {}
    for migration in migrations:
        progress = await database["meta"].find_one({"_id": migration.id}) or {}
        if "done_at" not in progress:
            filter_ = _remaining(migration, progress)
            found[migration.name] = await database[migration.collection].count_documents(filter_)
    return found


async def migrate(database: Any, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Run what is pending to its end, from where it was left; how many documents changed."""
    changed = 0
    meta = database["meta"]
    for migration in migrations:
        progress = await meta.find_one({"_id": migration.id}) or {}
        collection = database[migration.collection]
        while "done_at" not in progress:
            found = collection.find(_remaining(migration, progress)).sort("_id", 1).limit(BATCH)
            batch = [raw async for raw in found]
            for raw in batch:
                # One that changed meanwhile, or that another server was faster with, stays.
                filter_ = {**migration.pending, "_id": raw["_id"]}
                result = await collection.update_one(filter_, migration.update(raw))
                changed += result.modified_count
            progress = {"after": batch[-1]["_id"]} if batch else {"done_at": utc_now()}
            await meta.update_one({"_id": migration.id}, {"$set": progress}, upsert=True)
        log.info("migration %s is through", migration.name)
    return changed


async def migrate_in_background(database: Any) -> None:
    """Run what is pending; what a silent database interrupts goes on at the next start."""
    try:
        await migrate(database)
    except PyMongoError as error:
        log.warning("migrations go on at the next start: %s", type(error).__name__)


def _remaining(migration: Migration, progress: Raw) -> Raw:
    after = {"_id": {"$gt": progress["after"]}} if "after" in progress else {}
    return {**migration.pending, **after}
