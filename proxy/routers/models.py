"""`/v1/models`: what the configured providers offer, as OpenAI lists it."""

import hashlib
from typing import Annotated, Any

import orjson
from fastapi import Query

from proxy.dialects.codex_models import codex_models
from proxy.documents.base import Raw
from proxy.responses import Json
from proxy.settings import Settings
from proxy.web.dependencies import AppSettings, Models
from proxy.web.routes import api_router

ClientVersion = Annotated[
    str | None,
    Query(max_length=100, description="As the Codex CLI asks: the answer has its `models`, too"),
]

router = api_router("/v1/models", tag="Models")


@router.get("", response_model=dict[str, Any], summary="List models")
async def list_models(
    registry: Models, settings: AppSettings, client_version: ClientVersion = None
) -> Json:
    """Return `{"object": "list", "data": [{"id", "object", "created", "owned_by"}]}`.

    `default_model` is the model of calls that name none. What `proxy.toml` says of a model is
    beside it: `context_tokens`, `input_price_per_million_tokens`, `points_per_request` …
    """
    listed = [_configured(settings, model) for model in await registry.models()]
    body = {"object": "list", "data": listed, "default_model": registry.default_model}
    if client_version is None:
        return Json(body)
    models = codex_models(listed)
    return Json({**body, "models": models}, headers={"ETag": f'"{_hash(models)}"'})


@router.get("/{model:path}", response_model=dict[str, Any], summary="Get a model")
async def get_model(model: str, registry: Models, settings: AppSettings) -> Json:
    """One of the listed models, also as `<provider>/<model>`; names may hold slashes."""
    return Json(_configured(settings, await registry.model(model)))


def _configured(settings: Settings, model: Raw) -> Raw:
    """Return a listed model with what `proxy.toml` says of it."""
    said = settings.model_settings(model["id"]).model_dump(exclude={"route"}, exclude_none=True)
    return {**model, **said}


def _hash(models: list[Raw]) -> str:
    return hashlib.sha256(orjson.dumps(models)).hexdigest()[:32]
