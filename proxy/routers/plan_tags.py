"""Tags of plan documents; all versions of a file share them."""

from typing import Annotated

from fastapi import Depends, Path

from proxy.documents.plan_document import PlanDocument
from proxy.documents.plan_file import PlanFile, PlanFileName, file_of
from proxy.responses import Json
from proxy.schemas.plan_tags import (
    TagAdded,
    TagCreate,
    TagList,
    TagRemoved,
    TagsUpdate,
    TagsUpdated,
    tag_out,
)
from proxy.web.dependencies import Caller, PathId
from proxy.web.routes import api_router

router = api_router("/v1/plan/documents/{document_id}", tag="Plan documents")


async def load_file(document_id: PathId, caller: Caller) -> PlanFileName:
    """Return the file of the version named in the path.

    Raises:
        DocumentNotFound: there is none for this caller.
    """
    return file_of(await PlanDocument.get_one(caller.owner, document_id, {"content": 0}))


LoadedFile = Annotated[PlanFileName, Depends(load_file)]


@router.get("/tags", response_model=TagList, summary="List a document's tags")
async def list_tags(document_id: PathId, file: LoadedFile, caller: Caller) -> Json:
    """By name."""
    tags = await PlanFile.tags_of(caller.owner, file)
    return Json({"document_id": document_id, "tags": [tag_out(document_id, tag) for tag in tags]})


@router.post("/tags", response_model=TagAdded, summary="Add a tag to a document")
async def create_tag(
    document_id: PathId, body: TagCreate, file: LoadedFile, caller: Caller
) -> Json:
    """Adding a tag twice is a success."""
    tag, _ = await PlanFile.add_tag(caller.owner, file, body.tag_name)
    return Json({"message": "Tag added", "tag": tag_out(document_id, tag)})


@router.delete(
    "/tags/{tag_name:path}", response_model=TagRemoved, summary="Remove a tag from a document"
)
async def delete_tag(
    tag_name: Annotated[str, Path(max_length=200)], file: LoadedFile, caller: Caller
) -> Json:
    """Remove a tag; one that is not there is a success."""
    count = await PlanFile.remove_tags(caller.owner, file, [tag_name.strip()])
    return Json({"message": "Tag removed", "removed_count": count})


@router.post("/tags:batch", response_model=TagsUpdated, summary="Add and remove tags")
async def update_tags(body: TagsUpdate, file: LoadedFile, caller: Caller) -> Json:
    """Remove first, then add."""
    remove, add = body.remove or [], body.add or []
    removed = await PlanFile.remove_tags(caller.owner, file, remove) if remove else 0
    added = sum([(await PlanFile.add_tag(caller.owner, file, name))[1] for name in add])
    return Json(
        {
            "message": "Tags updated",
            "added": {"requested": len(add), "added": added, "duplicates": len(add) - added},
            "removed": {"requested": len(remove), "removed": removed},
        }
    )
