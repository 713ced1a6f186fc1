"""What the providers that speak HTTP share: one connection pool, and faults as typed errors.

aiohttp, for every provider: it costs next to nothing above a bare pass-through, where httpx
costs five times the CPU of one and the openai SDK ten times (see docs/decisions).
"""

import asyncio
import io
import urllib.request
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import orjson
from aiohttp_socks import ProxyConnector, ProxyError
from yarl import URL

from proxy.errors import UpstreamProtocolError
from proxy.providers.faults import Faults, error_object
from proxy.providers.model_facts import in_seconds
from proxy.settings import Settings, SettingsError

ERROR_BODY_BYTES = 64 * 1024
"""How much of an upstream's error body is read."""

ERROR_BODY_SECONDS = 5.0
"""How long an upstream's error body is waited for; its status says enough."""

JSON_BODY_BYTES = 64 * 1024 * 1024
"""The largest JSON answer that is read whole."""

READ_BYTES = 32 * 1024
"""How much of a stream that comes faster than it is read is worked on at once."""

BUFFER_BYTES = 64 * 1024
"""How much of an answer may wait to be read; at twice that the upstream has to wait.

Below it aiohttp tries to go on at every chunk that is taken: with its own 256 KiB a burst of small
chunks costs a fourteenth more.
"""

LARGE_BODY_BYTES = 256 * 1024
"""From this size on a request's body is written in parts."""

HEADER_BYTES = 64 * 1024
"""The longest header of an answer."""

LINGER_SECONDS = 1.0
"""How long a finished stream's connection may take to end, so that it is used again."""

HEADERS = 1_000
"""The most headers of an answer; aiohttp's own limit is 128, and gateways add theirs."""

SOCKS = ("socks5", "socks5h", "socks4", "socks4a")

_FAULTS = (aiohttp.ClientError, TimeoutError, OSError, ProxyError)


class StreamedBody(NamedTuple):
    """A request's body that is read while it is sent: so many bytes, and what they are."""

    chunks: AsyncIterator[bytes]
    length: int
    content_type: str


