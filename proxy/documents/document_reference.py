"""References: the documents that a project's or a conversation's calls take along as context.

A conversation's own are in its document, as `document_references`: the read that begins a
turn brings them along, and they go when it goes. A project's are here, because a label needs
no Project to have some. Both are lists of `{"id": 9, "document_id": 41, "created_at": …}`;
one whose document is gone is left out by whoever reads the list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict

from pydantic import Field
from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from proxy.documents.base import Owned, OwnedCollection, Raw, utc_now
from proxy.documents.conversation import (
    Conversation,
    ConversationNotFound,
    Reference,
    StoredConversation,
)
from proxy.documents.counter import Counter
from proxy.documents.plan_document import PlanDocument, StoredPlanDocument
from proxy.documents.plan_file import DocumentNotFound, PlanFileName, file_of

CONTEXT_BYTES = 16 * 1024 * 1024
"""Text of the documents that one project, one conversation or one call takes along."""


@dataclass(frozen=True, slots=True)
class ReferenceChange:
    """What a change of a set of references did."""

    added: int
    removed: int


class StoredReferences(TypedDict):
    """A `ProjectReferences` as it lies in Mongo."""

    _id: Any
    owner: str
    project_id: int
    references: list[Reference]


class ProjectReferences(Owned[StoredReferences]):
    """`{"project_id": 2, "references": [{"id": 9, "document_id": 41, "created_at": …}]}`."""

    project_id: int
    references: list[dict[str, Any]] = Field(default_factory=list)

    class Settings:
        """Where it is kept and what finds it."""

        name = "project_references"
        indexes: ClassVar = [
            IndexModel(
                [("owner", ASCENDING), ("project_id", ASCENDING)], name="project", unique=True
            ),
            IndexModel([("references.document_id", ASCENDING)], name="document"),
        ]

    @classmethod
    async def of_project(cls, owner: str, project_id: int) -> list[Reference]:
        """Return a project's references; one look-up in an index."""
        raw = await cls.of(owner).find_one({"project_id": project_id}, {"references": 1})
        return list(raw["references"]) if raw else []

    @classmethod
    async def replace_all(
        cls, owner: str, project_id: int, document_ids: Sequence[int]
    ) -> ReferenceChange:
        """`$set` the whole set; references that stay keep their ids.

        Raises:
            DocumentNotFound: says which are not there.
            TooLarge: they exceed `CONTEXT_BYTES`.
        """
        await PlanDocument.check(owner, list(dict.fromkeys(document_ids)), CONTEXT_BYTES)
        present = await cls.of_project(owner, project_id)
        references, change = await _changed(present, document_ids)
        update = {"$set": {"references": references}}
        mine, query = cls.of(owner), {"project_id": project_id}
        try:
            await mine.upsert_one(query, update)
        except DuplicateKeyError:
            # Somebody else gave this project its first references; now it is there.
            await mine.update_one(query, update)
        return change

    @classmethod
    async def take_away(
        cls, owner: str, project_id: int, document_ids: Sequence[int] | None
    ) -> ReferenceChange:
        """`$pull` the references to some documents, or to all when None."""
        pulled = await _pull(cls.of(owner), {"project_id": project_id}, "references", document_ids)
        return ReferenceChange(0, pulled)


class ConversationReferences:
    """`Conversation.document_references`; a document of the project is not among them."""

    @classmethod
    async def with_project(
        cls, owner: str, id_: str
    ) -> tuple[int, list[Reference], list[Reference]]:
        """Return a conversation's project, that one's references, and its own without those.

        Raises:
            ConversationNotFound: there is none for this owner.
        """
        raw = await Conversation.of(owner).find_one(
            {"_id": id_}, {"document_references": 1, "project_id": 1}
        )
        if raw is None:
            raise ConversationNotFound
        return raw["project_id"], *await _of_both(owner, raw)

    @classmethod
    async def of_conversation(cls, owner: str, id_: str) -> list[Reference]:
        """Return a conversation's own references.

        Raises:
            ConversationNotFound: there is none for this owner.
        """
        _, _, own = await cls.with_project(owner, id_)
        return own

    @classmethod
    async def replace_all(
        cls, owner: str, id_: str, document_ids: Sequence[int]
    ) -> ReferenceChange:
        """`$set` the whole set; what the project references already is left out.

        Raises:
            ConversationNotFound: there is none for this owner.
            DocumentNotFound: says which are not there.
            TooLarge: they exceed `CONTEXT_BYTES`.
        """
        _, of_project, present = await cls.with_project(owner, id_)
        await PlanDocument.check(owner, list(dict.fromkeys(document_ids)), CONTEXT_BYTES)
        taken = {reference["document_id"] for reference in of_project}
        references, change = await _changed(
            present, [document_id for document_id in document_ids if document_id not in taken]
        )
        update = {"$set": {"document_references": references, "updated_at": utc_now()}}
        if not await Conversation.of(owner).update_one({"_id": id_}, update):
            raise ConversationNotFound
        return change

    @classmethod
    async def take_away(
        cls, owner: str, id_: str, document_ids: Sequence[int] | None
    ) -> ReferenceChange:
        """`$pull` the references to some documents, or to all when None.

        Raises:
            ConversationNotFound: there is none for this owner.
        """
        present = await cls.of_conversation(owner, id_)
        if not present:
            return ReferenceChange(0, 0)
        pulled = await _pull(
            Conversation.of(owner), {"_id": id_}, "document_references", document_ids
        )
        await Conversation.touch(owner, id_)
        return ReferenceChange(0, pulled)


