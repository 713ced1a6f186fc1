"""Plan documents: every write is a new version, no version is ever overwritten.

The unique index on (owner, project, category, filename, version) is what makes a version
number belong to one document; `PlanFile` hands the numbers out and names the newest.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal, NotRequired, TypedDict, cast

from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError, PyMongoError

from proxy.documents.base import Owned, Raw, utc_now
from proxy.documents.counter import Counter
from proxy.documents.plan_file import (
    DocumentNotFound,
    PlanFile,
    PlanFileName,
    StoredPlanFile,
    file_of,
)
from proxy.errors import TooLarge

Source = Literal["user", "server", "chat"]
"""Who wrote a version."""

BATCH_DOCUMENTS = 8
"""Versions with their content that a list holds in memory at once."""

COPIED = ("content", "source", "related_log_id", "provenance", "created_at")
"""What a copy of a version keeps."""

ABANDONED = timedelta(hours=1)
"""A version that was taken this long ago and is not there will not come any more."""


class Provenance(TypedDict, total=False):
    """What a document was made of that a model wrote; the two lists lie side by side."""

    conversation_id: str
    message_ids: list[int]
    document_ids: list[int]
    message_revisions: list[int]
    category_id: int
    omits_older_messages: bool
    model: str
    provider: str
    status: str


class StoredPlanDocument(TypedDict):
    """A `PlanDocument` as it lies in Mongo."""

    _id: int
    owner: str
    project_id: int
    category_id: int
    filename: str
    content: str
    version: int
    source: Source
    related_log_id: NotRequired[int]
    provenance: NotRequired[Provenance]
    size_bytes: int
    created_at: datetime


class PlanDocument(Owned[StoredPlanDocument]):
    """One version of a file: `{"_id": 41, "filename": "方案.md", "version": 3, "content": "…"}`.

    `provenance` is there when a model wrote it: `{"conversation_id", "message_ids",
    "message_revisions", "category_id", "model"}`, the two lists side by side.
    """

    NOT_FOUND = DocumentNotFound

    id: int  # type: ignore[assignment]
    project_id: int
    category_id: int
    filename: str
    content: str
    version: int
    source: Source = "user"
    related_log_id: int | None = None
    provenance: dict[str, Any] | None = None
    size_bytes: int = 0
    """Of the content in UTF-8."""
    created_at: datetime = Field(default_factory=utc_now)

    class Settings:
        """Where it is kept and what finds it."""

        name = "plan_documents"
        indexes: ClassVar = [
            IndexModel(
                [
                    ("owner", ASCENDING),
                    ("project_id", ASCENDING),
                    ("category_id", ASCENDING),
                    ("filename", ASCENDING),
                    ("version", DESCENDING),
                ],
                name="version",
                unique=True,
            ),
            IndexModel(
                [("owner", ASCENDING), ("project_id", ASCENDING), ("created_at", DESCENDING)],
                name="newest_of_project",
            ),
            IndexModel([("owner", ASCENDING), ("category_id", ASCENDING)], name="category"),
        ]

    def raw(self) -> StoredPlanDocument:
        """Return it as it is stored: absent fields are absent, not null."""
        return cast(StoredPlanDocument, self.fields(without_none=True))

    # Writing

    @classmethod
    async def create_version(
        cls,
        owner: str,
        file: PlanFileName,
        fields: Raw,
        *,
        at_least: int = 0,
        id_: int | None = None,
    ) -> StoredPlanDocument:
        """`insertOne` the next version of a file, or version `at_least` when that is higher.

        With a reserved `id_` it may be tried again after a failure.
        """
        fields = {"created_at": utc_now(), **fields}

        async def one() -> AsyncIterator[Raw]:
            yield fields

        _, document = await cls._append(
            owner,
            file,
            [await Counter.reserve("plan_documents") if id_ is None else id_],
            one,
            created_at=fields["created_at"],
            at_least=at_least,
        )
        return document

    @classmethod
    async def copy_history(
        cls, owner: str, file: PlanFileName, target: PlanFileName
    ) -> tuple[int, int]:
        """Append copies of all versions of a file to another one, in order, with their times.

        Returns:
            The first and the last version number of the copies.

        Raises:
            DocumentNotFound: the file has no version.
        """
        originals = await cls.of(owner).find(file, {"created_at": 1}, sort=[("version", ASCENDING)])
        if not originals:
            raise DocumentNotFound(f"There is no file named {file['filename']!r} to migrate")

        async def copies() -> AsyncIterator[Raw]:
            async for batch in cls.in_order(owner, [raw["_id"] for raw in originals]):
                for raw in batch:
                    yield {key: value for key, value in raw.items() if key in COPIED}

        first_id = await Counter.reserve("plan_documents", len(originals))
        first, last = await cls._append(
            owner,
            target,
            list(range(first_id, first_id + len(originals))),
            copies,
            created_at=originals[-1]["created_at"],
        )
        return first, last["version"]

    @classmethod
    async def _append(
        cls,
        owner: str,
        file: PlanFileName,
        ids: list[int],
        versions: Callable[[], AsyncIterator[Raw]],
        *,
        created_at: datetime,
        at_least: int = 0,
    ) -> tuple[int, StoredPlanDocument]:
        """Store consecutive versions under reserved ids; the first number, the last document.

        What fails leaves none of them behind.
        """
        mine = cls.of(owner)
        while True:
            first = await PlanFile.take_versions(owner, file, ids, created_at, at_least=at_least)
            left, number = iter(ids), first
            try:
                async for fields in versions():
                    document = _document(owner, next(left), file, number, fields)
                    await mine.insert(document)
                    number += 1
            except DuplicateKeyError:
                # The file named an older version than there is; let it name the newest.
                await mine.delete_many({"_id": {"$in": ids}})
                newest = await cls.newest_of(owner, file)
                if newest is not None:
                    await PlanFile.raise_to(owner, file, newest)
            except Exception:
                with suppress(PyMongoError):
                    await mine.delete_many({"_id": {"$in": ids}})
                    await cls.name_newest(owner, file, ids)
                raise
            else:
                if number < first + len(ids):
                    # Originals were deleted while they were copied.
                    await cls.name_newest(owner, file, ids)
                if number == first:
                    raise DocumentNotFound
                return first, document

    @classmethod
    async def name_newest(cls, owner: str, file: PlanFileName, gone: Sequence[int]) -> int:
        """Let a file that names one of the `gone` name its newest version.

        Returns:
            How many tags went with a file that has no version left.
        """
        while True:
            seen = await PlanFile.of(owner).find_one({**file, "document_id": {"$in": list(gone)}})
            if seen is None:
                return 0
            newest = await cls.newest_of(owner, file)
            if await PlanFile.name_instead(owner, seen, newest):
                if newest is None:
                    return len(seen.get("tags", []))
                # Whoever deletes that one now may have looked before it was named.
                gone = [newest["_id"]]
                if await cls.of(owner).find_one({"_id": newest["_id"]}, {"_id": 1}):
                    return 0

    # Reading

    @classmethod
    async def get_many(
        cls, owner: str, ids: Sequence[int], max_bytes: int
    ) -> list[StoredPlanDocument]:
        """Several versions in the given order, read only when they fit together.

        Raises:
            DocumentNotFound: says which are not there.
            TooLarge: their contents exceed `max_bytes`.
        """
        await cls.check(owner, ids, max_bytes)
        found: dict[int, StoredPlanDocument] = {}
        async for batch in cls.in_order(owner, list(dict.fromkeys(ids))):
            found.update((raw["_id"], raw) for raw in batch)
        return [found[id_] for id_ in ids if id_ in found]

    @classmethod
    async def check(cls, owner: str, ids: Sequence[int], max_bytes: int) -> None:
        """See that versions are there and fit together, without reading their contents.

        Raises:
            DocumentNotFound: says which are not there.
            TooLarge: their contents exceed `max_bytes`.
        """
        found = {
            raw["_id"]: raw.get("size_bytes", 0)
            for raw in await cls.of(owner).find({"_id": {"$in": list(ids)}}, {"size_bytes": 1})
        }
        missing = sorted(set(ids) - found.keys())
        if missing:
            names = ", ".join(map(str, missing[:20]))
            raise DocumentNotFound(f"Document not found: {names}")
        if sum(found[id_] for id_ in ids) > max_bytes:
            raise TooLarge(f"These documents are larger than {max_bytes} bytes together")

    @classmethod
    async def newest_of(cls, owner: str, file: PlanFileName) -> StoredPlanDocument | None:
        """Return the newest version of a file, without its content."""
        found = await cls.of(owner).find(
            file, {"content": 0}, sort=[("version", DESCENDING)], limit=1
        )
        return found[0] if found else None

    @classmethod
    async def to_compare(
        cls, owner: str, document: StoredPlanDocument, against: int | None
    ) -> StoredPlanDocument:
        """Return the version that a document is compared with.

        `against` is a version number of the same file or else a document's id; without it
        the version before is meant.

        Raises:
            DocumentNotFound: there is none.
        """
        file = file_of(document)
        if against is not None:
            other = await cls.of(owner).find_one({**file, "version": against})
            return other if other is not None else await cls.get_one(owner, against)
        found = await cls.of(owner).find(
            {**file, "version": {"$lt": document["version"]}},
            sort=[("version", DESCENDING)],
            limit=1,
        )
        if not found:
            raise DocumentNotFound("This document has no earlier version to compare with")
        return found[0]

    @classmethod
    async def history(cls, owner: str, query: Raw) -> AsyncIterator[list[StoredPlanDocument]]:
        """All versions that match, newest first."""
        order: list[tuple[str, int]] = [("created_at", DESCENDING), ("_id", DESCENDING)]
        if "filename" in query and "category_id" in query:
            order = [("version", DESCENDING)]
        found = await cls.of(owner).find(query, {"_id": 1}, sort=order)
        async for batch in cls.in_order(owner, [raw["_id"] for raw in found]):
            yield batch

    @classmethod
    async def newest(
        cls,
        owner: str,
        query: Raw,
        *,
        sort: Sequence[tuple[str, int]],
        skip: int = 0,
        limit: int = 0,
    ) -> AsyncIterator[list[StoredPlanDocument]]:
        """Yield the newest versions of the files that match."""
        fields = {"tags": 0}
        files = await PlanFile.of(owner).find(query, fields, sort=sort, skip=skip, limit=limit)
        for start in range(0, len(files), BATCH_DOCUMENTS):
            batch = files[start : start + BATCH_DOCUMENTS]
            ids = [file["document_id"] for file in batch]
            found = {raw["_id"]: raw for raw in await cls.of(owner).find({"_id": {"$in": ids}})}
            for file in batch:
                if file["document_id"] not in found:
                    await cls._find_lost(owner, file, found)
            yield [found[file["document_id"]] for file in batch if file["document_id"] in found]

    @classmethod
    async def _find_lost(
        cls, owner: str, file: StoredPlanFile, found: dict[int, StoredPlanDocument]
    ) -> None:
        """Stand the newest version there is in for one that is not there (yet, or any more)."""
        newest = await cls.newest_of(owner, file_of(file))
        if newest is not None:
            raw = await cls.of(owner).find_one({"_id": newest["_id"]})
            if raw is not None:
                found[file["document_id"]] = raw
        if file["taken_at"] < utc_now() - ABANDONED:
            await cls.name_newest(owner, file_of(file), [file["document_id"]])

    @classmethod
    async def in_order(
        cls, owner: str, ids: Sequence[int]
    ) -> AsyncIterator[list[StoredPlanDocument]]:
        """Whole documents in the order of their ids, a batch at a time; gone ones are left out."""
        for start in range(0, len(ids), BATCH_DOCUMENTS):
            batch = ids[start : start + BATCH_DOCUMENTS]
            query = {"_id": {"$in": list(batch)}}
            found = {raw["_id"]: raw for raw in await cls.of(owner).find(query)}
            yield [found[id_] for id_ in batch if id_ in found]


def _document(
    owner: str, id_: int, file: PlanFileName, version: int, fields: Raw
) -> StoredPlanDocument:
    document = PlanDocument(
        id=id_,
        owner=owner,
        **file,
        **fields,
        version=version,
        size_bytes=len(fields["content"].encode()),
    )
    return document.raw()
