"""`/v1/models`: what the configured providers offer, as OpenAI lists it."""

from typing import Any

from fastapi import APIRouter

from proxy.responses import Json
from proxy.web.dependencies import Models

router = APIRouter(prefix="/models", tags=["Models"])


@router.get("", response_model=dict[str, Any], summary="List models")
async def list_models(registry: Models) -> Json:
    """`{"object": "list", "data": [{"id", "object", "created", "owned_by"}]}`."""
    return Json({"object": "list", "data": await registry.models()})


@router.get("/{model:path}", response_model=dict[str, Any], summary="Get a model")
async def get_model(model: str, registry: Models) -> Json:
    """One of the listed models, also as `<provider>/<model>`; names may hold slashes."""
    return Json(await registry.model(model))
