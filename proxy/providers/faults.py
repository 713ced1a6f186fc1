"""What an upstream's refusal or broken connection means, as a typed error.

A message is our own sentence; of the upstream's body only its explanation of a refused
request is passed on, as one short line without keys.
"""

import email.utils
import math
import re
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from proxy.errors import (
    ModelNotFound,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamOutOfCredit,
    UpstreamProtocolError,
    UpstreamRateLimited,
    UpstreamRejectedKey,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)

NOTE_CHARACTERS = 300
"""How much of an upstream's own explanation is passed on."""

_TOO_LONG = re.compile(
    r"maximum context length|context[ _](length|window)|prompt is too long|too many tokens", re.I
)
_SECRETS = re.compile(r"\b(sk|pk|p)-[A-Za-z0-9_\-*]{6,}|(?i:bearer)\s+\S+")


class Faults:
    """Makes the typed errors of one upstream; `name` is the provider's, `api_key` never leaks."""

    def __init__(self, name: str, api_key: str = "") -> None:
        self._name = name
        self._api_key = api_key

    def unreadable(self) -> UpstreamProtocolError:
        """The error for an answer that is not the protocol's."""
        return UpstreamProtocolError(f"Provider '{self._name}' sent an answer that cannot be read")

    def transport(self, error: BaseException) -> UpstreamError:
        """The typed error of a transport fault."""
        if isinstance(error, TimeoutError):
            return UpstreamTimeout(f"Provider '{self._name}' did not answer in time")
        if isinstance(error, aiohttp.ClientResponseError):
            return self.unreadable()
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return UpstreamUnreachable(
                f"The certificate of provider '{self._name}' is not trusted", retryable=False
            )
        if isinstance(error, aiohttp.ClientConnectorError):
            return UpstreamUnreachable(f"Provider '{self._name}' cannot be reached")
        return UpstreamUnreachable(f"The connection to provider '{self._name}' broke")

    def refusal(  # noqa: PLR0911 - one return per kind of refusal is the table that it is
        self,
        status: int,
        headers: Mapping[str, str],
        error: Mapping[str, Any],
        model: str = "",
    ) -> UpstreamError:
        """The typed error of an HTTP status or of an in-band error object.

        `error` is OpenAI's error object (`{"message", "type", "param", "code"}`) or empty.
        """
        code = _short(error.get("code"))
        kind = _short(error.get("type")) or ""
        message = error.get("message")
        message = message if isinstance(message, str) else ""
        wait = retry_after_seconds(headers)
        known: dict[str, Any] = {"code": code, "retry_after_seconds": wait}

        if "insufficient_quota" in (code, kind) or status == 402:
            return UpstreamOutOfCredit(
                f"The account at provider '{self._name}' has no credit left", **known
            )
        if code == "model_not_found" or status == 404:
            hint = "GET /v1/models lists what there is"
            if not error:
                hint = "or its base URL is wrong"
            return ModelNotFound(
                f"Provider '{self._name}' does not know the model '{model[:100]}'; {hint}", **known
            )
        if status in (401, 403):
            return UpstreamRejectedKey(
                f"Provider '{self._name}' rejected this server's key; check its API key setting",
                **known,
            )
        if status == 413 or code == "context_length_exceeded":
            return UpstreamTooLarge(**known)
        if status in (400, 422) and _TOO_LONG.search(message):
            return UpstreamTooLarge(**known)
        if status in (408, 504, 524):
            return UpstreamTimeout(f"Provider '{self._name}' did not answer in time", **known)
        if status == 429:
            return UpstreamRateLimited(
                f"Provider '{self._name}' limits the rate of requests; wait and try again", **known
            )
        if 400 <= status < 500 and status != 409:
            note = self.safe(message)
            return UpstreamBadRequest(
                f"Provider '{self._name}' refused the request" + (f": {note}" if note else ""),
                param=_short(error.get("param")),
                **known,
            )
        if 300 <= status < 400:
            return UpstreamProtocolError(
                f"Provider '{self._name}' redirects; check its base URL", retryable=False, **known
            )
        return UpstreamError(f"Provider '{self._name}' failed to answer", **known)

    def in_band(self, error: Any, model: str = "") -> UpstreamError:
        """The typed error of an error object that came inside a 200 answer."""
        error = error if isinstance(error, dict) else {"message": error}
        return self.refusal(_status_of(error), {}, error, model)

    def safe(self, text: str) -> str:
        """An upstream's explanation as one short line without keys."""
        if self._api_key:
            text = text.replace(self._api_key, "…")
        text = " ".join(_SECRETS.sub("…", text).split())
        return text if len(text) <= NOTE_CHARACTERS else text[: NOTE_CHARACTERS - 1] + "…"


def error_object(body: bytes) -> dict[str, Any]:
    """OpenAI's error object out of an error body; empty where the body is something else.

    Understands `{"error": {…}}`, `{"error": "…"}` and `{"message": …, "type": …, "code": …}`.
    """
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(payload, dict):
        return {}
    error = payload.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {"message": error}
    return payload if isinstance(payload.get("message"), str) else {}


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The wait that `retry-after-ms` or `Retry-After` (seconds or an HTTP date) asks for."""
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * factor
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
            except (ValueError, OverflowError):
                continue
        if math.isfinite(seconds):
            return max(seconds, 0.0)
    return None


def _status_of(error: Mapping[str, Any]) -> int:
    """The HTTP status that an in-band error object stands for; 500 where it does not say."""
    for value in (error.get("status"), error.get("code")):
        if isinstance(value, int) and 400 <= value < 600:
            return value
    words = f"{error.get('type')} {error.get('code')}"
    for status, pattern in (
        (429, "rate_limit|too_many_requests"),
        (401, "authentication|invalid_api_key|permission"),
        (404, "not_found"),
        (400, "invalid_request|context_length_exceeded"),
        (408, "timeout"),
    ):
        if re.search(pattern, words):
            return status
    return 500


def _short(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and 0 < len(value) <= 100 and value.isascii() else None
