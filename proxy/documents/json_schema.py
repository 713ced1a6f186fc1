"""What a collection holds, as MongoDB's `$jsonSchema`: documentation that Compass shows.

It is generated from the document's types and set with `validationLevel: "moderate"` and
`validationAction: "warn"`: a write never fails for it, not that of an older version either.
"""

import logging
from collections.abc import Iterable
from typing import Any

from pymongo.errors import OperationFailure

from proxy.documents.base import Raw, Stored

log = logging.getLogger(__name__)

TITLE = "poe-openai-proxy"
"""What marks a schema as ours; an operator's own is left alone."""

BSON_TYPES: dict[str, str | list[str]] = {
    "string": "string",
    "integer": ["int", "long"],
    "number": ["int", "long", "double", "decimal"],
    "boolean": "bool",
    "null": "null",
    "date-time": "date",
    "^[0-9a-f]{24}$": "objectId",
}
"""A type, format or pattern of JSON Schema, as pydantic and beanie write them, to BSON's."""


def json_schema(document: type[Stored]) -> Raw:
    """Return the schema of a document as it lies in Mongo."""
    schema = document.model_json_schema(by_alias=True)
    bson = _bson(schema, schema.get("$defs", {}))
    bson["properties"].pop("revision_id", None)
    # Only what every write brings: fields with a default are absent from older documents.
    bson["required"] = sorted({"_id", *bson.get("required", ())})
    summary = (document.__doc__ or "").strip().splitlines()[0]
    return {"title": TITLE, "description": summary, **bson}


async def describe_collections(database: Any, documents: Iterable[type[Stored]]) -> None:
    """Set the schema of each collection that has another one of ours, or none."""
    try:
        listed = await database.command("listCollections", filter={"type": "collection"})
        options = {found["name"]: found["options"] for found in listed["cursor"]["firstBatch"]}
        for document in documents:
            name = document.get_collection_name()
            validator = {"$jsonSchema": json_schema(document)}
            present = options.get(name, {}).get("validator", {})
            if name not in options or present == validator or _is_foreign(present):
                continue
            await database.command(
                "collMod",
                name,
                validator=validator,
                validationLevel="moderate",
                validationAction="warn",
            )
    except OperationFailure as error:
        # Nothing depends on it: the right may be missing, or the server may not know it.
        log.info("collections are not described (code %s)", error.code)


def _is_foreign(validator: Raw) -> bool:
    return bool(validator) and validator.get("$jsonSchema", {}).get("title") != TITLE


def _bson(schema: Raw, definitions: Raw) -> Raw:
    """Translate JSON Schema, as pydantic writes it, to what `$jsonSchema` takes."""
    if "$ref" in schema:
        return _bson(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "enum" in schema or "const" in schema:
        return {"enum": schema.get("enum", [schema.get("const")])}
    if "anyOf" in schema:
        return _any_of([_bson(each, definitions) for each in schema["anyOf"]])
    kind = schema.get("type")
    if kind == "object":
        return _object(schema, definitions)
    if kind == "array":
        return {"bsonType": "array", "items": _bson(schema.get("items", {}), definitions)}
    name = schema.get("format") or schema.get("pattern") or kind
    return {"bsonType": BSON_TYPES[name]} if name in BSON_TYPES else {}


def _object(schema: Raw, definitions: Raw) -> Raw:
    bson: Raw = {"bsonType": "object"}
    if "properties" in schema:
        bson["properties"] = {
            name: _bson(each, definitions) for name, each in schema["properties"].items()
        }
    if schema.get("required"):
        bson["required"] = list(schema["required"])
    if isinstance(values := schema.get("additionalProperties"), dict):
        bson["additionalProperties"] = _bson(values, definitions)
    return bson


def _any_of(branches: list[Raw]) -> Raw:
    """`anyOf`, as one list of types where the branches say nothing else."""
    if all(set(branch) == {"bsonType"} for branch in branches):
        types: list[str] = []
        for branch in branches:
            kind = branch["bsonType"]
            types += [kind] if isinstance(kind, str) else kind
        return {"bsonType": list(dict.fromkeys(types))}
    return {"anyOf": branches}
