"""A conversation as a file to keep or to send elsewhere, and files of conversations back in."""

import re
from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import quote

from fastapi import Query, Request, Response
from starlette.responses import StreamingResponse

from proxy.documents.conversation import Conversation
from proxy.documents.message import StoredMessage
from proxy.errors import TooManyRequests, UnsupportedMediaType
from proxy.responses import Json
from proxy.routers.conversations import ConversationId
from proxy.schemas.export import CONVERSATION_FILE, ConversationsImported
from proxy.transfer.exporting import Format, as_json, as_markdown, as_openai
from proxy.transfer.importing import import_conversations
from proxy.web.dependencies import AppSettings, Caller, ReplyEngine
from proxy.web.handlers import is_json
from proxy.web.routes import api_router
from proxy.web.state import state_of

router = api_router("/v1/chat/conversations", tag="Export and import")

IMPORT_PATH = "/v1/chat/conversations/import"
"""May be longer than other bodies: `import_bytes`."""

MEDIA_TYPES: dict[Format, tuple[str, str]] = {
    "markdown": ("text/markdown; charset=utf-8", "md"),
    "json": ("application/json", "json"),
    "openai": ("application/json", "openai.json"),
}

NAME_CHARACTERS = 80


@router.get(
    "/{conversation_id}/export",
    summary="Export a conversation",
    response_class=Response,
    responses={
        200: {
            "description": "The file",
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "text/markdown": {"schema": {"type": "string"}},
            },
        }
    },
)
async def export_conversation(
    conversation_id: ConversationId,
    caller: Caller,
    format_: Annotated[Format, Query(alias="format", description="What kind of file")] = "json",
) -> Response:
    """`markdown` for a person, `json` with everything, `openai` as `messages` to send elsewhere.

    The JSON can be imported again, here or on another server, and then exports the same.
    """
    conversation = await Conversation.summary(caller.owner, conversation_id)
    history = Conversation.history(caller.owner, conversation_id)
    # The first part is read before the answer begins: an unknown id is still a 404.
    first = await anext(history)
    parts = _chained(first, history)
    if format_ == "markdown":
        content = as_markdown(conversation, parts)
    elif format_ == "openai":
        content = as_openai(conversation, parts)
    else:
        content = as_json(caller.owner, conversation, parts)
    media_type, extension = MEDIA_TYPES[format_]
    return StreamingResponse(
        content,
        media_type=media_type,
        headers={"Content-Disposition": _disposition(conversation["name"], extension)},
    )


@router.post(
    "/import",
    summary="Import conversations",
    response_model=ConversationsImported,
    openapi_extra={"requestBody": {"required": True, "content": CONVERSATION_FILE}},
)
async def import_file(
    request: Request, caller: Caller, settings: AppSettings, engine: ReplyEngine
) -> Json:
    """Our own JSON (one or a list), or the `conversations.json` of a ChatGPT export.

    It is read while it arrives. Each conversation is imported whole or not at all; one that
    cannot be read is told of in `errors` and the others go on.
    """
    if not is_json(request.headers.get("content-type", "")):
        raise UnsupportedMediaType
    importing = state_of(request).importing
    if importing.locked():
        raise TooManyRequests(
            "Another import is running; try again when it has ended",
            code="too_many_imports",
            retry_after_seconds=10,
        )
    # One conversation of a file may take as much memory as a hundred ordinary requests.
    async with importing:
        return Json(
            await import_conversations(caller.owner, request.stream(), settings, engine.worker_id)
        )


async def _chained(
    first: list[StoredMessage], rest: AsyncIterator[list[StoredMessage]]
) -> AsyncIterator[list[StoredMessage]]:
    yield first
    async for part in rest:
        yield part


def _disposition(name: str, extension: str) -> str:
    """Return a file name for every browser: plain letters, and the true name beside them."""
    true_name = re.sub(r'[\x00-\x1f/\\:*?"<>|]+', " ", name).strip(" .")[:NAME_CHARACTERS].strip()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", true_name).strip("-.") or "conversation"
    full = quote(f"{true_name or 'conversation'}.{extension}", safe="")
    return f"attachment; filename=\"{plain}.{extension}\"; filename*=UTF-8''{full}"
