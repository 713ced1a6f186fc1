"""Whether what a test left in its database is what the documents' types say."""

from typing import Any

from proxy.database import DOCUMENTS, Database
from proxy.documents.base import Raw, Stored
from proxy.documents.json_schema import json_schema


def collection_name(document: type[Stored]) -> str:
    """Where a document lies, known also while no database is bound."""
    settings: Any = vars(document)["Settings"]
    return str(settings.name)


async def documents_of_wrong_type(database: Database) -> list[Raw]:
    """Documents that their collection's `$jsonSchema` would log a warning for."""
    found: list[Raw] = []
    names = await database.database.list_collection_names()
    for document in DOCUMENTS:
        name = collection_name(document)
        if name in names:
            filter_ = {"$nor": [{"$jsonSchema": json_schema(document)}]}
            found += [raw async for raw in database.database[name].find(filter_).limit(3)]
    return found
