"""Categories of plan documents: a name, and the prompt that makes such a document."""

from datetime import datetime
from typing import ClassVar, TypedDict, cast

from pydantic import Field
from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from proxy.documents.base import DEFAULT_OWNER, SHARED_OWNER, Owned, Raw, utc_now
from proxy.documents.counter import Counter
from proxy.documents.plan_builtin import BUILTIN_CATEGORIES
from proxy.documents.plan_document import PlanDocument
from proxy.errors import Conflict, Forbidden, NotFound


class CategoryNotFound(NotFound):
    """No such plan category for this caller."""

    message = "Category not found"


class StoredCategory(TypedDict):
    """A `PlanCategory` as it lies in Mongo."""

    _id: int
    owner: str
    name: str
    prompt_template: str
    message_method: str
    auto_save_category_id: int | None
    is_builtin: bool
    summary_model: str
    created_at: datetime


class PlanCategory(Owned[StoredCategory]):
    """`{"_id": 1, "name": "需求计划", "prompt_template": "…{doc}…", "is_builtin": true, …}`.

    Built-in categories belong to everybody (`owner: "*"`).
    """

    NOT_FOUND = CategoryNotFound
    SHARED = True

    id: int  # type: ignore[assignment]
    name: str
    prompt_template: str = ""
    message_method: str = ""
    auto_save_category_id: int | None = None
    is_builtin: bool = False
    summary_model: str = ""
    created_at: datetime = Field(default_factory=utc_now)

    class Settings:
        """Where it is kept and what finds it."""

        name = "plan_categories"
        indexes: ClassVar = [
            IndexModel([("owner", ASCENDING), ("name", ASCENDING)], name="name", unique=True),
        ]

    def raw(self) -> StoredCategory:
        """Return it as it is stored."""
        return cast(StoredCategory, self.fields())

    @classmethod
    async def create_builtin(cls) -> None:
        """Create the built-in categories that are missing: `$setOnInsert`, so that edits stay.

        Safe to repeat and to race. Ids of other categories begin above them.
        """
        for entry in BUILTIN_CATEGORIES:
            category = cls(
                id=entry["_id"],
                owner=SHARED_OWNER,
                is_builtin=True,
                **{key: value for key, value in entry.items() if key != "_id"},
            )
            try:
                await cls.of(SHARED_OWNER).upsert_one(
                    {"_id": category.id},
                    {"$setOnInsert": category.model_dump(exclude={"id", "owner", "revision_id"})},
                )
            except DuplicateKeyError:
                # Another process was faster.
                continue
        await Counter.raise_to("plan_categories", max(e["_id"] for e in BUILTIN_CATEGORIES))

    @classmethod
    async def by_id(cls, owner: str) -> list[StoredCategory]:
        """Return the built-in categories and the owner's own, by id."""
        return await cls.visible_to(owner).find({}, sort=[("_id", ASCENDING)])

    @classmethod
    async def create_new(cls, owner: str, fields: Raw) -> StoredCategory:
        """`insertOne` under the next id.

        Raises:
            Conflict: the owner sees a category of that name.
            CategoryNotFound: there is no category to save to.
        """
        await cls._check(owner, 0, fields)
        id_ = await Counter.reserve("plan_categories")
        category = cls(id=id_, owner=owner, **fields)
        raw = category.raw()
        try:
            await cls.of(owner).insert(raw)
        except DuplicateKeyError:
            raise name_taken(fields["name"]) from None
        return raw

    @classmethod
    async def change(cls, owner: str, id_: int, fields: Raw) -> StoredCategory:
        """`$set` fields; the category as it is then.

        Raises:
            CategoryNotFound: there is none for this owner, or none to save to.
            Conflict: another category that the owner sees has that name.
            Forbidden: it is a built-in one, and the owner is one of several.
        """
        raw = await cls.get_one(owner, id_)
        if raw["is_builtin"] and owner != DEFAULT_OWNER:
            raise Forbidden(
                "A built-in category belongs to everybody; create one of your own instead"
            )
        await cls._check(owner, id_, fields)
        if not fields:
            return raw
        try:
            changed = await cls.of(raw["owner"]).find_one_and_update({"_id": id_}, {"$set": fields})
        except DuplicateKeyError:
            raise name_taken(fields["name"]) from None
        if changed is None:
            raise CategoryNotFound
        return changed

    @classmethod
    async def _check(cls, owner: str, id_: int, fields: Raw) -> None:
        # The unique index knows one owner only; a name must differ from the built-in ones too.
        name = fields.get("name")
        if name is not None and await cls.visible_to(owner).find_one(
            {"name": name, "_id": {"$ne": id_}}, {"_id": 1}
        ):
            raise name_taken(name)
        target = fields.get("auto_save_category_id")
        if target is not None and target != id_:
            await cls.get_one(owner, target)

    @classmethod
    async def remove(cls, owner: str, id_: int) -> None:
        """`deleteOne`, when nothing is in it any more; who saved to it saves nowhere then.

        Raises:
            CategoryNotFound: there is none for this owner.
            Conflict: it is a built-in one, or has documents.
        """
        raw = await cls.get_one(owner, id_)
        if raw["is_builtin"]:
            raise Conflict("A built-in category cannot be deleted; change it instead")
        count = await PlanDocument.of(owner).count({"category_id": id_})
        if count:
            raise Conflict(
                f"This category still has {count} documents; delete or migrate them first"
            )
        if not await cls.of(owner).delete_one({"_id": id_}):
            raise CategoryNotFound
        await cls.of(owner).update_many(
            {"auto_save_category_id": id_}, {"$set": {"auto_save_category_id": None}}
        )


def name_taken(name: str) -> Conflict:
    """Return the 409 for a second category of one name."""
    return Conflict(
        f"There is already a category named {name!r}; choose another name", param="name"
    )
