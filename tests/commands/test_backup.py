"""Out of one database and into another, unharmed."""

import gzip
import json
import stat
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from bson import Decimal128, Int64, ObjectId, Regex, Timestamp
from bson.raw_bson import RawBSONDocument

from proxy.commands.backup import MARKER, BackupError, export_database, import_database
from proxy.database import Database, connect

THINGS: list[dict[str, Any]] = [
    {"_id": "a", "text": '你好，世界 \u2028 \0 \\ " 😀', "empty": "", "none": None},
    {"_id": Int64(70), "small": 7, "large": 2**63 - 1, "int64": Int64(7), "float": 7.0},
    {"_id": ObjectId(), "at": datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)},
    {"_id": 3, "at": datetime(1, 1, 1, tzinfo=UTC), "bytes": b"\x00\xff", "zero": -0.0},
    {"_id": 4, "far": float("inf"), "decimal": Decimal128("1.10"), "stamp": Timestamp(5, 6)},
    {"_id": 5, "messages": [{"id": 1, "content": "x" * 100_000}, {"id": 2, "tags": []}]},
    {"_id": 6, "b": 1, "a": 2, "c": {"z": 1, "y": 2}},
    # A tool's JSON schema: extended JSON takes these keys for its own.
    {"_id": 7, "schema": {"$ref": "#/a", "$id": "b"}, "other": {"$oid": "5" * 24}},
    {"_id": 8, "schema": {"$numberLong": "5"}, "date": {"$date": "2020-01-01T00:00:00Z"}},
    {"_id": 9, "pattern": Regex("a.b", "i"), "end": {"end": 1}, "c": "c", "d": "d"},
]


@pytest.fixture
def wire(new_wire: Database) -> Database:
    """Nothing is there yet."""
    return new_wire


@pytest.fixture
async def other(wire_uri: str) -> AsyncIterator[Database]:
    """A second empty database."""
    name = f"test_{uuid4().hex[:12]}"
    database = connect(wire_uri, name)
    yield database
    await database.client.drop_database(name)
    database.close()


async def raw(database: Database, name: str) -> list[bytes]:
    from bson.codec_options import CodecOptions

    options: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
    collection = database.database.get_collection(name, codec_options=options)
    return sorted([bytes(document.raw) async for document in collection.find({})])


async def filled(database: Database) -> Database:
    await database.database.things.insert_many(THINGS)
    await database.database.counters.insert_one({"_id": "message", "next": Int64(12)})
    return database


