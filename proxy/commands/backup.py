"""Everything out of a database into one file, and in again, whatever server it runs on.

The file is gzipped JSON lines: a header, one line a document, a trailer with the counts,
without which it is known to be cut.

    {"format": "poe-openai-proxy export", "version": 1, "id": "…", "created_at": "…Z"}
    {"c": "conversations", "d": {"_id": "…", "next": {"$numberLong": "7"}, …}}
    {"c": "messages", "b": "<base64 of BSON>"}
    {"end": {"conversations": 1, "messages": 1}}

`d` is MongoDB's canonical extended JSON v2. `b` stands for a document that extended JSON
cannot hold (a tool's schema with a key `$ref` reads back as something else): every
document is compared with what its line reads back to.
"""

import asyncio
import base64
import gzip
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.json_util import CANONICAL_JSON_OPTIONS, dumps, loads
from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError

FORMAT = "poe-openai-proxy export"
VERSION = 1
CHUNK_BYTES = 1024 * 1024
"""How much is held in memory at a time, beside one document of up to 16 MiB."""
RECORDS = "meta"
"""Where finished imports are noted."""
CONVERSATIONS, PAGES = "conversations", "message_pages"
CHANGED_AT = {
    CONVERSATIONS: "updated_at",
    "message_revisions": "replaced_at",
    "plan_documents": "created_at",
}
"""What says when a document last changed, in the collections that grow with use."""
IDS_AT_ONCE = 500
MARKER = "import_in_progress"
"""The collection that says, while an import runs, which file it is of."""

Counts = dict[str, int]

_READ: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
_JSON = CANONICAL_JSON_OPTIONS.with_options(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO, tz_aware=True
)
_DUPLICATE = 11000


class BackupError(RuntimeError):
    """An export or import that cannot be done; the message is one sentence for the operator."""


async def export_database(database: Any, path: Path, since: datetime | None = None) -> Counts:
    """Write every document of a database to a new file of mode 600; documents per collection.

    With `since` only what changed from then on, of the collections that grow with use.

    The file has its name only when it is complete. On a database in use, each collection
    is read as it is at its turn: stop the server for a copy of one moment.

    Raises:
        BackupError: the file exists already, or cannot be written.
    """
    if await asyncio.to_thread(path.exists):
        raise BackupError(f"{path} exists already: name a new file")
    part = path.with_name(path.name + ".part")
    try:
        file = await asyncio.to_thread(open, part, "wb", opener=_private)
        try:
            with file:
                counts = await _export(database, file, since)
            await asyncio.to_thread(os.replace, part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}") from None
    return counts


async def import_database(database: Any, path: Path) -> Counts:
    """Insert every document of an exported file; documents per collection.

    A whole export needs an empty database, and nothing is overwritten. One of what changed
    `since` a time goes on top of it, and replaces documents by their `_id`. A file that is in
    already is left out. An import that was interrupted is completed by running it again with
    the same file. Indexes are made by the server when it starts.

    Raises:
        BackupError: the file is cut, broken or none of ours, or the database does not suit it.
    """
    header, expected = await asyncio.to_thread(_verify, path)
    record = {"_id": f"import {header['id']}"}
    if await database[RECORDS].find_one(record) is not None:
        return dict.fromkeys(expected, 0)
    is_part = "since" in header
    resumed = await _begin(database, header["id"], is_part=is_part)
    async for chunk in _chunks(path):
        for name in {name for name, _ in chunk}:
            documents = [document for owner, document in chunk if owner == name]
            if is_part:
                await _replace(database[name], documents)
            else:
                await _insert(database[name], documents, resumed=resumed)
    for name, count in expected.items():
        found = await database[name].count_documents({})
        if found < count:
            raise BackupError(f"Only {found} of {count} documents of {name} arrived: import again")
    done = {"$set": {"file_created_at": header["created_at"], "at": datetime.now(UTC)}}
    await database[RECORDS].update_one(record, done, upsert=True)
    await database.drop_collection(MARKER)
    return expected


async def _export(database: Any, file: Any, since: datetime | None) -> Counts:
    header = {
        "format": FORMAT,
        "version": VERSION,
        "id": uuid4().hex,
        "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
    }
    if since is not None:
        header["since"] = since.astimezone(UTC).isoformat().replace("+00:00", "Z")
    changed: list[str] = []
    counts: Counts = {}
    zipped = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=5)
    await asyncio.to_thread(zipped.write, _line(header))
    for name in await _collection_names(database):
        if name == MARKER:
            continue
        counts[name] = 0
        held: list[bytes] = []
        size = 0
        async for document in _documents(database, name, since, changed):
            held.append(bytes(document.raw))
            counts[name] += 1
            size += len(document.raw)
            if size >= CHUNK_BYTES:
                await asyncio.to_thread(_write, zipped, name, held)
                held, size = [], 0
        await asyncio.to_thread(_write, zipped, name, held)
    await asyncio.to_thread(zipped.write, _line({"end": counts}))
    await asyncio.to_thread(_finish, zipped, file)
    return counts


async def _documents(
    database: Any, name: str, since: datetime | None, changed: list[str]
) -> AsyncIterator[RawBSONDocument]:
    """Read a collection, or what changed in it; conversations note themselves in `changed`."""
    collection = database.get_collection(name, codec_options=_RAW)
    if since is None:
        filters: list[dict[str, Any]] = [{}]
    elif name == PAGES:
        # A page has no time of its own: it goes with its conversation, which was read before.
        filters = [
            {"conversation_id": {"$in": changed[start : start + IDS_AT_ONCE]}}
            for start in range(0, len(changed), IDS_AT_ONCE)
        ]
    else:
        filters = [{CHANGED_AT[name]: {"$gte": since}} if name in CHANGED_AT else {}]
    for filter_ in filters:
        async for document in collection.find(filter_):
            if since is not None and name == CONVERSATIONS:
                changed.append(document["_id"])
            yield document


