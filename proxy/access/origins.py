"""Where a request comes from: this machine or another one, and a web page of which origin."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import ip_address

from proxy.errors import Forbidden, UnsupportedMediaType

HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?")

READS = frozenset({"GET", "HEAD", "OPTIONS"})

FORWARDED = frozenset({b"forwarded", b"via", b"x-real-ip", b"true-client-ip"})
FORWARDED_PREFIXES = (b"x-forwarded-", b"cf-")
"""Headers that only a reverse proxy or a tunnel adds."""

UPLOADS = frozenset(
    f"/v1/{path}"
    for path in ("audio/transcriptions", "audio/translations", "images/edits", "images/variations")
)
"""What takes a form with files."""


class Origins:
    """Says which web pages may send what; `listed` are those of `cors_origins`."""

    def __init__(self, listed: Iterable[str]) -> None:
        self._listed = frozenset(origin.rstrip("/").lower() for origin in listed)

    def check_without_keys(
        self, method: str, path: str, headers: Mapping[bytes, bytes], address: str | None
    ) -> None:
        """Let in, while there is no key, only this machine and no page from elsewhere.

        Raises:
            Forbidden: it comes from elsewhere, through a proxy, or from a foreign page.
            UnsupportedMediaType: a write that is not JSON.
        """
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

    def check_same_origin(self, method: str, headers: Mapping[bytes, bytes]) -> None:
        """Check that what a browser sends with a cookie comes from our own pages.

        A cookie holds for all ports of a machine: without this, a page of another port could
        read by it. A read without an origin is no other page's, or one that it cannot see.

        Raises:
            Forbidden: it is of another origin, and `cors_origins` does not name that.
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

    def check_page(self, headers: Mapping[bytes, bytes]) -> None:
        """Check the page that opens a WebSocket: a browser asks nobody whether it may read one.

        Raises:
            Forbidden: it is of another origin, and `cors_origins` does not name that.
        """
        origin = headers.get(b"origin")
        if origin is None or is_loopback_origin(origin) or "*" in self._listed:
            return
        if not self._is_listed(origin) and not _is_same_host(origin, headers):
            raise foreign_origin()

    def _is_listed(self, origin: bytes) -> bool:
        return origin.decode("latin-1").lower() in self._listed


def _is_same_host(origin: bytes, headers: Mapping[bytes, bytes]) -> bool:
    host = headers.get(b"host", b"").decode("latin-1").lower()
    return origin.decode("latin-1").lower().partition("://")[2] == host


def foreign_origin() -> Forbidden:
    """Return the 403 for a web page of another origin."""
    return Forbidden(
        "This web page may not use the server; add its origin to PROXY_CORS_ORIGINS",
        code="foreign_origin",
    )


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


def _is_forwarded(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a reverse proxy or a tunnel sent this on."""
    return any(name in FORWARDED or name.startswith(FORWARDED_PREFIXES) for name in headers)


def is_local(headers: Mapping[bytes, bytes], address: str | None) -> bool:
    """Whether a request comes from this machine, and not through a reverse proxy on it."""
    return (
        is_loopback_address(address)
        and is_loopback_host(headers.get(b"host", b""))
        and not _is_forwarded(headers)
    )


def _has_body(headers: Mapping[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _media_type(headers: Mapping[bytes, bytes]) -> bytes:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def _is_json(headers: Mapping[bytes, bytes]) -> bool:
    media_type = _media_type(headers)
    return media_type == b"application/json" or media_type.endswith(b"+json")
