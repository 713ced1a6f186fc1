"""`/v1/plan/documents`: files whose every version is kept."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Literal

from fastapi import Query, Response
from pydantic import BeforeValidator, Field

from proxy.documents.base import MAX_ID, Raw
from proxy.documents.document_reference import CONTEXT_BYTES, delete_file, delete_version
from proxy.documents.embedded_server import PATTERN_BYTES, all_of
from proxy.documents.plan_category import PlanCategory
from proxy.documents.plan_document import COPIED, PlanDocument, StoredPlanDocument
from proxy.documents.plan_file import PlanFile, PlanFileName, file_of
from proxy.documents.plan_staleness import stale_ids
from proxy.errors import TooLarge, Unprocessable
from proxy.plans.diff import unified_diff
from proxy.plans.template import merged
from proxy.responses import Json, dumps, json_stream
from proxy.schemas.common import (
    EMPTY_IS_ABSENT,
    Fields,
    Label,
    OptionalId,
    ProjectLabel,
    Text,
    picker,
)
from proxy.schemas.plan import (
    DocumentCreate,
    DocumentDiff,
    DocumentOut,
    DocumentPage,
    DocumentsDeleted,
    DocumentsMerge,
    DocumentsMerged,
    DocumentUpdate,
    FileName,
    HistoryMigrate,
    HistoryMigrated,
    VersionMigrate,
    document_out,
)
from proxy.settings import Settings
from proxy.web.dependencies import AppSettings, Caller, PathId
from proxy.web.routes import api_router

router = api_router("/v1/plan/documents", tag="Plan documents")

PAGE_SIZE = 20
MAX_PAGE_SIZE = 1_000
"""Documents of one page of newest versions; a few at a time are in memory."""

MERGED_BYTES = CONTEXT_BYTES
"""Text of one merge."""

SORT_FIELDS = {"filename": "filename", "created_time": "created_at", "version": "version"}


DIFFS = ThreadPoolExecutor(max_workers=1, thread_name_prefix="diff")
"""Apart from the threads that compare passwords and read files: a diff may take its time."""

QUERY_CHARACTERS = PATTERN_BYTES // 4
"""A character has up to four bytes."""

OptionalText = Annotated[Label | None, EMPTY_IS_ABSENT, Query()]


@router.post("", response_model=DocumentOut, summary="Save a plan document")
async def create_document(body: DocumentCreate, caller: Caller, settings: AppSettings) -> Json:
    """Return the next version of the file (project, category, filename).

    None is ever overwritten.
    """
    _check_size(body.content, settings)
    await PlanCategory.get_one(caller.owner, body.category_id)
    fields = body.model_dump(exclude_none=True, include={*COPIED})
    file = _file(body.project_id, body.category_id, body.filename)
    document = await PlanDocument.create_version(
        caller.owner, file, fields, at_least=body.version or 0
    )
    return Json(document_out(document))


@router.get("/history", response_model=list[DocumentOut], summary="List versions, newest first")
async def list_history(
    caller: Caller,
    project_id: Annotated[ProjectLabel, Query()],
    category_id: Annotated[OptionalId, Query(description="Only of this category")] = None,
    filename: OptionalText = None,
    fields: Annotated[Fields, Query()] = "",
) -> Response:
    """All versions of a project's documents, whole; empty filters count as absent."""
    query = _filter(project_id=project_id, category_id=category_id, filename=filename)
    batches = PlanDocument.history(caller.owner, query)
    return await json_stream(
        b"[", _encoded(caller.owner, batches, picker(fields, DocumentOut)), b"]"
    )


@router.get("/latest", response_model=DocumentPage, summary="List the newest version of each file")
async def list_latest(
    caller: Caller,
    project_id: Annotated[OptionalId, Query()] = None,
    category_id: Annotated[OptionalId, Query()] = None,
    query: Annotated[
        Annotated[Label, Field(max_length=QUERY_CHARACTERS)] | None,
        EMPTY_IS_ABSENT,
        Query(description="A part of the filename"),
    ] = None,
    sort_by: Annotated[
        Literal["filename", "created_time", "version"],
        BeforeValidator(lambda v: v or "created_time"),
    ] = "created_time",
    order: Annotated[Literal["asc", "desc"], BeforeValidator(lambda v: v or "desc")] = "desc",
    page: Annotated[
        Annotated[int, Field(ge=1, le=1_000_000)] | None, EMPTY_IS_ABSENT, Query()
    ] = None,
    page_size: Annotated[
        Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE)] | None,
        EMPTY_IS_ABSENT,
        Query(description=f"{PAGE_SIZE} by default"),
    ] = None,
    fields: Annotated[Fields, Query()] = "",
) -> Response:
    """Newest first unless `sort_by` and `order` say otherwise; empty filters count as absent."""
    page, page_size = page or 1, page_size or PAGE_SIZE
    files = _filter(project_id=project_id, category_id=category_id)
    if query:
        files["filename"] = {"$regex": _literal(query), "$options": "i"}
    direction = 1 if order == "asc" else -1
    total = await PlanFile.of(caller.owner).count(files)
    batches = PlanDocument.newest(
        caller.owner,
        files,
        sort=[(SORT_FIELDS[sort_by], direction), ("_id", direction)],
        skip=(page - 1) * page_size,
        limit=page_size,
    )
    head = dumps({"total": total, "page": page, "page_size": page_size})
    return await json_stream(
        head[:-1] + b',"items":[',
        _encoded(caller.owner, batches, picker(fields, DocumentOut)),
        b"]}",
    )