async def test_every_byte_of_every_document_comes_back(
    wire: Database, other: Database, tmp_path: Path
) -> None:
    await filled(wire)
    path = tmp_path / "all.jsonl.gz"
    counts = await export_database(wire.database, path)
    assert counts == {"things": len(THINGS), "counters": 1}
    assert await import_database(other.database, path) == counts
    for name in counts:
        assert await raw(other, name) == await raw(wire, name)
    assert sorted(await other.database.list_collection_names()) == ["counters", "meta", "things"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not (tmp_path / "all.jsonl.gz.part").exists()


async def test_a_person_can_read_the_file(wire: Database, tmp_path: Path) -> None:
    await filled(wire)
    await export_database(wire.database, tmp_path / "all.gz")
    lines = gzip.decompress((tmp_path / "all.gz").read_bytes()).splitlines()
    assert json.loads(lines[0])["format"] == "poe-openai-proxy export"
    assert json.loads(lines[1]) == {
        "c": "counters",
        "d": {"_id": "message", "next": {"$numberLong": "12"}},
    }
    assert "你好，世界" in b"".join(lines).decode()
    assert json.loads(lines[-1]) == {"end": {"counters": 1, "things": len(THINGS)}}


async def test_a_large_database_goes_through_in_pieces(
    wire: Database, other: Database, tmp_path: Path
) -> None:
    documents = [{"_id": i, "text": f"{i} " * 50_000} for i in range(60)]
    await wire.database.things.insert_many(documents)
    await export_database(wire.database, tmp_path / "all.gz")
    await import_database(other.database, tmp_path / "all.gz")
    assert await raw(other, "things") == await raw(wire, "things")


async def test_an_empty_database_can_be_moved(
    wire: Database, other: Database, tmp_path: Path
) -> None:
    assert await export_database(wire.database, tmp_path / "all.gz") == {}
    assert await import_database(other.database, tmp_path / "all.gz") == {}


async def test_an_existing_file_is_not_overwritten(wire: Database, tmp_path: Path) -> None:
    path = tmp_path / "all.gz"
    path.write_text("precious")
    with pytest.raises(BackupError, match="exists already"):
        await export_database(wire.database, path)
    assert path.read_text() == "precious"


async def test_a_file_that_cannot_be_written_is_named(wire: Database, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="cannot be written: No such file or directory"):
        await export_database(wire.database, tmp_path / "nowhere" / "all.gz")


async def test_a_database_with_documents_is_not_imported_into(
    wire: Database, other: Database, tmp_path: Path
) -> None:
    await filled(wire)
    await export_database(wire.database, tmp_path / "all.gz")
    await other.database.counters.insert_one({"_id": "message", "next": 1})
    with pytest.raises(BackupError, match="has documents in counters already"):
        await import_database(other.database, tmp_path / "all.gz")
    assert await other.database.counters.find_one() == {"_id": "message", "next": 1}
    assert await other.database.list_collection_names() == ["counters"]


async def test_an_interrupted_import_is_completed_by_the_same_file_only(
    wire: Database, other: Database, tmp_path: Path
) -> None:
    await filled(wire)
    await export_database(wire.database, tmp_path / "all.gz")
    await export_database(wire.database, tmp_path / "second.gz")
    header = json.loads(gzip.decompress((tmp_path / "all.gz").read_bytes()).splitlines()[0])
    # What a process killed in the middle leaves behind, and an edit since.
    await other.database[MARKER].insert_one({"_id": header["id"]})
    await other.database.things.insert_many(THINGS[1:4])
    await other.database.things.insert_one({"_id": "a", "text": "edited"})
    with pytest.raises(BackupError, match="import of another file was interrupted"):
        await import_database(other.database, tmp_path / "second.gz")
    counts = await import_database(other.database, tmp_path / "all.gz")
    assert counts == {"things": len(THINGS), "counters": 1}
    assert await other.database.things.count_documents({}) == len(THINGS)
    assert await other.database.things.find_one({"_id": "a"}) == {"_id": "a", "text": "edited"}
    assert await other.database[MARKER].find_one({}) is None


async def test_a_refused_document_is_not_passed_over(
    wire: Database, other: Database, tmp_path: Path
) -> None:
    await wire.database.things.insert_many([{"_id": 1, "name": "a"}, {"_id": 2, "name": "a"}])
    await export_database(wire.database, tmp_path / "all.gz")
    await other.database.things.create_index("name", unique=True)
    for _ in range(2):
        with pytest.raises(BackupError, match=r"document of things was refused \(code 11000\)"):
            await import_database(other.database, tmp_path / "all.gz")


def without_trailer(data: bytes) -> bytes:
    return gzip.compress(b"".join(gzip.decompress(data).splitlines(keepends=True)[:-1]))


def with_one_line_less(data: bytes) -> bytes:
    lines = gzip.decompress(data).splitlines(keepends=True)
    return gzip.compress(b"".join([lines[0], *lines[2:]]))


def of_another_version(data: bytes) -> bytes:
    return gzip.compress(gzip.decompress(data).replace(b'"version": 1', b'"version": 2'))


def with_a_broken_line(data: bytes) -> bytes:
    return gzip.compress(gzip.decompress(data).replace(b'"counters"', b'"counters', 1))


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (without_trailer, "is cut off"),
        (with_one_line_less, "is cut off"),
        (of_another_version, "has version 2, this reads 1"),
        (with_a_broken_line, "is not an export of this program"),
        (lambda data: data[: len(data) // 2], "is cut off"),
        (lambda data: b"", "is not an export"),
        (lambda data: b"text", "is not an export"),
        (lambda data: gzip.compress(b'{"a": 1}\n'), "is not an export"),
        (lambda data: gzip.compress(b"[]\n"), "is not an export"),
    ],
)
async def test_a_harmed_file_changes_nothing(
    wire: Database, other: Database, tmp_path: Path, harm: Callable[[bytes], bytes], sentence: str
) -> None:
    await filled(wire)
    path = tmp_path / "all.gz"
    await export_database(wire.database, path)
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(BackupError, match=sentence):
        await import_database(other.database, path)
    assert await other.database.list_collection_names() == []


async def test_a_missing_file_is_named(wire: Database, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"none\.gz cannot be read: No such file"):
        await import_database(wire.database, tmp_path / "none.gz")


async def test_a_view_is_not_exported(wire: Database, tmp_path: Path) -> None:
    """It would come back as a collection, which nobody fills."""
    await wire.prepare()
    assert "messages" in await wire.database.list_collection_names()
    counts = await export_database(wire.database, tmp_path / "backup.gz")
    assert "messages" not in counts
    assert "conversations" in counts
