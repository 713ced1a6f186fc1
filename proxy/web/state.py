"""What all requests of an application share, in one typed object: `app.state`."""

import asyncio
from pathlib import Path

from starlette.datastructures import State
from starlette.requests import Request
from starlette.types import Scope

from proxy.access.auth import Authenticator
from proxy.access.last_answers import LastAnswers
from proxy.access.limits import Limits
from proxy.access.reply_slots import ReplySlots
from proxy.access.usage import UsageRecorder
from proxy.credentials import Verifier
from proxy.database import Database
from proxy.providers.registry import Registry
from proxy.sealing import Sealer
from proxy.settings import Settings
from proxy.source_code.digests import Digests
from proxy.source_code.roots import SourceRoots
from proxy.streaming.engine import Engine
from proxy.turns.begin import Turns
from proxy.web.clients import WebClients


class ServerState(State):
    """The parts of a running server; those below the empty line exist while it runs."""

    settings: Settings
    registry: Registry
    source_roots: SourceRoots
    digests: Digests
    importing: asyncio.Lock
    """One import at a time: it holds a whole file's conversations in memory."""
    metrics_directory: Path | None
    """Where the workers of a server leave their numbers; None of a single one."""
    web_clients: WebClients | None

    database: Database
    engine: Engine
    turns: Turns
    usage: UsageRecorder
    last_answers: LastAnswers
    limits: Limits
    slots: ReplySlots
    authenticator: Authenticator
    verifier: Verifier
    sealer: Sealer

    def __init__(self) -> None:
        # What Starlette keeps in a dict of its own is found here without a call of its own.
        super().__init__(self.__dict__)


def server_state(scope: Scope) -> ServerState:
    """Return what the application of a connection shares."""
    state: ServerState = scope["app"].state
    return state


def state_of(request: Request) -> ServerState:
    """Return what the application of a request shares."""
    return server_state(request.scope)
