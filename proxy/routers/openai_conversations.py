"""`/v1/conversations`: OpenAI's Conversations, another view of the same ones."""

from typing import Annotated, Any

from fastapi import Path, Request

from proxy.dialects.responses.answer import page_of
from proxy.dialects.responses.conversations import (
    PARTS,
    created_items,
    list_page,
    new_messages,
    without_item,
)
from proxy.dialects.responses.ids import (
    CONVERSATION,
    conversation_key,
    no_conversation,
    no_item,
    read_item_id,
)
from proxy.dialects.responses.items import LOGPROBS, PLAIN, ItemView, items_of
from proxy.dialects.responses.shapes import conversation_object
from proxy.documents.base import Raw
from proxy.documents.conversation import Conversation, ConversationNotFound, StoredConversation
from proxy.documents.message import StoredMessage
from proxy.documents.message_location import (
    LocatedMessage,
    MessageNotFound,
    edit_message,
    remove_conversation,
)
from proxy.documents.source_manifest import SourceManifest
from proxy.errors import Conflict, TooLarge, UnsupportedMediaType
from proxy.responses import Json
from proxy.routers.responses import Include, Order, PageLimit
from proxy.schemas.completions import read_object, wrong
from proxy.schemas.responses import (
    ConversationObject,
    Deleted,
    ItemList,
    ItemUpdate,
    check_metadata,
)
from proxy.turns.append import append_messages
from proxy.web.dependencies import AppSettings, Caller, ReasoningSealer, ReplyEngine
from proxy.web.handlers import is_json
from proxy.web.routes import api_router

router = api_router("/v1/conversations", tag="Items")

Id = Annotated[str, Path(max_length=100)]
ItemPath = Annotated[str, Path(max_length=100)]


@router.post("", response_model=ConversationObject, summary="Create a conversation with items")
async def create_openai_conversation(
    request: Request, caller: Caller, settings: AppSettings, sealer: ReasoningSealer
) -> Json:
    """`{"items", "metadata"}`, both optional; it is listed with all others."""
    body = await _body(request)
    check_metadata(body.get("metadata"))
    messages = new_messages(body.get("items"), sealer.unseal)
    conversation = Conversation(owner=caller.owner, metadata=body.get("metadata") or {})
    await conversation.create()
    if messages:
        await append_messages(caller.owner, conversation.id, messages, settings)
    return Json(conversation_object(conversation.raw()))


@router.get("", response_model=ItemList, summary="List conversations, newest activity first")
async def list_openai_conversations(
    caller: Caller, after: str | None = None, limit: PageLimit = 20
) -> Json:
    """Only ours has this: OpenAI's API lists none."""
    before = None
    if after:
        before = (await _summary(caller.owner, after))["updated_at"]
    found = await Conversation.summaries(caller.owner, before=before, limit=limit + 1)
    shown = [conversation_object(raw) for raw in found[:limit]]
    return Json(page_of(shown, len(found) > limit))


@router.get("/{conversation_id}", response_model=ConversationObject, summary="Get a conversation")
async def get_openai_conversation(conversation_id: Id, caller: Caller) -> Json:
    """Without its items."""
    return Json(conversation_object(await _summary(caller.owner, conversation_id)))


@router.post(
    "/{conversation_id}", response_model=ConversationObject, summary="Update a conversation"
)
async def update_openai_conversation(conversation_id: Id, request: Request, caller: Caller) -> Json:
    """`{"metadata"}` replaces what is there."""
    body = await _body(request)
    check_metadata(body.get("metadata"))
    if body.get("metadata") is None:
        raise wrong("metadata", "must be an object of texts")
    try:
        await Conversation.change(
            caller.owner, conversation_key(conversation_id), {"metadata": body["metadata"]}
        )
    except ConversationNotFound:
        raise no_conversation(conversation_id) from None
    return Json(conversation_object(await _summary(caller.owner, conversation_id)))


@router.delete("/{conversation_id}", response_model=Deleted, summary="Delete a conversation")
async def delete_openai_conversation(
    conversation_id: Id, caller: Caller, engine: ReplyEngine
) -> Json:
    """With all its items; a reply that is being written ends."""
    key = conversation_key(conversation_id)
    try:
        await remove_conversation(caller.owner, key, worker=engine.worker_id)
    except ConversationNotFound:
        raise no_conversation(conversation_id) from None
    engine.end_deleted(caller.owner, key)
    await SourceManifest.forget(caller.owner, key)
    return Json({"id": CONVERSATION + key, "object": "conversation.deleted", "deleted": True})


