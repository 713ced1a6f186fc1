"""`create_app(settings)`: lifespan, middleware, handlers, routers."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy import __version__
from proxy.access.auth import Authenticator
from proxy.access.last_answers import LastAnswers
from proxy.access.limits import Limits
from proxy.access.origins import UPLOADS
from proxy.access.poe_points import PoePoints
from proxy.access.reply_slots import ReplySlots, paths_that_begin_replies
from proxy.access.usage import UsageRecorder
from proxy.credentials import Verifier
from proxy.database import Database, connect
from proxy.documents.schema_version import migrate_in_background
from proxy.documents.server_secret import REASONING, ServerSecret
from proxy.providers.base import Provider
from proxy.providers.registry import Registry
from proxy.routers import (
    auth,
    completions,
    console,
    conversations,
    docs,
    export,
    input_tokens,
    keys,
    messages,
    models,
    openai_conversations,
    pass_through,
    plan_categories,
    plan_documents,
    plan_generation,
    plan_tags,
    projects,
    references,
    responses,
    search,
    service,
    source_code,
    source_write,
    status,
    usage,
    users,
)
from proxy.sealing import Sealer
from proxy.settings import Settings, load_settings
from proxy.source_code.digests import Digests
from proxy.source_code.roots import SourceRoots
from proxy.streaming.engine import Engine
from proxy.turns.begin import Turns
from proxy.web.clients import add_web_clients
from proxy.web.compression import Compression
from proxy.web.cors import CrossOrigin
from proxy.web.handlers import add_handlers
from proxy.web.hot_path import HotPath
from proxy.web.logs import log_reply
from proxy.web.metrics import keep_sampling, reply_counter
from proxy.web.middleware import AccessControl, RequestContext
from proxy.web.openapi import describe
from proxy.web.shutdown import draining_on_signals
from proxy.web.state import ServerState
from proxy.web.tracing import traced

RESOURCES = (
    messages,
    conversations,
    input_tokens,
    completions,
    responses,
    openai_conversations,
    pass_through,
    export,
    models,
    projects,
    plan_categories,
    plan_documents,
    plan_generation,
    plan_tags,
    references,
    search,
    usage,
    keys,
    users,
    auth,
    source_code,
    source_write,
    status,
)
"""What is served under `/v1`, in the order of how often it is asked.

FastAPI tries one route after the other.
"""


class Application(FastAPI):
    """FastAPI without the layers of its own that stand outside of all others.

    `AccessControl` is the last to catch what nobody caught, bounds bodies, and `tracing.py`
    tells of replies: a second catch, bound and telemetry would cost every request a twentieth.
    Layers that are added later stand outside of all others.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        scope["app"] = self
        await self.middleware_stack(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Return the layers from the last added one inwards."""
        layer: Any = super().build_middleware_stack()
        while not isinstance(layer, cast("type[Any]", self.user_middleware[0].cls)):
            layer = layer.app
        return cast("ASGIApp", layer)


def _add_source(app: FastAPI, settings: Settings) -> None:
    """Say what may be read as source; whether keys exist is known once the server runs."""

    async def is_locked() -> bool:
        authenticator: Authenticator = app.state.authenticator
        return await authenticator.is_locked()

    app.state.source_roots = SourceRoots(settings, is_locked)
    app.state.digests = Digests(settings, app.state.source_roots)


def create_app(
    settings: Settings | None = None,
    *,
    database: Database | None = None,
    providers: Iterable[Provider] | None = None,
    create_indexes: bool = True,
) -> FastAPI:
    """Yield the application.

    `database` and `providers` replace what the settings describe, for tests and embedding;
    a database that is passed in stays the caller's to close.
    """
    settings = settings or load_settings()
    registry = Registry(settings, providers=providers)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened = database or connect(
            settings.mongodb_uri.get_secret_value(), settings.mongodb_database
        )
        app.state.database = opened
        try:
            await opened.prepare(indexes=create_indexes)
            engine = Engine(settings)
            app.state.engine = engine
            app.state.turns = Turns(settings, registry, engine, app.state.digests)
            recorder = UsageRecorder(settings, registry, engine.completions)
            engine.completions.listeners += [reply_counter(settings), log_reply]
            app.state.last_answers = LastAnswers(engine.completions)
            app.state.usage, app.state.poe_points = (
                recorder,
                PoePoints(settings, registry, engine, recorder),
            )
            app.state.limits = Limits(settings, recorder)
            app.state.slots = ReplySlots(settings, engine, recorder)
            app.state.authenticator = Authenticator(settings)
            app.state.verifier, app.state.sealer = (
                Verifier(),
                Sealer(await ServerSecret.value_of(REASONING)),
            )
            await engine.start()
            recorder.start()
            registry.start()
            background = [
                asyncio.create_task(keep_sampling(engine, app.state.metrics_directory)),
                asyncio.create_task(app.state.poe_points.run()),
                asyncio.create_task(migrate_in_background(opened.database)),
            ]
            async with traced(engine):
                with draining_on_signals(engine):
                    yield
                for task in background:
                    task.cancel()
                await engine.shutdown()
                await recorder.stop()
        finally:
            await registry.close()
            if database is None:
                opened.close()

    app = Application(
        title="Poe OpenAI Proxy",
        version=__version__,
        summary="Poe and OpenAI models behind one OpenAI-style HTTP API with a memory",
        lifespan=lifespan,
        docs_url=None,
        openapi_url=None,
        redoc_url=None,
        # A redirect would go to whatever host the request names.
        redirect_slashes=False,
        middleware=[
            Middleware(RequestContext, access_log=settings.access_log),
            Middleware(CrossOrigin, settings=settings),
            Middleware(
                AccessControl,
                settings=settings,
                reply_paths=paths_that_begin_replies(RESOURCES),
                body_bytes_of_paths={
                    completions.PATH: settings.body_bytes,
                    export.IMPORT_PATH: settings.import_bytes,
                    source_write.PATH: settings.source_write_bytes,
                    **dict.fromkeys(UPLOADS, settings.upload_bytes),
                },
            ),
            # These never meet FastAPI, whose matching and injection cost more.
            Middleware(
                HotPath,
                answers={
                    completions.PATH: completions.complete,
                    responses.PATH: responses.respond,
                },
            ),
            Middleware(Compression),
        ],
    )
    describe(app)
    app.state = ServerState()
    app.state.settings = settings
    app.state.registry = registry
    app.state.importing = asyncio.Lock()
    app.state.metrics_directory = None
    _add_source(app, settings)
    add_handlers(app)
    app.router.routes += _routes(settings)
    return add_web_clients(app, settings)


def _routes(settings: Settings) -> list[BaseRoute]:
    """Return all routes: those of the modules themselves, read once a process."""
    modules = [*RESOURCES, service, *([console] if settings.console else []), docs]
    return [route for module in modules for route in module.router.routes]
