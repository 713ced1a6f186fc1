"""`POST /v1/plan/documents/generate`: a plan document written by a model."""

from fastapi import Request, Response

from proxy.access.reply_slots import begins_reply
from proxy.dialects.plan_documents import DocumentFormat
from proxy.errors import TooLarge
from proxy.plans.generate import NewPlan, begin_plan
from proxy.routers.messages import IdempotencyKey
from proxy.schemas.common import ASKS_A_MODEL
from proxy.schemas.plan_generation import DocumentGenerate, DocumentGenerated
from proxy.streaming.delivery import deliver
from proxy.streaming.reply import fingerprint
from proxy.web.dependencies import AppSettings, Caller, Models, ReplyEngine
from proxy.web.routes import api_router

router = api_router("/v1/plan/documents", tag="Plan documents")


@router.post(
    "/generate",
    response_model=DocumentGenerated,
    summary="Let a model write a plan document",
    responses=ASKS_A_MODEL,
)
@begins_reply
async def generate_document(
    request: Request,
    body: DocumentGenerate,
    caller: Caller,
    settings: AppSettings,
    registry: Models,
    engine: ReplyEngine,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Fill the category's template and store the answer as the file's next version.

    With `stream` the text comes as events like a reply's; the last one before `[DONE]` is
    the document. What arrived is stored also when the reply breaks off or is stopped;
    `provenance.status` says so then.
    """
    content = body.content or ""
    if len(content.encode()) > settings.document_bytes:
        raise TooLarge(f"The content is larger than {settings.document_bytes} bytes; shorten it")
    reply = await begin_plan(
        caller.owner,
        NewPlan(
            category_id=body.category_id,
            filename=body.filename,
            project_id=body.project_id,
            model=body.model or "",
            conversation_id=body.conversation_id or "",
            message_ids=body.message_ids,
            document_ids=body.document_ids,
            content=content,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint(body.model_dump()) if idempotency_key else "",
        ),
        settings=settings,
        registry=registry,
        engine=engine,
    )
    return await deliver(
        request,
        engine,
        caller.owner,
        reply,
        DocumentFormat(reply),
        stream=body.stream,
        open_seconds=settings.stream_open_seconds,
        accept_replace=body.accept_replace,
        cancel_on_disconnect=body.on_disconnect == "cancel",
    )