@router.get(
    "/search-by-tags", response_model=list[DocumentOut], summary="Find documents by their tags"
)
async def search_by_tags(
    caller: Caller,
    tags: Annotated[Text, Query(max_length=10_000, description="Separated by commas")],
    project_id: Annotated[OptionalId, Query()] = None,
    match: Annotated[Literal["any", "all"], BeforeValidator(lambda v: v or "any")] = "any",
    fields: Annotated[Fields, Query()] = "",
) -> Response:
    """Return the newest version of each file that has any, or all, of the tags."""
    names = [name.strip() for name in tags.split(",") if name.strip()]
    if not names:
        raise Unprocessable("tags: name at least one tag", param="tags")
    files = _filter(project_id=project_id)
    if match == "any":
        files["tags.name"] = {"$in": names}
    else:
        files |= all_of("tags.name", names)
    batches = PlanDocument.newest(caller.owner, files, sort=[("created_at", -1), ("_id", -1)])
    return await json_stream(
        b"[", _encoded(caller.owner, batches, picker(fields, DocumentOut)), b"]"
    )


@router.post("/merge", response_model=DocumentsMerged, summary="Merge documents into one text")
async def merge_documents(body: DocumentsMerge, caller: Caller) -> Json:
    """In the given order, each between lines that name it."""
    documents = await PlanDocument.get_many(caller.owner, body.document_ids, MERGED_BYTES)
    return Json({"count": len(documents), "merged": merged(documents)})


@router.post(
    "/migrate/all-history",
    response_model=HistoryMigrated,
    summary="Copy a file's history to another category",
)
async def migrate_history(body: HistoryMigrate, caller: Caller) -> Json:
    """Every version keeps its source and time; the numbers go on from the target's newest."""
    if body.source_category_id == body.target_category_id:
        raise Unprocessable(
            "target_category_id: must differ from source_category_id", param="target_category_id"
        )
    await PlanCategory.get_one(caller.owner, body.target_category_id)
    first, last = await PlanDocument.copy_history(
        caller.owner,
        _file(body.project_id, body.source_category_id, body.filename),
        _file(body.project_id, body.target_category_id, body.filename),
    )
    return Json(
        {
            "message": "Migration completed",
            "migrated_count": last - first + 1,
            "target_category_id": body.target_category_id,
            "filename": body.filename,
            "start_version": first,
            "end_version": last,
        }
    )


@router.post(
    "/migrate/from-current",
    response_model=DocumentOut,
    summary="Copy one version to another category",
)
async def migrate_version(body: VersionMigrate, caller: Caller) -> Json:
    """Under its own name or a new one; the original stays."""
    document = await PlanDocument.get_one(caller.owner, body.document_id)
    await PlanCategory.get_one(caller.owner, body.target_category_id)
    file = _file(
        document["project_id"],
        body.target_category_id,
        body.new_filename or document["filename"],
    )
    return await _next_version(caller.owner, file, document, {"source": body.source})


@router.delete("", response_model=DocumentsDeleted, summary="Delete a file with all its versions")
async def delete_documents(
    caller: Caller,
    project_id: Annotated[ProjectLabel, Query()],
    category_id: Annotated[int, Query(ge=1, le=MAX_ID)],
    filename: Annotated[FileName, Query()],
) -> Json:
    """All three are needed; its references and tags go with it."""
    deleted = await delete_file(caller.owner, _file(project_id, category_id, filename))
    return Json({"message": "Documents deleted", "deleted": deleted})


