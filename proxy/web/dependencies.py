"""What routes ask for: the caller, the settings, things that are loaded or answered 404.

All of them are `async`: FastAPI calls a plain function in a thread, which costs more than it does.
"""

from typing import Annotated

from fastapi import Depends, Path, Request

from proxy.access.auth import Authenticator
from proxy.access.limits import Limits
from proxy.caller import CallerInfo
from proxy.credentials import Verifier
from proxy.documents.base import MAX_ID
from proxy.documents.project import Project, StoredProject
from proxy.errors import Unauthorized
from proxy.providers.registry import Registry
from proxy.sealing import Sealer
from proxy.settings import Settings
from proxy.streaming.engine import Engine
from proxy.turns.begin import Turns


async def settings_of(request: Request) -> Settings:
    """Return the server's settings."""
    settings: Settings = request.app.state.settings
    return settings


async def caller(request: Request) -> CallerInfo:
    """Return the caller, whom the access layer identified before the request came here.

    Raises:
        Unauthorized: a route that the access layer lets anybody reach asks for a caller.
    """
    found: CallerInfo | None = request.scope["state"].get("caller")
    if found is None:
        raise Unauthorized
    return found


async def engine_of(request: Request) -> Engine:
    """Return the replies that this worker writes."""
    engine: Engine = request.app.state.engine
    return engine


async def turns_of(request: Request) -> Turns:
    """Return what begins replies."""
    turns: Turns = request.app.state.turns
    return turns


async def registry_of(request: Request) -> Registry:
    """Return the configured providers."""
    registry: Registry = request.app.state.registry
    return registry


async def authenticator_of(request: Request) -> Authenticator:
    """Return what knows keys and sessions."""
    authenticator: Authenticator = request.app.state.authenticator
    return authenticator


async def limits_of(request: Request) -> Limits:
    """Return what counts."""
    limits: Limits = request.app.state.limits
    return limits


async def sealer_of(request: Request) -> Sealer:
    """Return what seals and opens the reasoning that clients carry."""
    sealer: Sealer = request.app.state.sealer
    return sealer


async def verifier_of(request: Request) -> Verifier:
    """Return what compares passwords."""
    verifier: Verifier = request.app.state.verifier
    return verifier


Caller = Annotated[CallerInfo, Depends(caller)]
Authentication = Annotated[Authenticator, Depends(authenticator_of)]
RequestLimits = Annotated[Limits, Depends(limits_of)]
PasswordVerifier = Annotated[Verifier, Depends(verifier_of)]
AppSettings = Annotated[Settings, Depends(settings_of)]
ReplyEngine = Annotated[Engine, Depends(engine_of)]
TurnMaker = Annotated[Turns, Depends(turns_of)]
Models = Annotated[Registry, Depends(registry_of)]
ReasoningSealer = Annotated[Sealer, Depends(sealer_of)]
PathId = Annotated[int, Path(ge=1, le=MAX_ID)]


async def load_project(project_id: PathId, caller: Caller) -> StoredProject:
    """Return the project named in the path.

    Raises:
        ProjectNotFound: there is none for this caller.
    """
    return await Project.get_one(caller.owner, project_id)


LoadedProject = Annotated[StoredProject, Depends(load_project)]
