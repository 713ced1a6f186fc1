"""A project: a name for a label, and the directory whose source is read."""

from datetime import datetime
from typing import ClassVar, TypedDict, cast

from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from proxy.documents.base import Owned, Raw, utc_now
from proxy.documents.counter import Counter
from proxy.errors import Conflict, NotFound


class ProjectNotFound(NotFound):
    """No such project for this caller."""

    message = "Project not found"


class StoredProject(TypedDict):
    """A `Project` as it lies in Mongo."""

    _id: int
    owner: str
    name: str
    dev_environment: str
    grpc_server_address: str
    llm_model: str
    llm_url: str
    git_work_dir: str
    ai_work_dir: str
    created_at: datetime
    updated_at: datetime


class Project(Owned[StoredProject]):
    """`{"_id": 2, "name": "backend", "ai_work_dir": "/srv/backend", …}`."""

    NOT_FOUND = ProjectNotFound

    id: int  # type: ignore[assignment]
    name: str
    dev_environment: str = ""
    grpc_server_address: str = ""
    llm_model: str = ""
    llm_url: str = ""
    git_work_dir: str = ""
    ai_work_dir: str = ""
    created_at: datetime = Field(default_factory=utc_now)
    updated_at: datetime = Field(default_factory=utc_now)

    class Settings:
        """Where it is kept and what finds it."""

        name = "projects"
        indexes: ClassVar = [
            IndexModel([("owner", ASCENDING), ("name", ASCENDING)], name="name", unique=True),
            IndexModel([("owner", ASCENDING), ("created_at", DESCENDING)], name="newest"),
        ]

    def raw(self) -> StoredProject:
        """Return it as it is stored."""
        return cast(StoredProject, self.fields())

    @classmethod
    async def create_new(cls, owner: str, fields: Raw) -> StoredProject:
        """`insertOne` under the next id.

        Raises:
            Conflict: the owner has a project of that name.
        """
        now = utc_now()
        id_ = await Counter.reserve("projects")
        project = cls(id=id_, owner=owner, created_at=now, updated_at=now, **fields)
        raw = project.raw()
        try:
            await cls.of(owner).insert(raw)
        except DuplicateKeyError:
            raise name_taken(fields["name"]) from None
        return raw

    @classmethod
    async def newest_first(cls, owner: str) -> list[StoredProject]:
        """All of the owner's projects."""
        return await cls.of(owner).find({}, sort=[("created_at", DESCENDING), ("_id", DESCENDING)])

    @classmethod
    async def names(cls, owner: str) -> dict[int, str]:
        """Project id → name."""
        return {raw["_id"]: raw["name"] for raw in await cls.of(owner).find({}, {"name": 1})}

    @classmethod
    async def change(cls, owner: str, id_: int, fields: Raw) -> StoredProject:
        """`$set` fields; the project as it is then.

        Raises:
            ProjectNotFound: there is none for this owner.
            Conflict: another project of the owner has that name.
        """
        try:
            raw = await cls.of(owner).find_one_and_update(
                {"_id": id_}, {"$set": {**fields, "updated_at": utc_now()}}
            )
        except DuplicateKeyError:
            raise name_taken(fields["name"]) from None
        if raw is None:
            raise ProjectNotFound
        return raw

    @classmethod
    async def remove(cls, owner: str, id_: int) -> None:
        """`deleteOne`; what carries its label stays.

        Raises:
            ProjectNotFound: there is none for this owner.
        """
        if not await cls.of(owner).delete_one({"_id": id_}):
            raise ProjectNotFound


def name_taken(name: str) -> Conflict:
    """Return the 409 for a second project of one name."""
    return Conflict(f"There is already a project named {name!r}; choose another name", param="name")
