"""Whether what a test left in its database is what the documents' types say."""

from collections.abc import AsyncIterator, Iterable
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
    if names is None:
        names = await database.database.list_collection_names()
    wrong = _wrong()
    stages: dict[str, list[Raw]] = {
        name: [{"$match": wrong[name]}, {"$limit": 3}] for name in sorted(wrong.keys() & names)
    }
    return [raw async for raw in rows_of_all(database, stages)]


async def rows_of_all(database: Database, stages: dict[str, list[Raw]]) -> AsyncIterator[Raw]:
    """Yield what a pipeline gives for each of several collections, by one command."""
    for first, pipeline in list(stages.items())[:1]:
        others = [
            {"$unionWith": {"coll": name, "pipeline": stages[name]}} for name in list(stages)[1:]
        ]
        async for row in database.database[first].aggregate([*pipeline, *others]):
            yield row
