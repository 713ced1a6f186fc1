"""`/` and what asks how the server is: open to everybody, they say nothing that is secret."""

import asyncio
from typing import Any

from fastapi import Request, Response

from proxy import __version__
from proxy.errors import Unavailable
from proxy.responses import Json
from proxy.routers.console import to_console
from proxy.web.dependencies import AppSettings
from proxy.web.metrics import render, sample
from proxy.web.routes import api_router
from proxy.web.state import state_of

router = api_router(tag="Service")

READY_SECONDS = 1.0
"""How long the database may take to answer before the server counts as not ready."""

NOT_READY: dict[str, Any] = {
    "description": "The database is silent, or the server is shutting down",
    "content": {
        "application/json": {
            "example": Unavailable(
                "Not ready (shutdown: in progress)",
                extra={"checks": {"database": "ok", "shutdown": "in progress"}},
            ).body()
        }
    },
}


@router.get("/", summary="What this is", response_model=dict[str, Any])
async def get_root(request: Request, settings: AppSettings) -> Response:
    """Name, version and where to go on; a browser gets the web client, or the console."""
    if "text/html" in request.headers.get("accept", ""):
        clients = state_of(request).web_clients
        if clients is not None and (page := await clients.page(request.scope)):
            return page
        if settings.console:
            return to_console()
    return Json(
        {
            "name": "Poe OpenAI Proxy",
            "version": __version__,
            "links": {
                **({"console": "/console/"} if settings.console else {}),
                "docs": "/docs",
                "openapi": "/openapi.json",
                "health": "/health",
                "live": "/livez",
                "ready": "/readyz",
                "models": "/v1/models",
                "conversations": "/v1/chat/conversations",
            },
        },
        headers={"Vary": "Accept"},
    )


@router.get("/health", summary="Is it working?", response_model=dict[str, Any])
async def get_health(request: Request) -> Json:
    """`{"status": "healthy"}`, or 503 when the database does not answer."""
    await state_of(request).database.ping()
    return Json({"status": "healthy", "version": __version__, "database": "ok"})


@router.get("/livez", summary="Does the process answer?", response_model=dict[str, Any])
async def get_livez() -> Json:
    """Answer, whatever the database does: a restart would only cut replies that survive it."""
    return Json({"status": "alive"})


@router.get(
    "/readyz",
    summary="Should it get requests?",
    response_model=dict[str, Any],
    responses={503: NOT_READY},
)
async def get_readyz(request: Request) -> Json:
    """`{"status": "ready", "checks": {"database": "ok", "shutdown": "ok"}}`, or 503 with both."""
    state = state_of(request)
    checks = {
        "database": "ok"
        if await state.database.answers_within(READY_SECONDS)
        else f"no answer within {READY_SECONDS:g} second",
        "shutdown": "in progress" if state.engine.is_stopping else "ok",
    }
    wrong = [f"{name}: {found}" for name, found in checks.items() if found != "ok"]
    if wrong:
        raise Unavailable(
            f"Not ready ({'; '.join(wrong)})", retry_after_seconds=5, extra={"checks": checks}
        )
    return Json({"status": "ready", "checks": checks})


@router.get("/metrics", include_in_schema=False)
async def get_metrics(request: Request) -> Response:
    """Return the server's numbers for Prometheus; of several workers, all of them."""
    state = state_of(request)
    state.engine.completions.tell()
    sample(state.engine)
    accept = request.headers.get("accept", "")
    content, media_type = await asyncio.to_thread(render, state.metrics_directory, accept)
    return Response(content, headers={"content-type": media_type})
