"""A file of plan documents: which version is the newest, and the file's tags.

A file is (project, category, filename). Its `PlanFile` is small, so that a list of newest
versions is an index range that reads no former version. It is written before the version
that it names, never after: a crash in between leaves a name without a document, which a
reader sees and replaces by the newest version there is; the other order would leave a
newest version that nobody can see.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, TypedDict

from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from proxy.documents.base import Owned, Raw, utc_now
from proxy.documents.counter import Counter
from proxy.errors import Conflict, NotFound

MAX_TAGS = 200
"""Tags of one file."""


class DocumentNotFound(NotFound):
    """No such plan document for this caller."""

    message = "Document not found"


class PlanFileName(TypedDict):
    """What names a file of plan documents."""

    project_id: int
    category_id: int
    filename: str


class Tag(TypedDict):
    """A tag of a file."""

    id: int
    name: str
    created_at: datetime


class StoredPlanFile(TypedDict):
    """A `PlanFile` as it lies in Mongo."""

    _id: Any
    owner: str
    project_id: int
    category_id: int
    filename: str
    version: int
    document_id: int
    created_at: datetime
    taken_at: datetime
    tags: list[Tag]


class Version(TypedDict):
    """What a `PlanFile` names of its newest version."""

    _id: int
    version: int
    created_at: datetime


class PlanFile(Owned[StoredPlanFile]):
    """`{"project_id", "category_id", "filename", "version": 3, "document_id": 41, "tags": […]}`."""

    project_id: int
    category_id: int
    filename: str
    version: int
    document_id: int
    created_at: datetime
    """The time of the newest version."""
    taken_at: datetime
    """When that version was taken."""
    tags: list[dict[str, Any]] = Field(default_factory=list)
    """`{"id": 7, "name": "重要", "created_at": …}`."""

    class Settings:
        """Where it is kept and what finds it."""

        name = "plan_files"
        indexes: ClassVar = [
            IndexModel(
                [
                    ("owner", ASCENDING),
                    ("project_id", ASCENDING),
                    ("category_id", ASCENDING),
                    ("filename", ASCENDING),
                ],
                name="file",
                unique=True,
            ),
            IndexModel(
                [
                    ("owner", ASCENDING),
                    ("project_id", ASCENDING),
                    ("created_at", DESCENDING),
                    ("_id", DESCENDING),
                ],
                name="newest_of_project",
            ),
            IndexModel(
                [("owner", ASCENDING), ("project_id", ASCENDING), ("tags.name", ASCENDING)],
                name="tag",
            ),
        ]

    @classmethod
    async def take_versions(
        cls,
        owner: str,
        file: PlanFileName,
        document_ids: Sequence[int],
        created_at: datetime,
        *,
        at_least: int = 0,
    ) -> int:
        """Take the next version numbers of a file, one a document, with one `$inc`; the first.

        One document may ask for a higher number with `at_least`.
        """
        mine = cls.of(owner)
        newest = {
            "document_id": document_ids[-1],
            "created_at": created_at,
            "taken_at": utc_now(),
        }
        while True:
            if at_least > 1 and await mine.update_one(
                {**file, "version": {"$lt": at_least}}, {"$set": {**newest, "version": at_least}}
            ):
                return at_least
            taken = await mine.find_one_and_update(
                file,
                {"$inc": {"version": len(document_ids)}, "$set": newest},
                {"version": 1},
            )
            if taken is not None:
                return int(taken["version"]) - len(document_ids) + 1
            try:
                await mine.upsert_one(
                    file,
                    {
                        "$setOnInsert": {
                            "version": 0,
                            "document_id": 0,
                            "created_at": created_at,
                            "taken_at": newest["taken_at"],
                            "tags": [],
                        }
                    },
                )
            except DuplicateKeyError:
                # Somebody else began the same file; it is there now.
                continue

    @classmethod
    async def raise_to(cls, owner: str, file: PlanFileName, document: Version) -> None:
        """Name a version that is higher than the one that is named."""
        await cls.of(owner).update_one(
            {**file, "version": {"$lt": document["version"]}}, {"$set": _naming(document)}
        )

    @classmethod
    async def name_instead(cls, owner: str, seen: StoredPlanFile, document: Version | None) -> bool:
        """Name another version, or remove a file that has none; False when `seen` is outdated."""
        mine, guard = cls.of(owner), {"_id": seen["_id"], "document_id": seen["document_id"]}
        if document is None:
            return bool(await mine.delete_one(guard))
        return bool(await mine.update_one(guard, {"$set": _naming(document)}))

    # Tags

    @classmethod
    async def tags_of(cls, owner: str, file: PlanFileName) -> list[Tag]:
        """Return the file's tags by name."""
        raw = await cls.of(owner).find_one(file, {"tags": 1})
        return sorted(raw.get("tags", []) if raw else [], key=lambda tag: str(tag["name"]))

    @classmethod
    async def add_tag(cls, owner: str, file: PlanFileName, name: str) -> tuple[Tag, bool]:
        """`$push` a tag that is not there yet; the tag, and whether it is new.

        Raises:
            Conflict: the file has `MAX_TAGS` tags.
            DocumentNotFound: the file is gone.
        """
        mine = cls.of(owner)
        id_ = 0
        while True:
            raw = await mine.find_one(file, {"tags": 1})
            if raw is None:
                raise DocumentNotFound
            tags = raw.get("tags", [])
            present = next((tag for tag in tags if tag["name"] == name), None)
            if present is not None:
                return present, False
            if len(tags) >= MAX_TAGS:
                raise Conflict(f"A file has {MAX_TAGS} tags at most; remove some first")
            id_ = id_ or await Counter.reserve("document_tags")
            tag: Tag = {"id": id_, "name": name, "created_at": utc_now()}
            if await mine.update_one(
                {
                    **file,
                    "tags.name": {"$ne": name},
                    f"tags.{MAX_TAGS - 1}": {"$exists": False},
                },
                {"$push": {"tags": tag}},
            ):
                return tag, True

    @classmethod
    async def remove_tags(cls, owner: str, file: PlanFileName, names: Sequence[str]) -> int:
        """`$pull` tags by name, one after the other; how many there were."""
        mine, removed = cls.of(owner), 0
        for name in names:
            removed += await mine.update_one(
                {**file, "tags.name": name}, {"$pull": {"tags": {"name": name}}}
            )
        return removed


def file_of(document: PlanFileName) -> PlanFileName:
    """Return what names the file of a version, and nothing else of it."""
    return {
        "project_id": document["project_id"],
        "category_id": document["category_id"],
        "filename": document["filename"],
    }


def _naming(document: Version) -> Raw:
    return {
        "version": document["version"],
        "document_id": document["_id"],
        "created_at": document["created_at"],
        "taken_at": utc_now(),
    }
