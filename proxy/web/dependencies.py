"""What routes ask for: the caller, the settings, things that are loaded or answered 404.

All of them are `async`: FastAPI calls a plain function in a thread, which costs more than it does.
"""

from collections.abc import Callable
from typing import Annotated, Any

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
from proxy.web.state import ServerState, state_of


async def caller(request: Request) -> CallerInfo:
    """Return the caller, whom the access layer identified before the request came here.

    Raises:
        Unauthorized: a route that the access layer lets anybody reach asks for a caller.
    """
    found: CallerInfo | None = request.scope["state"].get("caller")
    if found is None:
        raise Unauthorized
    return found


def _part(part: Callable[[ServerState], Any]) -> Any:
    """Return the dependency on a part of the server."""

    async def found(request: Request) -> Any:
        return part(state_of(request))

    return Depends(found)


Caller = Annotated[CallerInfo, Depends(caller)]
Authentication = Annotated[Authenticator, _part(lambda state: state.authenticator)]
RequestLimits = Annotated[Limits, _part(lambda state: state.limits)]
PasswordVerifier = Annotated[Verifier, _part(lambda state: state.verifier)]
AppSettings = Annotated[Settings, _part(lambda state: state.settings)]
ReplyEngine = Annotated[Engine, _part(lambda state: state.engine)]
TurnMaker = Annotated[Turns, _part(lambda state: state.turns)]
Models = Annotated[Registry, _part(lambda state: state.registry)]
ReasoningSealer = Annotated[Sealer, _part(lambda state: state.sealer)]
PathId = Annotated[int, Path(ge=1, le=MAX_ID)]


async def load_project(project_id: PathId, caller: Caller) -> StoredProject:
    """Return the project named in the path.

    Raises:
        ProjectNotFound: there is none for this caller.
    """
    return await Project.get_one(caller.owner, project_id)


LoadedProject = Annotated[StoredProject, Depends(load_project)]