async def with_documents(
    owner: str, references: Sequence[Reference]
) -> list[tuple[Reference, StoredPlanDocument]]:
    """Return references with their documents, without those whose document is gone."""
    found: dict[int, StoredPlanDocument] = {}
    async for batch in PlanDocument.in_order(owner, [r["document_id"] for r in references]):
        found.update((raw["_id"], raw) for raw in batch)
    return [
        (reference, found[reference["document_id"]])
        for reference in references
        if reference["document_id"] in found
    ]


async def context_documents(
    owner: str, conversation: StoredConversation, document_ids: Sequence[int] = ()
) -> list[StoredPlanDocument]:
    """Return the documents of one call: its project's, its conversation's, and its own.

    `conversation` is the stored one. A call outside a project, without references and without
    documents of its own costs no read; a project costs one, documents one more.

    Raises:
        DocumentNotFound: says which of `document_ids` are not there.
        TooLarge: those exceed `CONTEXT_BYTES`.
    """
    of_project, own = await _of_both(owner, conversation)
    if document_ids:
        await PlanDocument.check(owner, list(dict.fromkeys(document_ids)), CONTEXT_BYTES)
    ids = dict.fromkeys([r["document_id"] for r in (*of_project, *own)] + list(document_ids))
    if not ids:
        return []
    found = {raw["_id"]: raw for raw in await PlanDocument.of(owner).find({"_id": {"$in": [*ids]}})}
    return [found[id_] for id_ in ids if id_ in found]


async def _of_both(
    owner: str, conversation: StoredConversation
) -> tuple[list[Reference], list[Reference]]:
    project_id = conversation["project_id"]
    of_project = await ProjectReferences.of_project(owner, project_id) if project_id else []
    taken = {reference["document_id"] for reference in of_project}
    own = [
        reference
        for reference in conversation.get("document_references", [])
        if reference["document_id"] not in taken
    ]
    return of_project, own


async def _changed(
    present: Sequence[Reference], document_ids: Sequence[int]
) -> tuple[list[Reference], ReferenceChange]:
    known = {reference["document_id"]: reference for reference in present}
    wanted = list(dict.fromkeys(document_ids))
    new = [id_ for id_ in wanted if id_ not in known]
    if new:
        first, now = await Counter.reserve("document_references", len(new)), utc_now()
        known |= {
            document_id: {"id": first + n, "document_id": document_id, "created_at": now}
            for n, document_id in enumerate(new)
        }
    removed = len(present) - (len(wanted) - len(new))
    return [known[id_] for id_ in wanted], ReferenceChange(len(new), removed)


# Deleting documents, with what hangs on them


async def delete_version(owner: str, document_id: int) -> dict[str, int]:
    """`deleteOne` version, with its references, and with the tags when it was the file's last.

    Raises:
        DocumentNotFound: there is none for this owner.
    """
    document = await PlanDocument.get_one(owner, document_id, {"content": 0})
    return await _delete(owner, file_of(document), [document_id])


async def delete_file(owner: str, file: PlanFileName) -> dict[str, int]:
    """Delete all versions of a file, with what hangs on them.

    Raises:
        DocumentNotFound: there is no such file.
    """
    return await _delete(owner, file, [raw["_id"] for raw in await _versions(owner, file)])


async def _versions(owner: str, file: PlanFileName) -> list[StoredPlanDocument]:
    return await PlanDocument.of(owner).find(file, {"_id": 1})


async def _delete(owner: str, file: PlanFileName, ids: list[int]) -> dict[str, int]:
    deleted = await PlanDocument.of(owner).delete_many({"_id": {"$in": ids}})
    if not deleted:
        raise DocumentNotFound
    tags = await PlanDocument.name_newest(owner, file, ids)
    references = 0
    everywhere: tuple[tuple[OwnedCollection[Any], str], ...] = (
        (ProjectReferences.of(owner), "references"),
        (Conversation.of(owner), "document_references"),
    )
    for holders, path in everywhere:
        holds = {f"{path}.document_id": {"$in": ids}}
        for holder in await holders.find(holds, {"_id": 1, f"{path}.document_id": 1}):
            referenced = [r["document_id"] for r in holder[path] if r["document_id"] in ids]
            references += await _pull(holders, {"_id": holder["_id"]}, path, referenced)
    return {
        "document_references": references,
        "document_tags": tags,
        "plan_documents": deleted,
    }


async def _pull(
    holders: OwnedCollection[Any], holder: Raw, path: str, document_ids: Sequence[int] | None
) -> int:
    """`$pull` references from one holder, one after the other; how many there were."""
    if document_ids is None:
        raw = await holders.find_one(holder, {path: 1}) or {}
        document_ids = [reference["document_id"] for reference in raw.get(path, [])]
    return sum(
        [
            await holders.update_one(
                {**holder, f"{path}.document_id": document_id},
                {"$pull": {path: {"document_id": document_id}}},
            )
            for document_id in document_ids
        ]
    )
