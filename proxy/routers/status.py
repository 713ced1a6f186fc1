"""`/v1/status` for scope admin, and the replies that are being written."""

from fastapi import Request

from proxy import __version__
from proxy.documents.running import running_replies
from proxy.documents.worker import Worker
from proxy.responses import Json
from proxy.schemas.status import RunningReply, StatusOut
from proxy.web.dependencies import Caller, Models
from proxy.web.routes import api_router
from proxy.web.state import state_of

router = api_router("/v1")


@router.get(
    "/chat/running-replies",
    response_model=list[RunningReply],
    summary="List replies that are being written",
    tags=["Messages"],
)
async def list_running_replies(caller: Caller) -> Json:
    """List the caller's own, oldest first; `POST /v1/chat/messages/{id}/stop` stops one."""
    return Json(await running_replies(caller.owner))


@router.get("/status", response_model=StatusOut, summary="How is the server?", tags=["Service"])
async def get_status(request: Request, registry: Models) -> Json:
    """Tell version, database, workers, and what the providers last answered."""
    state = state_of(request)
    listed = await registry.models_by_provider()
    return Json(
        {
            "version": __version__,
            "database": await state.database.description(),
            "workers": await Worker.list_all(),
            "providers": [
                {"name": name, "models": count, "last_answer": state.last_answers.of(name)}
                for name, count in listed.items()
            ],
        }
    )
