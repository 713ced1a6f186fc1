"""`/v1/models`: what the configured providers offer, as OpenAI lists it."""

from typing import Any

from fastapi import APIRouter

from proxy.documents.base import Raw
from proxy.responses import Json
from proxy.settings import Settings
from proxy.web.dependencies import AppSettings, Models

router = APIRouter(prefix="/models", tags=["Models"])


@router.get("", response_model=dict[str, Any], summary="List models")
async def list_models(registry: Models, settings: AppSettings) -> Json:
    """Return `{"object": "list", "data": [{"id", "object", "created", "owned_by"}]}`.

    `default_model` is the model of calls that name none. What `proxy.toml` says of a model is
    beside it: `context_tokens`, `input_price_per_million_tokens`, `points_per_request` …
    """
    listed = [_configured(settings, model) for model in await registry.models()]
    return Json({"object": "list", "data": listed, "default_model": registry.default_model})


@router.get("/{model:path}", response_model=dict[str, Any], summary="Get a model")
async def get_model(model: str, registry: Models, settings: AppSettings) -> Json:
    """One of the listed models, also as `<provider>/<model>`; names may hold slashes."""
    return Json(_configured(settings, await registry.model(model)))


def _configured(settings: Settings, model: Raw) -> Raw:
    """Return a listed model with what `proxy.toml` says of it."""
    said = settings.model_settings(model["id"]).model_dump(exclude={"route"}, exclude_none=True)
    return {**model, **said}
