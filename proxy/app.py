"""`create_app(settings)`: lifespan, middleware, handlers, routers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from proxy import __version__
from proxy.database import Database, connect
from proxy.dependencies import caller
from proxy.handlers import add_handlers
from proxy.middleware import Edge
from proxy.routers import projects, service
from proxy.schemas.common import ErrorBody
from proxy.settings import Settings, load_settings

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": text}
    for status, text in {
        401: "No valid key",
        404: "Not found",
        409: "Does not fit the present state",
        413: "Too large",
        422: "The request is not valid",
        429: "Too many requests",
        503: "The database or the server is not ready",
    }.items()
}


def create_app(
    settings: Settings | None = None,
    *,
    database: Database | None = None,
    create_indexes: bool = True,
) -> FastAPI:
    """The application; a `database` that is passed in stays the caller's to close."""
    settings = settings or load_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened = database or connect(
            settings.mongodb_uri.get_secret_value(), settings.mongodb_database
        )
        app.state.database = opened
        try:
            await opened.prepare(indexes=create_indexes)
            yield
        finally:
            if database is None:
                opened.close()

    app = FastAPI(
        title="Poe OpenAI Proxy",
        version=__version__,
        summary="Poe and OpenAI models behind one OpenAI-style HTTP API with a memory",
        lifespan=lifespan,
    )
    app.state.settings = settings
    add_handlers(app)
    app.add_middleware(Edge, body_bytes=settings.body_bytes)

    api = APIRouter(prefix="/v1", dependencies=[Depends(caller)], responses=ERRORS)
    for module in (projects,):
        api.include_router(module.router)
    app.include_router(service.router)
    app.include_router(api)
    return app
