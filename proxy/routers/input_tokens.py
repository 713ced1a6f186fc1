"""`…/input-tokens`: what a message would cost, before it is sent."""

from fastapi import Request

from proxy.documents.chat_message import ChatMessage
from proxy.responses import Json
from proxy.routers.conversations import ConversationId
from proxy.schemas.input_tokens import InputTokensOut
from proxy.schemas.messages import MessageCreate
from proxy.turns.preview import count_input
from proxy.turns.turn import NewTurn
from proxy.web.dependencies import AppSettings, Caller, Models
from proxy.web.routes import api_router
from proxy.web.state import state_of

router = api_router("/v1/chat/conversations", tag="Messages")


@router.post(
    "/{conversation_id}/input-tokens",
    response_model=InputTokensOut,
    summary="Count what a message would send",
)
async def count_input_tokens(
    request: Request,
    conversation_id: ConversationId,
    body: MessageCreate,
    caller: Caller,
    registry: Models,
    settings: AppSettings,
) -> Json:
    """Count history, documents and source of the same body as `POST …/messages`; send nothing."""
    counted = await count_input(
        caller.owner,
        conversation_id,
        NewTurn(
            messages=(ChatMessage(body.role, body.content),),
            model=body.model or "",
            documents=body.documents,
            system_prompt_append=body.system_prompt_append,
            source=body.source,
        ),
        settings=settings,
        registry=registry,
        digests=state_of(request).digests,
    )
    parts = ("system_prompt", "documents", "source_code", "history", "message")
    return Json(
        {
            "model": counted.model,
            "context_tokens": counted.context_tokens,
            "input_tokens": counted.input_tokens,
            "tokens": {name: getattr(counted, name) for name in parts},
            "omitted_messages": counted.omitted_messages,
            "attached_source": counted.attached_source,
        }
    )
