"""What all documents share: the owner in every filter, UTC times, one way to a collection."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Self, TypeVar

from beanie import Document
from pymongo.errors import DocumentTooLarge, DuplicateKeyError, PyMongoError

from proxy.documents.embedded_server import CERTAIN_IMAGE, find_by_values, forget_old_keys
from proxy.errors import NotFound

DEFAULT_OWNER = "default"
"""The owner of everything in a set-up that knows one user only."""

SHARED_OWNER = "*"
"""The owner of what belongs to everybody: all owners see it."""

MAX_ID = 2**63 - 1

TOO_LARGE_CODES = frozenset({10334, 17419, 17420})
"""What MongoDB answers when a document would exceed 16 MiB."""

Raw = dict[str, Any]
"""A filter, a projection, an update, or a document of which nothing is known."""

D = TypeVar("D", bound=Mapping[str, Any])
"""The `TypedDict` of what a collection holds; a projection brings fewer of its keys."""


def utc_now() -> datetime:
    """Return the present time as Mongo keeps it: UTC, naive, whole milliseconds."""
    now = datetime.now(UTC).replace(tzinfo=None)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def as_utc(value: datetime) -> datetime:
    """Return a time from outside as Mongo keeps it; a naive one is taken for UTC.

    Raises:
        ValueError: in UTC it lies before the year 1 or after the year 9999.
    """
    if value.tzinfo is not None:
        try:
            value = value.astimezone(UTC).replace(tzinfo=None)
        except OverflowError:
            raise ValueError("must lie between the years 1 and 9999, in UTC") from None
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def is_too_large(error: PyMongoError) -> bool:
    """Whether a write failed because its document would exceed 16 MiB."""
    return isinstance(error, DocumentTooLarge) or getattr(error, "code", 0) in TOO_LARGE_CODES


class OwnedCollection(Generic[D]):
    """A collection as one owner sees it: no filter can forget the owner.

    With `shared` it also holds what belongs to everybody, and is for reading only.
    """

    __slots__ = ("_collection", "_owner", "_visible")

    def __init__(self, collection: Any, owner: str, *, shared: bool = False) -> None:
        self._collection = collection
        self._owner = owner
        self._visible: Any = {"$in": [owner, SHARED_OWNER]} if shared else owner

    def _own(self, filter_: Mapping[str, Any]) -> Raw:
        return {**filter_, "owner": self._visible}

    async def insert(self, document: Mapping[str, Any]) -> None:
        """`insertOne`, stamped with the owner."""
        owned = {**document, "owner": self._owner}
        try:
            await self._collection.insert_one(owned)
        except DuplicateKeyError as error:
            if not await forget_old_keys(self._collection, owned, error):
                raise
            await self._collection.insert_one(owned)

    async def find_one(
        self,
        filter_: Mapping[str, Any],
        projection: Mapping[str, Any] | None = None,
        *,
        hint: str = "",
    ) -> D | None:
        """`findOne`."""
        if hint:
            found = await self.find(filter_, projection, limit=1, hint=hint)
            return found[0] if found else None
        raw: D | None = await self._collection.find_one(self._own(filter_), projection)
        return raw

    async def find(
        self,
        filter_: Mapping[str, Any],
        projection: Mapping[str, Any] | None = None,
        *,
        sort: Sequence[tuple[str, int]] = (),
        skip: int = 0,
        limit: int = 0,
        hint: str = "",
    ) -> list[D]:
        """`find` into a list."""
        return [
            raw
            async for raw in self.iterate(
                filter_, projection, sort=sort, skip=skip, limit=limit, hint=hint
            )
        ]

    async def iterate(
        self,
        filter_: Mapping[str, Any],
        projection: Mapping[str, Any] | None = None,
        *,
        sort: Sequence[tuple[str, int]] = (),
        skip: int = 0,
        limit: int = 0,
        batch_size: int = 0,
        hint: str = "",
    ) -> AsyncIterator[D]:
        """`find`, one document after the other; `hint` names the only index that may be used."""
        cursor = self._collection.find(self._own(filter_), projection)
        if hint:
            cursor = cursor.hint(hint)
        if sort:
            cursor = cursor.sort(list(sort))
        if batch_size:
            cursor = cursor.batch_size(batch_size)
        async for raw in cursor.skip(skip).limit(limit):
            yield raw

    async def find_any(
        self, field: str, values: Sequence[Any], projection: Mapping[str, Any] | None = None
    ) -> list[D]:
        """`find` by values of one field that only this owner can know; see `embedded_server`."""
        return await find_by_values(self._collection, self._owner, field, values, projection)

    async def aggregate(self, pipeline: Sequence[Raw]) -> list[Raw]:
        """`aggregate` over the owner's documents only."""
        stages = [{"$match": {"owner": self._visible}}, *pipeline]
        return [raw async for raw in self._collection.aggregate(stages)]

    async def count(self, filter_: Mapping[str, Any]) -> int:
        """`countDocuments`."""
        return int(await self._collection.count_documents(self._own(filter_)))

    async def update_one(self, filter_: Mapping[str, Any], update: Raw) -> int:
        """`updateOne`; the number of matched documents."""
        result = await self._collection.update_one(self._own(filter_), update)
        return int(result.matched_count)

    async def upsert_one(self, filter_: Mapping[str, Any], update: Raw) -> None:
        """`updateOne` with upsert: a missing document is made of the filter and the update."""
        await self._collection.update_one(self._own(filter_), update, upsert=True)

    async def update_many(self, filter_: Mapping[str, Any], update: Raw) -> int:
        """`updateMany`; the number of matched documents."""
        result = await self._collection.update_many(self._own(filter_), update)
        return int(result.matched_count)

    async def find_one_and_update(
        self,
        filter_: Mapping[str, Any],
        update: Raw,
        projection: Mapping[str, Any] | None = None,
    ) -> D | None:
        """`findAndModify`; the document as it is then."""
        found: D | None = await self._collection.find_one_and_update(
            self._own(filter_),
            update,
            projection=projection,
            return_document=CERTAIN_IMAGE,
        )
        return found

    async def delete_one(self, filter_: Mapping[str, Any]) -> int:
        """`deleteOne`; the number of deleted documents."""
        result = await self._collection.delete_one(self._own(filter_))
        return int(result.deleted_count)

    async def delete_many(self, filter_: Mapping[str, Any]) -> int:
        """`deleteMany`; the number of deleted documents."""
        result = await self._collection.delete_many(self._own(filter_))
        return int(result.deleted_count)


