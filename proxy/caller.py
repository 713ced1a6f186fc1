"""Who asks: what a key, a session or a server without keys lets somebody see and do."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, get_args

from proxy.documents.base import DEFAULT_OWNER

Scope = Literal["chat", "plan", "project", "admin"]
ALL_SCOPES: frozenset[str] = frozenset(get_args(Scope))
DEFAULT_SCOPES: tuple[Scope, ...] = ("chat", "plan", "project")


@dataclass(frozen=True, slots=True)
class CallerInfo:
    """Who asks; everything they see and make belongs to `owner`.

    `key_id` is what usage is counted under. `is_operator` is the person who runs the server:
    a key of the settings, or anybody on this machine while no key and no user exists. A
    limit of 0 is none.
    """

    owner: str = DEFAULT_OWNER
    key_id: str = ""
    name: str = ""
    scopes: frozenset[str] = ALL_SCOPES
    is_operator: bool = False
    by_cookie: bool = False
    requests_per_minute: int = 0
    tokens_per_day: int = 0
    streams: int = 0
    remembers_unstored: bool = False
    """Whether a thread of calls with `store: false` is kept as a conversation."""

    def may(self, scope: str) -> bool:
        """Whether a scope's routes are open to this caller; `admin` opens all."""
        return scope in self.scopes or "admin" in self.scopes


current_caller: ContextVar[CallerInfo | None] = ContextVar("current_caller", default=None)
"""The caller of the request being served; the replies it begins are counted under their key."""
