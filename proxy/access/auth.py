"""Who may come in: keys of the settings, stored keys, sessions, or anybody on this machine.

The answer is kept in the process for `CACHE_SECONDS` by the hash of what was sent, so that a
request usually costs no look-up, and a revoked or expired key stops within two seconds on
every worker. While no key and no user exists only this machine is let in; a web
page from elsewhere, which the user's browser would carry in, gets nothing.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from proxy.caller import CallerInfo
from proxy.credentials import PREFIX, hash_key, is_well_formed
from proxy.documents.api_key import ApiKey, KeyActivity
from proxy.documents.base import utc_now
from proxy.documents.user import Session, User
from proxy.errors import Forbidden, Unauthorized, UnsupportedMediaType
from proxy.settings import Settings, SettingsError

CACHE_SECONDS = 1.5
"""Plus one look-up, a change is seen within two seconds."""

CACHED_KEYS = 10_000

SESSION_COOKIE = "proxy_session"

HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?")

READS = frozenset({"GET", "HEAD", "OPTIONS"})

FORWARDED = frozenset({b"forwarded", b"via", b"x-real-ip", b"true-client-ip"})
FORWARDED_PREFIXES = (b"x-forwarded-", b"cf-")
"""Headers that only a reverse proxy or a tunnel adds."""

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

UPLOADS = frozenset(
    f"/v1/{path}"
    for path in ("audio/transcriptions", "audio/translations", "images/edits", "images/variations")
)
"""What takes a form with files."""

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
        self._origins = frozenset(origin.rstrip("/").lower() for origin in settings.cors_origins)
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
            self._check_open_door(method, path, headers, address)
            caller = CallerInfo(is_operator=True)
            return caller if path.startswith("/v1/") else None
        if path == METRICS and not _is_local(headers, address):
            caller = await self._known(headers)
            if not caller.may("admin"):
                raise Forbidden("This key lacks the scope 'admin'", code="missing_scope")
        if not path.startswith("/v1/"):
            return None
        if path in OPEN:
            self._check_same_origin(method, headers)
            return None
        caller = await self._known(headers)
        if caller.by_cookie:
            self._check_same_origin(method, headers)
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

    def check_page(self, headers: Mapping[bytes, bytes]) -> None:
        """Check the page that opens a WebSocket: a browser asks nobody whether it may read one.

        Raises:
            Forbidden: it is of another origin, and `cors_origins` does not name that.
        """
        origin = headers.get(b"origin")
        if origin is None or is_loopback_origin(origin) or "*" in self._origins:
            return
        if not self._is_listed(origin) and not _is_same_host(origin, headers):
            raise foreign_origin()

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

    # Where a request comes from

    def _check_open_door(
        self, method: str, path: str, headers: Mapping[bytes, bytes], address: str | None
    ) -> None:
        """Without keys: this machine, a name of this machine, no page from elsewhere."""
        if not is_loopback_host(headers.get(b"host", b"")) or not is_loopback_address(address):
            raise Forbidden(
                "Without keys this server answers to this machine only, under localhost or "
                "127.0.0.1; make a key with `proxy keys create NAME` to use it from elsewhere",
                code="loopback_only",
            )
        if _is_forwarded(headers):
            raise Forbidden(
                "Without keys this server does not answer through a reverse proxy or a tunnel, "
                "which would open it to everybody; make a key with `proxy keys create NAME`",
                code="loopback_only",
            )
        origin = headers.get(b"origin")
        if origin is None:
            # What a page embeds carries no origin; a link that somebody follows is no page's.
            if headers.get(b"sec-fetch-site") == b"cross-site" and (
                headers.get(b"sec-fetch-mode") != b"navigate"
            ):
                raise foreign_origin()
        elif not is_loopback_origin(origin) and not self._is_listed(origin):
            raise foreign_origin()
        if method not in READS and _has_body(headers) and not _is_json(headers):
            # A page elsewhere can send a form unasked, but not without saying where it is.
            if path in UPLOADS and _media_type(headers) == b"multipart/form-data":
                return
            raise UnsupportedMediaType

    def _check_same_origin(self, method: str, headers: Mapping[bytes, bytes]) -> None:
        """Return what a browser sends with a cookie must come from our own pages.

        A cookie holds for all ports of a machine: without this, a page of another port could
        read by it. A read without an origin is no other page's, or one that it cannot see.
        """
        origin = headers.get(b"origin")
        if origin is None:
            if method in READS:
                return
            site = headers.get(b"sec-fetch-site", b"none")
            if site not in (b"none", b"same-origin"):
                raise foreign_origin()
            return
        if not (_is_same_host(origin, headers) or self._is_listed(origin)):
            raise foreign_origin()

    def _is_listed(self, origin: bytes) -> bool:
        return origin.decode("latin-1").lower() in self._origins


def _is_same_host(origin: bytes, headers: Mapping[bytes, bytes]) -> bool:
    host = headers.get(b"host", b"").decode("latin-1").lower()
    return origin.decode("latin-1").lower().partition("://")[2] == host


def foreign_origin() -> Forbidden:
    """Return the 403 for a web page of another origin."""
    return Forbidden(
        "This web page may not use the server; add its origin to PROXY_CORS_ORIGINS",
        code="foreign_origin",
    )


def session_token(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the session cookie's value."""
    for part in headers.get(b"cookie", b"").decode("latin-1").split(";"):
        name, _, value = part.strip().partition("=")
        if name == SESSION_COOKIE and value:
            return value
    return None


@lru_cache(maxsize=256)
def is_loopback_host(host: bytes) -> bool:
    """Whether a `Host` header names this machine: `localhost:8000`, `127.0.0.1`, `[::1]:80`."""
    found = HOST.fullmatch(host)
    return found is not None and _is_loopback_name(found[1].decode())


@lru_cache(maxsize=256)
def is_loopback_origin(origin: bytes) -> bool:
    """Whether an `Origin` is a page of this machine: `http://localhost:5173`."""
    scheme, found, host = origin.partition(b"://")
    return bool(scheme and found) and is_loopback_host(host)


def is_loopback_address(address: str | None) -> bool:
    """Whether a peer is this machine; one without an address came through a local socket."""
    return address is None or _is_loopback_name(address)


def _is_loopback_name(name: str) -> bool:
    name = name.lower().strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _has_body(headers: Mapping[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _media_type(headers: Mapping[bytes, bytes]) -> bytes:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def _is_json(headers: Mapping[bytes, bytes]) -> bool:
    media_type = _media_type(headers)
    return media_type == b"application/json" or media_type.endswith(b"+json")


def _has_passed(time_: datetime | None) -> bool:
    return time_ is not None and time_ <= utc_now()


def _is_forwarded(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a reverse proxy or a tunnel sent this on."""
    return any(name in FORWARDED or name.startswith(FORWARDED_PREFIXES) for name in headers)


def _is_local(headers: Mapping[bytes, bytes], address: str | None) -> bool:
    """Return whether a request comes from this machine, and not through a reverse proxy on it."""
    return (
        is_loopback_address(address)
        and is_loopback_host(headers.get(b"host", b""))
        and not _is_forwarded(headers)
    )
