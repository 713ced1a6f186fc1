"""Whether what a test left in its database is what the documents' types say."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from proxy.database import DOCUMENTS, Database
from proxy.documents.base import Raw, Stored
from proxy.documents.json_schema import json_schema


def collection_name(document: type[Stored]) -> str:
    """Where a document lies, known also while no database is bound."""
    settings: Any = vars(document)["Settings"]
    return str(settings.name)


@cache
def _wrong() -> dict[str, Raw]:
    """Collection → the filter that finds what has not the type that it says."""
    return {
        collection_name(document): {"$nor": [{"$jsonSchema": json_schema(document)}]}
        for document in DOCUMENTS
    }


async def documents_of_wrong_type(
    database: Database, names: Iterable[str] | None = None
) -> list[Raw]:
    """Documents that their collection's `$jsonSchema` would log a warning for; of all, or some."""
    found: list[Raw] = []
    if names is None:
        names = await database.database.list_collection_names()
    for name in names:
        if filter_ := _wrong().get(name):
            found += [raw async for raw in database.database[name].find(filter_).limit(3)]
    return found
