"""What the embedded database server does otherwise than MongoDB, and how this program answers it.

`tests/documents/test_embedded_server.py` shows each on the server itself. Where a newer server
fails one of those tests, the answer here is not needed any more.

- An index is used only where it covers the whole filter: `NARROW_INDEXES`.
- An index that begins with the field is not used for several values of it beside a second
  field: `find_by_values`.
- The document as it was before an update may be older than that update: `CERTAIN_IMAGE`.
- Of many upserts of one missing document, some answer with nothing: counters are made when the
  server starts (`Counter.create_missing`).
- `$all` finds nothing in a field of array elements: `all_of`.
- `$elemMatch` is refused in the filter of an update: an element is named by its `attempt` alone.
- A pattern is refused above a length, and no pattern uses an index: `PATTERN_BYTES`.
- `collMod` of a view answers that it did, and does nothing: `redefine_view`. (An insert into a
  view does the same; this program makes none.)
- A unique index keeps the key that a document had before an update, also when the document is
  gone: no other can be inserted with it until `forget_old_keys`.
- `dbStats` knows nothing of the files: `Database.description` leaves the size out.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from pymongo import ASCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError, OperationFailure

PATTERN_BYTES = 1000
"""The longest regular expression that is taken."""

CERTAIN_IMAGE = ReturnDocument.AFTER
"""Which image of a document an atomic update may be asked for."""

MEANWHILE = "_meanwhile_"
"""What stands in the name of an index that takes the place of another one for a moment."""

_INDEX = re.compile(r"index: ([\w.]+)")
"""The name of an index in the sentence of a duplicate key."""


def _index(name: str, *fields: str) -> IndexModel:
    return IndexModel([(field, ASCENDING) for field in fields], name=name)


def _of_owner() -> IndexModel:
    return _index("id_of_owner", "_id", "owner")


def _of_elements() -> list[IndexModel]:
    return [
        _index("id_and_worker", "_id", "messages.worker"),
        _index("id_and_changes", "_id", "changes"),
    ]


NARROW_INDEXES: dict[str, list[IndexModel]] = {
    "answered_digests": [_of_owner()],
    "api_keys": [_of_owner()],
    "conversations": [
        # It covers `_id` and `owner` alone, too.
        _index("id_of_owner_and_last_paged", "_id", "owner", "last_paged_id"),
        _index("id_and_appends", "_id", "appends"),
        # It covers `_id` and the attempt alone, too.
        _index("id_and_attempt_and_last_paged", "_id", "messages.attempt", "last_paged_id"),
        *_of_elements(),
    ],
    "message_pages": [
        _of_owner(),
        _index("id_and_attempt", "_id", "messages.attempt"),
        *_of_elements(),
    ],
    "message_revisions": [_of_owner()],
    "plan_categories": [_of_owner()],
    "plan_documents": [_of_owner()],
    "plan_drafts": [_of_owner(), _index("id_and_status", "_id", "status")],
    "plan_files": [_of_owner()],
    "project_references": [_of_owner()],
    "projects": [_of_owner()],
    "responses": [_of_owner()],
    "source_manifests": [_of_owner()],
    "usage": [_of_owner()],
    "users": [_of_owner()],
}
"""Indexes that MongoDB does not need, by collection: one for each filter of a single document."""

FORMER_INDEXES = {"conversations": ("id_and_attempt",)}
"""What earlier versions created and nothing uses any more: each write would keep them up."""


async def is_embedded(database: Any) -> bool:
    """Tell whether a database is one of the embedded server."""
    return bool((await database.command("hello")).get("setName") == "secantus")


async def create_narrow_indexes(database: Any) -> None:
    """Create `NARROW_INDEXES`, and drop `FORMER_INDEXES`; others that are there stay."""
    for name, indexes in NARROW_INDEXES.items():
        await database[name].create_indexes(indexes)
    for name, formers in FORMER_INDEXES.items():
        for former in formers:
            with suppress(OperationFailure):  # it is not there
                await database[name].drop_index(former)


async def find_by_values(
    collection: Any,
    owner: str,
    field: str,
    values: Sequence[Any],
    projection: Mapping[str, Any] | None,
) -> list[Any]:
    """`find` by values of one field, which alone is asked for; the owner is compared after."""
    fields = {**projection, "owner": 1} if projection else None
    filter_ = {field: values[0] if len(values) == 1 else {"$in": list(values)}}
    return [raw async for raw in collection.find(filter_, fields) if raw["owner"] == owner]


def all_of(field: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return a filter for documents whose array `field` has all the values."""
    return {"$and": [{field: value} for value in values]}


async def forget_old_keys(
    collection: Any, document: Mapping[str, Any], error: DuplicateKeyError
) -> bool:
    """Make the index anew that refused a document whose key no other one has; whether it did.

    Another one stands in for it meanwhile, so that no two documents get one key: one of its own
    for each call, because two workers may do this at the same moment.
    """
    named = _INDEX.search(str(error))
    if named is None or not await is_embedded(collection.database):
        return False
    refusing = named[1]
    index = (await collection.index_information()).get(refusing)
    if index is None:
        return True  # another worker has dropped it
    fields = [field for field, _ in index["key"]]
    if not document.keys() >= set(fields):
        return False
    if await collection.find_one({field: document[field] for field in fields}, {"_id": 1}):
        return False
    options = {"unique": True, "sparse": index.get("sparse", False)}
    # What a worker that was killed here left refuses, too, and is only dropped.
    name = refusing.partition(MEANWHILE)[0]
    own = f"{name}{MEANWHILE}{uuid4().hex}"
    for made, dropped in ((own, refusing), (name, own)):
        await collection.create_index(index["key"], name=made, **options)
        with suppress(OperationFailure):  # another worker dropped it
            await collection.drop_index(dropped)
    return True


async def redefine_view(database: Any, name: str, definition: Mapping[str, Any]) -> None:
    """Make a view anew: for an instant there is none."""
    await database.command("drop", name)
    await database.command({"create": name, **definition})
