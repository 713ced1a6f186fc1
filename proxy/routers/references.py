"""Document references: what the calls of a project or a conversation take along as context."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Query

from proxy.documents.base import MAX_ID, Raw
from proxy.documents.conversation import Reference
from proxy.documents.document_reference import (
    ConversationReferences,
    ProjectReferences,
    ReferenceChange,
    with_documents,
)
from proxy.responses import Json
from proxy.routers.conversations import ConversationId
from proxy.schemas.references import (
    ReferencedDocuments,
    ReferenceOut,
    ReferencesChanged,
    ReferencesRemove,
    ReferencesReplace,
    reference_out,
)
from proxy.web.dependencies import Caller, PathId
from proxy.web.routes import api_router

router = api_router("/v1", tag="References")

PROJECT = "/projects/{project_id}/document-references"
CONVERSATION = "/chat/conversations/{conversation_id}/document-references"


async def ids_to_remove(
    body: ReferencesRemove | None = None,
    document_id: Annotated[
        list[Annotated[int, Query(ge=1, le=MAX_ID)]] | None,
        Query(description="May be repeated; without any, all references are removed"),
    ] = None,
) -> list[int] | None:
    """Return the documents that a DELETE names, in its query or its body; None means all."""
    named = [*(document_id or []), *((body and body.document_ids) or [])]
    if named or (body is not None and body.document_ids is not None):
        return named
    return None


IdsToRemove = Annotated[list[int] | None, Depends(ids_to_remove)]


async def _out(owner: str, references: Sequence[Reference], **holder: Any) -> list[Raw]:
    """Return references under their wire names; those whose document is gone are left out."""
    return [
        reference_out(reference, document, **holder)
        for reference, document in await with_documents(owner, references)
    ]


async def _changed(
    message: str,
    change: ReferenceChange,
    owner: str,
    references: Sequence[Reference],
    **holder: Any,
) -> Json:
    return Json(
        {
            "message": message,
            "added_count": change.added,
            "removed_count": change.removed,
            "current_references": await _out(owner, references, **holder),
        }
    )


@router.get(PROJECT, response_model=list[ReferenceOut], summary="List a project's references")
async def list_project_references(project_id: PathId, caller: Caller) -> Json:
    """With the documents they lead to."""
    references = await ProjectReferences.of_project(caller.owner, project_id)
    return Json(await _out(caller.owner, references, project_id=project_id))


@router.post(PROJECT, response_model=ReferencesChanged, summary="Replace a project's references")
async def replace_project_references(
    project_id: PathId, body: ReferencesReplace, caller: Caller
) -> Json:
    """All calls of the project's conversations take these documents along."""
    change = await ProjectReferences.replace_all(caller.owner, project_id, body.document_ids)
    references = await ProjectReferences.of_project(caller.owner, project_id)
    return await _changed(
        "References updated", change, caller.owner, references, project_id=project_id
    )


@router.delete(PROJECT, response_model=ReferencesChanged, summary="Remove a project's references")
async def delete_project_references(
    project_id: PathId, document_ids: IdsToRemove, caller: Caller
) -> Json:
    """Those of the named documents, or all."""
    change = await ProjectReferences.take_away(caller.owner, project_id, document_ids)
    references = await ProjectReferences.of_project(caller.owner, project_id)
    return await _changed(
        "References removed", change, caller.owner, references, project_id=project_id
    )


@router.get(
    CONVERSATION, response_model=list[ReferenceOut], summary="List a conversation's references"
)
async def list_conversation_references(conversation_id: ConversationId, caller: Caller) -> Json:
    """Its own; those of its project are not among them."""
    own = await ConversationReferences.of_conversation(caller.owner, conversation_id)
    return Json(await _out(caller.owner, own, conversation_id=conversation_id))


@router.post(
    CONVERSATION, response_model=ReferencesChanged, summary="Replace a conversation's references"
)
async def replace_conversation_references(
    conversation_id: ConversationId, body: ReferencesReplace, caller: Caller
) -> Json:
    """Its calls take these documents along; what its project references already is left out."""
    change = await ConversationReferences.replace_all(
        caller.owner, conversation_id, body.document_ids
    )
    own = await ConversationReferences.of_conversation(caller.owner, conversation_id)
    return await _changed(
        "References updated", change, caller.owner, own, conversation_id=conversation_id
    )


@router.delete(
    CONVERSATION, response_model=ReferencesChanged, summary="Remove a conversation's references"
)
async def delete_conversation_references(
    conversation_id: ConversationId, document_ids: IdsToRemove, caller: Caller
) -> Json:
    """Those of the named documents, or all."""
    change = await ConversationReferences.take_away(caller.owner, conversation_id, document_ids)
    own = await ConversationReferences.of_conversation(caller.owner, conversation_id)
    return await _changed(
        "References removed", change, caller.owner, own, conversation_id=conversation_id
    )


@router.get(
    "/chat/conversations/{conversation_id}/referenced-documents",
    response_model=ReferencedDocuments,
    summary="List what a conversation's calls take along",
)
async def list_referenced_documents(conversation_id: ConversationId, caller: Caller) -> Json:
    """Return the references of its project, then its own."""
    project_id, of_project, own = await ConversationReferences.with_project(
        caller.owner, conversation_id
    )
    return Json(
        {
            "conversation_id": conversation_id,
            "project_references": await _out(caller.owner, of_project, project_id=project_id),
            "conversation_references": await _out(
                caller.owner, own, conversation_id=conversation_id
            ),
        }
    )