class Upstream:
    """The connection pool of one upstream; every fault leaves it as an `UpstreamError`.

    Raises:
        SettingsError: the base URL is not one.
    """

    def __init__(self, name: str, base_url: str, api_key: str, settings: Settings) -> None:
        self.name = name
        self.base_url = base_url.rstrip("/")
        self._api_key = api_key.strip()
        self.faults = Faults(name, self._api_key)
        self._settings = settings
        proxy = _proxy_of(name, _checked_url(name, base_url))
        is_socks = proxy is not None and proxy.startswith("socks")
        self.proxy = None if is_socks else proxy
        self._socks = proxy if is_socks else None
        self._session: aiohttp.ClientSession | None = None
        self._lingering: set[aiohttp.ClientResponse] = set()

    def _open_session(self) -> aiohttp.ClientSession:
        headers = {
            "Content-Type": "application/json",
            # Compressing a token stream only delays it.
            "Accept-Encoding": "identity",
            "User-Agent": "poe-openai-proxy",
        }
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        self._session = aiohttp.ClientSession(
            connector=self._connector(),
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=self._settings.connect_timeout_seconds,
                sock_read=self._settings.read_timeout_seconds,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            read_bufsize=BUFFER_BYTES,
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
            max_headers=HEADERS,
        )
        return self._session

    def _connector(self) -> aiohttp.TCPConnector:
        limit, keep_seconds = self._settings.upstream_connections, 30
        if self._socks:
            # With an `h` or an `a` at its end, the proxy looks the upstream's name up.
            scheme, _, rest = self._socks.partition("://")
            return ProxyConnector.from_url(
                f"{scheme.rstrip('ha')}://{rest}",
                rdns=True if scheme[-1] in "ha" else None,
                limit=limit,
                keepalive_timeout=keep_seconds,
            )
        return aiohttp.TCPConnector(limit=limit, keepalive_timeout=keep_seconds, ttl_dns_cache=60)

    async def request(
        self,
        method: str,
        url: str | URL,
        body: bytes | StreamedBody | None = None,
        *,
        model: str = "",
        headers: dict[str, str] | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request and return its 2xx response, whose body is still to come.

        The caller ends it with `finish`.

        Raises:
            UpstreamError: no connection, no answer in time, or any other status.
        """
        session = self._session or self._open_session()
        data: Any = body
        if isinstance(body, StreamedBody):
            # Many servers take no chunks of unknown sum.
            said = {"Content-Type": body.content_type, "Content-Length": str(body.length)}
            headers = headers or said
            data = body.chunks
        elif body is not None and len(body) > LARGE_BODY_BYTES:
            # As a file, which aiohttp writes in parts that do not hold up the loop.
            data = io.BytesIO(body)
        try:
            response = await session.request(
                method,
                url,
                data=data,
                headers=headers,
                allow_redirects=False,
                proxy=self.proxy,
            )
        except _FAULTS as error:
            raise self.faults.transport(error) from error
        if 200 <= response.status < 300:
            return response
        raw = await _error_body(response)
        raise self.faults.refusal(response.status, response.headers, error_object(raw), model)

    async def read(self, response: aiohttp.ClientResponse) -> bytes:
        """Return what has arrived since the last read, 1 to `READ_BYTES` bytes; `b""` at the end.

        Raises:
            UpstreamError: the connection broke or was silent for too long.
        """
        content = response.content
        try:
            data = await content.read(READ_BYTES)
            if len(data) == READ_BYTES:
                # There may be much more, here and on many other streams: each has its turn.
                await asyncio.sleep(0)
            return data
        except _FAULTS as error:
            # aiohttp raises a broken connection's error before what came ahead of it:
            # text that was received is passed on first, the next read raises again.
            if rest := content._read_nowait(-1):
                return rest
            raise self.faults.transport(error) from error

    async def read_json(self, response: aiohttp.ClientResponse) -> dict[str, Any]:
        """Return the whole body as a JSON object.

        Raises:
            UpstreamError: the connection broke, or the body is not a JSON object.
        """
        parts: list[bytes] = []
        size = 0
        while part := await self.read(response):
            size += len(part)
            if size > JSON_BODY_BYTES:
                raise UpstreamProtocolError(f"Provider '{self.name}' sent too long an answer")
            parts.append(part)
        try:
            payload = orjson.loads(b"".join(parts))
        except orjson.JSONDecodeError as error:
            raise self.faults.unreadable() from error
        if not isinstance(payload, dict):
            raise self.faults.unreadable()
        return payload

    async def list_models(self, url: str) -> list[dict[str, Any]]:
        """Return the model objects of an OpenAI model list, `created` (seconds) and `owned_by` set.

        Raises:
            UpstreamError: the upstream does not answer, or with something else.
        """
        response = await self.request("GET", url)
        complete = False
        try:
            payload = await self.read_json(response)
            complete = True
        finally:
            self.finish(response, complete=complete)
        models = payload.get("data")
        if not isinstance(models, list):
            raise self.faults.unreadable()
        return [
            {
                "owned_by": self.name,
                **model,
                "object": "model",
                "created": in_seconds(model.get("created")),
            }
            for model in models
            if isinstance(model, dict) and isinstance(model.get("id"), str)
        ]

    def finish(self, response: aiohttp.ClientResponse, *, complete: bool) -> None:
        """End a response: keep its connection where the answer was complete, else close it."""
        if not complete:
            response.close()
        elif not response.content.at_eof():
            self._linger(response)

    def _linger(self, response: aiohttp.ClientResponse) -> None:
        """Wait for the end of the body, which is on its way; aiohttp then keeps the connection."""

        def give_up() -> None:
            self._lingering.discard(response)
            response.close()

        def ended() -> None:
            self._lingering.discard(response)
            timer.cancel()

        self._lingering.add(response)
        timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, give_up)
        response.content.on_eof(ended)

    async def close(self) -> None:
        """Close every connection."""
        while self._lingering:
            self._lingering.pop().close()
        if self._session is not None:
            await self._session.close()
            self._session = None


def _checked_url(name: str, base_url: str) -> URL:
    try:
        url = URL(base_url)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise SettingsError(f"provider {name!r}: the base URL must start with http:// or https://")
    return url


def _proxy_of(name: str, url: URL) -> str | None:
    """Return the HTTP or SOCKS proxy that the machine's environment names for this upstream.

    Looked up once: aiohttp's own `trust_env` reads the environment and `.netrc` at every
    request. A loopback upstream never goes through one.

    Raises:
        SettingsError: it names one of another kind.
    """
    host = url.host or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        return None
    if urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    scheme = proxy.partition("://")[0].lower()
    if scheme not in ("http", "https", *SOCKS) or not _has_port(proxy):
        raise SettingsError(
            f"provider {name!r}: the environment names a {scheme[:10]} proxy for it that cannot "
            "be used; name one like http://host:3128 or socks5://host:1080 in "
            f"{url.scheme.upper()}_PROXY, or the host {host!r} in NO_PROXY"
        )
    return scheme + proxy[len(scheme) :]


def _has_port(proxy: str) -> bool:
    """Whether a proxy's address is one; a SOCKS proxy has no usual port."""
    try:
        parts = urlsplit(proxy)
        return bool(parts.hostname) and (parts.port is not None or proxy[:4].lower() == "http")
    except ValueError:
        return False


async def _error_body(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of a refusal, all that comes in time of one that breaks off or never ends."""
    body = b""
    try:
        async with asyncio.timeout(ERROR_BODY_SECONDS):
            # One read gives what has arrived, which may be a part.
            while part := await response.content.read(ERROR_BODY_BYTES - len(body)):
                body += part
    except _FAULTS:
        pass
    finally:
        response.close()
    return body