def _write(zipped: gzip.GzipFile, name: str, documents: list[bytes]) -> None:
    for raw in documents:
        zipped.write(_document_line(name, raw))


def _document_line(name: str, raw: bytes) -> bytes:
    document = bson.decode(raw, codec_options=_READ)
    text = dumps({"c": name, "d": document}, json_options=_JSON, ensure_ascii=False)
    try:
        faithful = bson.encode(loads(text, json_options=_JSON)["d"]) == raw
    except (ValueError, TypeError, KeyError, bson.errors.BSONError):
        faithful = False
    if not faithful:
        text = json.dumps({"c": name, "b": base64.b64encode(raw).decode()})
    return text.encode() + b"\n"


def _finish(zipped: gzip.GzipFile, file: Any) -> None:
    zipped.close()
    file.flush()
    os.fsync(file.fileno())


def _verify(path: Path) -> tuple[dict[str, Any], Counts]:
    """Read the whole file once, before anything is written to the database."""
    lines = _lines(path)
    header = _json(path, next(lines, b""))
    if header.get("format") != FORMAT:
        raise BackupError(f"{path} is not an export of this program")
    if header.get("version") != VERSION:
        raise BackupError(f"{path} has version {header.get('version')}, this reads {VERSION}")
    counts: Counts = {}
    for line in lines:
        value = _json(path, line)
        if isinstance(expected := value.get("end"), dict):
            if counts == {name: count for name, count in expected.items() if count}:
                return header, counts
            break
        name = str(value.get("c"))
        counts[name] = counts.get(name, 0) + 1
    raise BackupError(f"{path} is cut off: its last line is missing or counts more than it holds")


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as file:
            yield from file
    except (EOFError, gzip.BadGzipFile):
        raise BackupError(f"{path} is cut off, or is not an export of this program") from None
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror or error}") from None


def _json(path: Path, line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BackupError(f"{path} is not an export of this program")
    return value


async def _begin(database: Any, identity: str, *, is_part: bool) -> bool:
    """Mark the database; true when an import of this very file was interrupted before."""
    marker = await database[MARKER].find_one({})
    if marker is not None:
        if marker["_id"] == identity:
            return True
        raise BackupError(
            "The import of another file was interrupted here: run that one again, "
            "or import into a new database"
        )
    filled = [
        name
        for name in await _collection_names(database)
        if await database[name].find_one({}, {"_id": 1})
    ]
    if is_part and not filled:
        raise BackupError(
            "This file holds only what changed since a time: import the whole export before it"
        )
    if filled and not is_part:
        raise BackupError(
            f"The database has documents in {filled[0]} already: an import needs an empty one"
        )
    await database[MARKER].insert_one({"_id": identity, "started_at": datetime.now(UTC)})
    return False


async def _collection_names(database: Any) -> list[str]:
    """List what holds documents of its own: a view would be written as a collection."""
    names = await database.list_collection_names(filter={"type": "collection"})
    return sorted(name for name in names if not name.startswith("system."))


async def _chunks(path: Path) -> AsyncIterator[list[tuple[str, RawBSONDocument]]]:
    lines = _lines(path)
    await asyncio.to_thread(next, lines, b"")
    while chunk := await asyncio.to_thread(_chunk, path, lines):
        yield chunk


def _chunk(path: Path, lines: Iterator[bytes]) -> list[tuple[str, RawBSONDocument]]:
    chunk: list[tuple[str, RawBSONDocument]] = []
    size = 0
    while size < CHUNK_BYTES and (line := next(lines, b"")):
        try:
            value = loads(line, json_options=_JSON)
            if "end" in value:
                break
            raw = base64.b64decode(value["b"]) if "b" in value else bson.encode(value["d"])
            chunk.append((value["c"], RawBSONDocument(raw)))
        except (ValueError, TypeError, KeyError, bson.errors.BSONError):
            raise BackupError(f"{path} has a line that cannot be read") from None
        size += len(line)
    return chunk


async def _insert(collection: Any, documents: list[RawBSONDocument], *, resumed: bool) -> None:
    try:
        await collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        # What an interrupted import has inserted already is there under the same `_id`.
        details = error.details or {}
        for wrong in details.get("writeErrors", []):
            if not (resumed and wrong.get("code") == _DUPLICATE and _is_own(wrong)):
                raise BackupError(
                    f"A document of {collection.name} was refused (code {wrong.get('code')})"
                ) from None


async def _replace(collection: Any, documents: list[RawBSONDocument]) -> None:
    try:
        await collection.bulk_write(
            [ReplaceOne({"_id": each["_id"]}, each, upsert=True) for each in documents],
            ordered=False,
        )
    except BulkWriteError as error:
        codes = {wrong.get("code") for wrong in (error.details or {}).get("writeErrors", [])}
        raise BackupError(
            f"A document of {collection.name} was refused (code {min(codes, default=None)})"
        ) from None


def _is_own(wrong: Mapping[str, Any]) -> bool:
    return list(wrong.get("keyPattern", {"_id": 1})) == ["_id"]


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