@router.get("/{document_id}", response_model=DocumentOut, summary="Get a version of a document")
async def get_document(document_id: PathId, caller: Caller) -> Json:
    """One version; `stale` says that messages it was made of changed since."""
    document = await PlanDocument.get_one(caller.owner, document_id)
    stale = await stale_ids(caller.owner, [document])
    return Json(document_out(document, document_id in stale))


@router.put("/{document_id}", response_model=DocumentOut, summary="Edit a document")
async def update_document(
    document_id: PathId, body: DocumentUpdate, caller: Caller, settings: AppSettings
) -> Json:
    """Append a new version and return it; under another filename it is another file's."""
    document = await PlanDocument.get_one(caller.owner, document_id)
    file = file_of(document)
    if body.filename is not None:
        file["filename"] = body.filename
    changes: Raw = {"source": body.source}
    if body.content is not None and body.content != document["content"]:
        _check_size(body.content, settings)
        # What a person wrote was not made of those messages any more.
        changes.update(content=body.content, provenance=None)
    return await _next_version(caller.owner, file, document, changes)


@router.delete(
    "/{document_id}", response_model=DocumentsDeleted, summary="Delete a version of a document"
)
async def delete_document(document_id: PathId, caller: Caller) -> Json:
    """Other versions stay, and the tags with them."""
    deleted = await delete_version(caller.owner, document_id)
    return Json({"message": "Document deleted", "deleted": deleted})


@router.get("/{document_id}/diff", response_model=DocumentDiff, summary="Compare two versions")
async def diff_document(
    document_id: PathId,
    caller: Caller,
    settings: AppSettings,
    against: Annotated[
        OptionalId,
        Query(description="A version of the same file, else a document id; the version before"),
    ] = None,
) -> Json:
    """Return a unified diff from the other version to this one."""
    document = await PlanDocument.get_one(caller.owner, document_id)
    other = await PlanDocument.to_compare(caller.owner, document, against)
    diff = await asyncio.get_running_loop().run_in_executor(
        DIFFS,
        partial(
            unified_diff,
            other["content"],
            document["content"],
            _heading(other),
            _heading(document),
            seconds=settings.diff_seconds,
        ),
    )
    return Json({"from": _ref(other), "to": _ref(document), "diff": diff})


@router.post(
    "/{document_id}/restore", response_model=DocumentOut, summary="Make an old version the newest"
)
async def restore_document(document_id: PathId, caller: Caller) -> Json:
    """Append a copy of it as the next version; the newest one itself is returned as it is."""
    document = await PlanDocument.get_one(caller.owner, document_id)
    file = file_of(document)
    newest = await PlanDocument.newest_of(caller.owner, file)
    if newest is not None and newest["_id"] == document_id:
        stale = await stale_ids(caller.owner, [document])
        return Json(document_out(document, document_id in stale))
    return await _next_version(caller.owner, file, document, {})


def _file(project_id: int, category_id: int, filename: str) -> PlanFileName:
    return {"project_id": project_id, "category_id": category_id, "filename": filename}


async def _next_version(
    owner: str, file: PlanFileName, document: StoredPlanDocument, changes: Raw
) -> Json:
    """Store a version made of another one; changes that are None count as absent."""
    fields: Raw = {
        key: value for key, value in document.items() if key in COPIED and key != "created_at"
    }
    if "provenance" in changes:
        fields.pop("provenance", None)
    fields.update((key, value) for key, value in changes.items() if value is not None)
    created = await PlanDocument.create_version(owner, file, fields)
    return Json(document_out(created, bool(await stale_ids(owner, [created]))))


def _check_size(content: str, settings: Settings) -> None:
    if len(content.encode()) > settings.document_bytes:
        raise TooLarge(f"The document is larger than {settings.document_bytes} bytes; shorten it")


def _filter(**conditions: object) -> Raw:
    return {key: value for key, value in conditions.items() if value is not None}


def _literal(text: str) -> str:
    """Return a regular expression that finds the text itself."""
    return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text)


def _heading(document: StoredPlanDocument) -> str:
    return f"{document['filename']}\t版本 {document['version']}"


def _ref(document: StoredPlanDocument) -> Raw:
    return {
        "document_id": document["_id"],
        "filename": document["filename"],
        "version": document["version"],
    }


async def _encoded(
    owner: str,
    batches: AsyncIterator[list[StoredPlanDocument]],
    pick: Callable[[Raw], Raw],
) -> AsyncIterator[bytes]:
    """Each document as JSON: they may be megabytes each."""
    async for batch in batches:
        stale = await stale_ids(owner, batch)
        for document in batch:
            yield dumps(pick(document_out(document, document["_id"] in stale)))
