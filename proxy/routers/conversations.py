"""`/v1/chat/conversations`: the memory, without its messages."""

from typing import Annotated, Any

from fastapi import Path, Query

from proxy.documents.conversation import Conversation
from proxy.documents.counter import Counter
from proxy.documents.message import Message, attempt_name
from proxy.documents.message_location import (
    LocatedMessage,
    MessageNotFound,
    change_conversation,
    remove_conversation,
)
from proxy.documents.project import Project
from proxy.documents.source_manifest import SourceManifest
from proxy.responses import Json
from proxy.schemas.common import (
    EMPTY_IS_ABSENT,
    Done,
    Fields,
    Limit,
    OptionalId,
    UtcTime,
    picked,
)
from proxy.schemas.conversations import (
    ConversationCreate,
    ConversationCreated,
    ConversationFork,
    ConversationForked,
    ConversationOut,
    ConversationUpdate,
    GroupedConversation,
    conversation_out,
)
from proxy.search.stored_names import Names
from proxy.web.dependencies import AppSettings, Caller, ReplyEngine, TurnMaker
from proxy.web.routes import api_router

router = api_router("/v1/chat/conversations", tag="Conversations")

NO_PROJECT = "其它"
"""The group of conversations without a project, or with one that has no name."""

NameQuery = Annotated[str, Query(description="Only those whose name has it; as in /v1/search")]

ConversationId = Annotated[str, Path(max_length=100)]


@router.post("", response_model=ConversationCreated, summary="Create a conversation")
async def create_conversation(caller: Caller, body: ConversationCreate | None = None) -> Json:
    """Everything is optional; a system prompt becomes the first message."""
    fields = body.model_dump(exclude_none=True) if body else {}
    conversation = Conversation(owner=caller.owner, **fields)
    if conversation.system_prompt:
        id_ = await Counter.reserve("messages")
        conversation.system_message_id = id_
        conversation.messages = [
            Message(
                id=id_,
                role="system",
                content=conversation.system_prompt,
                attempt=attempt_name(id_, 0),
            )
        ]
    await conversation.create()
    return Json({"conversation_id": conversation.id})


@router.get("", response_model=list[ConversationOut], summary="List conversations")
async def list_conversations(
    caller: Caller,
    settings: AppSettings,
    project_id: Annotated[OptionalId, Query(description="Only this project's")] = None,
    status: Annotated[OptionalId, Query(description="0 normal, 1 archived")] = None,
    limit: Annotated[Limit, Query(description="All by default")] = None,
    before: Annotated[
        UtcTime | None, EMPTY_IS_ABSENT, Query(description="Only less recently active")
    ] = None,
    query: NameQuery = "",
    fields: Annotated[Fields, Query()] = "",
) -> Json:
    """Newest activity first; empty filters count as absent."""
    most = min(limit, settings.page_messages) if limit else 0
    names = await Names.asked_for(query)
    found = await Conversation.summaries(
        caller.owner,
        project_id=project_id,
        status=status,
        before=before,
        limit=0 if names else most,
        matching=names.matching,
    )
    matching = [conversation_out(raw) for raw in found if names.take(raw["name"])]
    return Json(picked(matching[: most or None], fields, ConversationOut))


@router.get(
    "/grouped",
    response_model=dict[str, list[GroupedConversation]],
    summary="List conversations by project",
)
async def list_grouped_conversations(
    caller: Caller, query: NameQuery = "", fields: Annotated[Fields, Query()] = ""
) -> Json:
    """Project name → conversations, newest activity first; without a project under `其它`."""
    names = await Project.names(caller.owner)
    groups: dict[str, list[dict[str, Any]]] = {}
    wanted = await Names.asked_for(query)
    for raw in await Conversation.summaries(caller.owner, matching=wanted.matching):
        if not wanted.take(raw["name"]):
            continue
        name = names.get(raw["project_id"]) or NO_PROJECT
        entry = conversation_out(raw)
        groups.setdefault(name, []).append(
            {"conversation_id": entry["id"], "project_name": name, **entry}
        )
    return Json(
        {name: picked(entries, fields, GroupedConversation) for name, entries in groups.items()}
    )


@router.get("/{conversation_id}", response_model=ConversationOut, summary="Get a conversation")
async def get_conversation(conversation_id: ConversationId, caller: Caller) -> Json:
    """One conversation, without its messages."""
    return Json(conversation_out(await Conversation.summary(caller.owner, conversation_id)))


@router.put("/{conversation_id}", response_model=Done, summary="Update a conversation")
async def update_conversation(
    conversation_id: ConversationId, body: ConversationUpdate, caller: Caller
) -> Json:
    """Any fields; changing the system prompt changes its message too."""
    fields = body.model_dump(exclude_none=True)
    reserved = 0
    if fields.get("system_prompt"):
        reserved = await Counter.reserve("messages")
    await change_conversation(caller.owner, conversation_id, fields, reserved)
    return Json({"message": "Conversation updated"})


@router.post(
    "/{conversation_id}/fork",
    response_model=ConversationForked,
    summary="Copy a conversation up to a message",
)
async def fork_conversation(
    conversation_id: ConversationId, body: ConversationFork, caller: Caller, turns: TurnMaker
) -> Json:
    """Return the copy goes on another way.

    The original stays as it is. Ids of messages are new ones.
    """
    located = await LocatedMessage.find(caller.owner, body.message_id)
    if located.location.conversation_id != conversation_id:
        raise MessageNotFound
    forked = await turns.fork(caller.owner, body.message_id)
    origin = {"conversation_id": conversation_id, "message_id": body.message_id}
    return Json({"conversation_id": forked, "forked_from": origin})


@router.delete("/{conversation_id}", response_model=Done, summary="Delete a conversation")
async def delete_conversation(
    conversation_id: ConversationId, caller: Caller, engine: ReplyEngine
) -> Json:
    """With all its messages; a reply that is being written ends."""
    await remove_conversation(caller.owner, conversation_id, worker=engine.worker_id)
    engine.end_deleted(caller.owner, conversation_id)
    await SourceManifest.forget(caller.owner, conversation_id)
    return Json({"message": "Conversation deleted"})
