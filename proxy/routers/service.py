"""`/` and `/health`: open to everybody, they say nothing that is secret."""

from typing import Any

from fastapi import APIRouter, Request

from proxy import __version__
from proxy.responses import Json

router = APIRouter(tags=["Service"])


@router.get("/", summary="What this is", response_model=dict[str, Any])
async def get_root() -> Json:
    """Name, version and where to go on."""
    return Json(
        {
            "name": "Poe OpenAI Proxy",
            "version": __version__,
            "links": {
                "docs": "/docs",
                "openapi": "/openapi.json",
                "health": "/health",
                "models": "/v1/models",
                "conversations": "/v1/chat/conversations",
            },
        }
    )


@router.get("/health", summary="Is it working?", response_model=dict[str, Any])
async def get_health(request: Request) -> Json:
    """`{"status": "healthy"}`, or 503 when the database does not answer."""
    await request.app.state.database.ping()
    return Json({"status": "healthy", "version": __version__, "database": "ok"})
