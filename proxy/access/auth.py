"""Who may come in: keys of the settings, stored keys, sessions, or anybody on this machine.

The answer is kept in the process for `CACHE_SECONDS` by the hash of what was sent, so that a
request usually costs no look-up, and a revoked or expired key stops within two seconds on
every worker. While no key and no user exists only this machine is let in; a web
page from elsewhere, which the user's browser would carry in, gets nothing.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from proxy.access.origins import Origins, is_local
from proxy.caller import CallerInfo
from proxy.credentials import PREFIX, hash_key, is_well_formed
from proxy.documents.api_key import ApiKey, KeyActivity
from proxy.documents.base import utc_now
from proxy.documents.user import Session, User
from proxy.errors import Forbidden, Unauthorized
from proxy.settings import Settings, SettingsError

CACHE_SECONDS = 1.5
"""Plus one look-up, a change is seen within two seconds."""

CACHED_KEYS = 10_000

SESSION_COOKIE = "proxy_session"

MIN_KEY_CHARACTERS = 16

SCOPES: dict[str, str | None] = {
    "chat": "chat",
    "responses": "chat",
    "completions": "chat",
    "embeddings": "chat",
    "moderations": "chat",
    "images": "chat",
    "audio": "chat",
    "conversations": "chat",
    "plan": "plan",
    "projects": "project",
    "write-source-code": "project",
    "models": None,
    "search": None,
    "usage": None,
    "auth": None,
    "keys": "admin",
}
"""First segment after `/v1` → the scope it needs; None is any. What is missing needs `admin`."""

OPEN = frozenset({"/v1/auth/login", "/v1/auth/logout"})
"""What answers without a key."""

METRICS = "/metrics"
"""What needs no key from this machine, and the scope `admin` from elsewhere."""

PROBES = frozenset({"/livez", "/readyz"})
"""What answers anybody, also while the database is silent: it may not be asked for keys first."""


def check_exposure(settings: Settings, has_keys: bool) -> None:
    """Let other machines in only where a key or a user locks the server.

    Raises:
        SettingsError: a public address and nothing that locks it, or a key that can be guessed.
    """
    shortest = min((len(key.get_secret_value()) for key in settings.api_keys), default=None)
    if not settings.is_loopback and shortest is not None and shortest < MIN_KEY_CHARACTERS:
        raise SettingsError(
            f"PROXY_API_KEYS: a key on {settings.host}, which other machines can reach, has at "
            f"least {MIN_KEY_CHARACTERS} characters; `openssl rand -hex 32` makes a good one"
        )
    if not (settings.is_loopback or settings.api_keys or has_keys):
        raise SettingsError(
            f"PROXY_HOST: {settings.host} can be reached from other machines and there is no key; "
            "make one with `proxy keys create NAME`, set PROXY_API_KEYS=<a long random text>, "
            "or bind 127.0.0.1"
        )


async def has_keys() -> bool:
    """Whether a stored key or user exists, even a revoked key."""
    return await ApiKey.exist() or await User.exist()


class Authenticator:
    """Says who a request comes from, or why it may not come in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.origins = Origins(settings.cors_origins)
        self._configured = {
            hash_key(key.get_secret_value()): self._with_defaults(
                CallerInfo(key_id=f"config_{number}", name="PROXY_API_KEYS", is_operator=True)
            )
            for number, key in enumerate(settings.api_keys, 1)
        }
        self._cache: dict[str, tuple[float, CallerInfo]] = {}
        self._locked = bool(self._configured)
        self._open_until = 0.0

    async def identify(
        self, method: str, path: str, headers: Mapping[bytes, bytes], address: str | None
    ) -> CallerInfo | None:
        """Who asks; None where nobody needs to be known.

        Raises:
            Unauthorized: no key, or one that does not open this server.
            Forbidden: the key lacks the scope, or a web page of another origin sent this.
            UnsupportedMediaType: without keys, a write that is not JSON.
        """
        if path in PROBES:
            return None
        if not self._locked and not await self.is_locked():
            self.origins.check_without_keys(method, path, headers, address)
            caller = CallerInfo(is_operator=True)
            return caller if path.startswith("/v1/") else None
        if path == METRICS and not is_local(headers, address):
            caller = await self._known(headers)
            if not caller.may("admin"):
                raise Forbidden("This key lacks the scope 'admin'", code="missing_scope")
        if not path.startswith("/v1/"):
            return None
        if path in OPEN:
            self.origins.check_same_origin(method, headers)
            return None
        caller = await self._known(headers)
        if caller.by_cookie:
            self.origins.check_same_origin(method, headers)
        scope = SCOPES.get(path.split("/", 3)[2], "admin")
        if scope is not None and not caller.may(scope):
            raise Forbidden(f"This key lacks the scope {scope!r}", code="missing_scope")
        return caller

    async def is_locked(self) -> bool:
        """Whether a key is needed; once it is, it stays so."""
        if not self._locked and time.monotonic() >= self._open_until:
            self._locked = await has_keys()
            self._open_until = time.monotonic() + CACHE_SECONDS
        return self._locked

    def forget(self) -> None:
        """Look everything up again: a key or a session changed through this worker."""
        self._cache.clear()
        self._open_until = 0.0

    # Keys and sessions

    async def _known(self, headers: Mapping[bytes, bytes]) -> CallerInfo:
        sent = headers.get(b"authorization")
        if sent is not None:
            scheme, _, key = sent.decode("utf-8", "surrogateescape").partition(" ")
            if scheme.lower() != "bearer" or not key:
                raise Unauthorized
            return await self._by_key(key.strip())
        if token := session_token(headers):
            return await self._by_session(token)
        raise Unauthorized

    async def _by_key(self, key: str) -> CallerInfo:
        hash_ = hash_key(key)
        # A look-up by the hash of the key tells nothing about the key by its time.
        configured = self._configured.get(hash_)
        if configured is not None:
            return configured
        cached = self._cached(hash_)
        if cached is not None:
            return cached
        if not is_well_formed(key):
            if key.startswith(PREFIX):
                raise Unauthorized(
                    "This key is misspelled or cut short; copy it again", code="malformed_key"
                )
            raise Unauthorized(code="invalid_api_key")
        raw = await ApiKey.by_hash(hash_)
        if raw is None or raw["revoked_at"] is not None:
            raise Unauthorized(code="invalid_api_key")
        if _has_passed(raw["expires_at"]):
            raise Unauthorized("This key has expired; ask for a new one", code="expired_api_key")
        caller = self._with_defaults(
            CallerInfo(
                owner=raw["owner"],
                key_id=raw["_id"],
                name=raw["name"],
                scopes=frozenset(raw["scopes"]),
                remembers_unstored=bool(raw.get("remember_unstored")),
            ),
            raw,
        )
        return await self._keep(hash_, caller, raw["expires_at"])

    async def _by_session(self, token: str) -> CallerInfo:
        hash_ = hash_key(token)
        # Apart from keys: a key sent as a cookie is no session.
        kept_as = f"session {hash_}"
        cached = self._cached(kept_as)
        if cached is not None:
            return cached
        raw = await Session.by_hash(hash_)
        if raw is None or _has_passed(raw["expires_at"]):
            raise Unauthorized("The session has ended; log in again", code="session_ended")
        caller = self._with_defaults(
            CallerInfo(
                owner=raw["owner"],
                key_id=raw["user_id"],
                name=raw["user_name"],
                scopes=frozenset(raw["scopes"]),
                by_cookie=True,
            )
        )
        return await self._keep(kept_as, caller, raw["expires_at"])

    def _cached(self, hash_: str) -> CallerInfo | None:
        until, caller = self._cache.get(hash_, (0.0, None))
        return caller if time.monotonic() < until else None

    async def _keep(
        self, hash_: str, caller: CallerInfo, expires_at: datetime | None
    ) -> CallerInfo:
        if caller.streams:
            await KeyActivity.ensure(caller.key_id)
        seconds = CACHE_SECONDS
        if expires_at is not None:
            seconds = min(seconds, (expires_at - utc_now()).total_seconds())
        if len(self._cache) >= CACHED_KEYS:
            self._cache.clear()
        self._cache[hash_] = (time.monotonic() + seconds, caller)
        return caller

    def _with_defaults(
        self, caller: CallerInfo, own: Mapping[str, Any] | None = None
    ) -> CallerInfo:
        """Return the caller with its own limits, the settings' where it has none of its own."""
        limits: dict[str, Any] = {
            "requests_per_minute": self._settings.key_requests_per_minute,
            "tokens_per_day": self._settings.key_tokens_per_day,
            "streams": self._settings.key_streams,
        }
        for name in limits:
            if own is not None and own.get(name) is not None:
                limits[name] = own[name]
        return replace(caller, **limits)


def session_token(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the session cookie's value."""
    for part in headers.get(b"cookie", b"").decode("latin-1").split(";"):
        name, _, value = part.strip().partition("=")
        if name == SESSION_COOKIE and value:
            return value
    return None


def _has_passed(time_: datetime | None) -> bool:
    return time_ is not None and time_ <= utc_now()