@router.get("/{conversation_id}/items", response_model=ItemList, summary="List items")
async def list_items(
    conversation_id: Id,
    caller: Caller,
    after: str | None = None,
    limit: PageLimit = 20,
    order: Order = "desc",
    include: Include = None,
) -> Json:
    """Return a page behind the item `after`; newest first by default."""
    cursor = None
    if after:
        cursor = read_item_id(after)
        if cursor is None:
            raise no_item(after, param="after")
    try:
        page = await list_page(
            caller.owner,
            conversation_key(conversation_id),
            after=cursor,
            limit=limit,
            newest_first=order == "desc",
            view=_view(include),
        )
    except ConversationNotFound:
        raise no_conversation(conversation_id) from None
    return Json(page)


@router.post("/{conversation_id}/items", response_model=ItemList, summary="Add items")
async def create_items(
    conversation_id: Id,
    request: Request,
    caller: Caller,
    settings: AppSettings,
    sealer: ReasoningSealer,
) -> Json:
    """At most 20 a call; no model is asked."""
    messages = new_messages((await _body(request)).get("items"), sealer.unseal)
    if not messages:
        raise wrong("items", "must be a list of at least one item")
    try:
        stored = await append_messages(
            caller.owner, conversation_key(conversation_id), messages, settings
        )
    except ConversationNotFound:
        raise no_conversation(conversation_id) from None
    return Json(created_items(stored))


@router.get(
    "/{conversation_id}/items/{item_id}", response_model=dict[str, Any], summary="Get an item"
)
async def get_item(
    conversation_id: Id, item_id: ItemPath, caller: Caller, include: Include = None
) -> Json:
    """One item_id, by its id."""
    located = await _located(caller.owner, conversation_id, item_id)
    return Json(_item(located.message, item_id, _view(include)))


@router.post(
    "/{conversation_id}/items/{item_id}", response_model=dict[str, Any], summary="Edit an item"
)
async def update_item(
    conversation_id: Id, item_id: ItemPath, body: ItemUpdate, caller: Caller, settings: AppSettings
) -> Json:
    """Return the new text of a message.

    The former one is kept as a revision. Only ours has this.
    """
    located = await _located(caller.owner, conversation_id, item_id)
    _item(located.message, item_id)
    if not item_id.startswith("msg_"):
        raise wrong("content", "only the text of a message can be edited")
    if len(body.content.encode()) > settings.message_bytes:
        raise TooLarge(f"The message is larger than {settings.message_bytes} bytes; shorten it")
    await edit_message(caller.owner, located.message["id"], body.content)
    return Json(_item((await _located(caller.owner, conversation_id, item_id)).message, item_id))


@router.delete(
    "/{conversation_id}/items/{item_id}",
    response_model=ConversationObject,
    summary="Delete an item",
)
async def delete_item(
    conversation_id: Id, item_id: ItemPath, caller: Caller, engine: ReplyEngine
) -> Json:
    """Delete one item and return the conversation, as OpenAI does; a reply keeps its others."""
    while True:
        located = await _located(caller.owner, conversation_id, item_id)
        message = located.message
        _item(message, item_id)
        named = read_item_id(item_id)
        assert named is not None
        fields = without_item(message, named) if message["role"] == "assistant" else None
        if fields is None:
            await engine.delete(caller.owner, [message["id"]])
            break
        if message.get("status") == "streaming":
            raise Conflict("This reply is still being written; stop it before editing it")
        unset = tuple(PARTS - fields.keys())
        if await located.replace(fields, unset=unset):
            break
    return Json(conversation_object(await _summary(caller.owner, conversation_id)))


async def _body(request: Request) -> Raw:
    raw = await request.body()
    if not raw.strip():
        return {}
    if not is_json(request.headers.get("content-type", "")):
        raise UnsupportedMediaType
    return read_object(raw)


async def _summary(owner: str, id_: str) -> StoredConversation:
    try:
        return await Conversation.summary(owner, conversation_key(id_))
    except ConversationNotFound:
        raise no_conversation(id_) from None


async def _located(owner: str, id_: str, item: str) -> LocatedMessage:
    """Find the message that holds an item of a conversation.

    Raises:
        NotFound: there is none in this conversation of this owner.
    """
    found = read_item_id(item)
    if found is None:
        raise no_item(item)
    try:
        located = await LocatedMessage.find(owner, found.message_id)
    except MessageNotFound:
        raise no_item(item) from None
    if located.location.conversation_id != conversation_key(id_):
        raise no_item(item)
    return located


def _view(include: list[str] | None) -> ItemView:
    return ItemView(logprobs=LOGPROBS in (include or ()))


def _item(message: StoredMessage, id_: str, view: ItemView = PLAIN) -> Raw:
    for item in items_of(message, view):
        if item["id"] == id_:
            return item
    raise no_item(id_)