class Stored(Document):
    """The base of all documents."""

    def fields(self, *, without_none: bool = False) -> Raw:
        """Return all fields as they are stored; on wish without those that are None."""
        fields = self.model_dump(exclude={"id", "revision_id"}, exclude_none=without_none)
        return {"_id": self.id, **fields}

    @classmethod
    def collection(cls) -> Any:
        """Return the raw asynchronous collection, for work that is already authorised."""
        return cls.get_motor_collection()


class Owned(Stored, Generic[D]):
    """The base of documents that belong to an owner; `Owned[StoredX]` says what is read of them."""

    owner: str = DEFAULT_OWNER

    NOT_FOUND: ClassVar[type[NotFound]] = NotFound
    """The error of an id that this owner has nothing under."""

    SHARED: ClassVar[bool] = False
    """Whether everybody also sees what belongs to `SHARED_OWNER`."""

    def __class_getitem__(cls, _: Any) -> type[Self]:
        """Return the class itself: pydantic would make another document class of each type."""
        return cls

    @classmethod
    def of(cls, owner: str) -> OwnedCollection[D]:
        """Return the collection as this owner sees it."""
        return OwnedCollection(cls.collection(), owner)

    @classmethod
    def visible_to(cls, owner: str) -> OwnedCollection[D]:
        """Return the owner's documents and everybody's; for reading only."""
        return OwnedCollection(cls.collection(), owner, shared=True)

    @classmethod
    async def get_one(cls, owner: str, id_: Any, projection: Raw | None = None) -> D:
        """Return one document by its id: `findOne`.

        Raises:
            NotFound: `NOT_FOUND`, there is none for this owner.
        """
        mine = cls.visible_to(owner) if cls.SHARED else cls.of(owner)
        raw = await mine.find_one({"_id": id_}, projection)
        if raw is None:
            raise cls.NOT_FOUND
        return raw
