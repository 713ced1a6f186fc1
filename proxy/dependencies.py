"""What routes ask for: the caller, the settings, things that are loaded or answered 404."""

import hmac
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path, Request

from proxy.documents.base import DEFAULT_OWNER, MAX_ID, Raw
from proxy.documents.project import Project
from proxy.engine import Engine
from proxy.errors import Unauthorized
from proxy.providers.registry import Registry
from proxy.settings import Settings
from proxy.turns import Turns


@dataclass(frozen=True, slots=True)
class CallerInfo:
    """Who asks; everything they see and make belongs to `owner`."""

    owner: str = DEFAULT_OWNER


def settings_of(request: Request) -> Settings:
    """The server's settings."""
    settings: Settings = request.app.state.settings
    return settings


async def caller(request: Request) -> CallerInfo:
    """Who asks, by the key in `Authorization: Bearer`.

    Raises:
        Unauthorized: keys are configured and none of them was sent.
    """
    keys = settings_of(request).api_keys
    if not keys:
        return CallerInfo()
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not sent:
        raise Unauthorized
    # Every key is compared, whichever matches: the time taken tells nothing.
    matches = [hmac.compare_digest(sent.encode(), key.get_secret_value().encode()) for key in keys]
    if not any(matches):
        raise Unauthorized
    return CallerInfo()


def engine_of(request: Request) -> Engine:
    """The replies that this worker writes."""
    engine: Engine = request.app.state.engine
    return engine


def turns_of(request: Request) -> Turns:
    """What begins replies."""
    turns: Turns = request.app.state.turns
    return turns


def registry_of(request: Request) -> Registry:
    """The configured providers."""
    registry: Registry = request.app.state.registry
    return registry


Caller = Annotated[CallerInfo, Depends(caller)]
AppSettings = Annotated[Settings, Depends(settings_of)]
ReplyEngine = Annotated[Engine, Depends(engine_of)]
TurnMaker = Annotated[Turns, Depends(turns_of)]
Models = Annotated[Registry, Depends(registry_of)]
PathId = Annotated[int, Path(ge=1, le=MAX_ID)]


async def load_project(project_id: PathId, caller: Caller) -> Raw:
    """The project named in the path.

    Raises:
        ProjectNotFound: there is none for this caller.
    """
    return await Project.get_one(caller.owner, project_id)


LoadedProject = Annotated[dict[str, Any], Depends(load_project)]
