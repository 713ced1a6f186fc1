"""What an upstream's refusal or broken connection means, as a typed error.

A message is our own sentence; of the upstream's body only its explanation is passed
on, as one short line without keys and paths.
"""

import email.utils
import math
import re
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from proxy.errors import (
    ModelNotFound,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamForbidden,
    UpstreamOutOfCredit,
    UpstreamOverloaded,
    UpstreamProtocolError,
    UpstreamRateLimited,
    UpstreamRejectedKey,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from proxy.sse import JSONFrames

NOTE_CHARACTERS = 300
"""How much of an upstream's own explanation is passed on."""

_TOO_LONG = re.compile(
    r"maximum context length|context[ _](length|window)|prompt is too long|too many tokens", re.I
)
_SECRETS = re.compile(
    r"\b(?:p-|(?:sk|pk|gsk|xai)[-_])[A-Za-z0-9_\-*]{6,}|\bAIza[\w-]{10,}|(?i:bearer)\s+\S+"
    r"|(?<![\w:/.])/[\w.\-]+(?:/[\w.\-]+)+|\b[A-Za-z]:\\[^\s\"']+"
)
"""Keys, and paths of the upstream's machine."""

_NOT_THE_KEY = re.compile(
    r"countr|region|territor|location|policy|policies|moderation|flagged|cloudflare|blocked", re.I
)
"""What a 403 says that is not about the key."""


class Faults:
    """Makes the typed errors of one upstream; `name` is the provider's, `api_key` never leaks."""

    def __init__(self, name: str, api_key: str = "") -> None:
        self._name = name
        self._api_key = api_key

    def unreadable(self) -> UpstreamProtocolError:
        """Return the error for an answer that is not the protocol's.

        It was paid, so nobody asks again.
        """
        return UpstreamProtocolError(
            f"Provider '{self._name}' sent an answer that cannot be read", retryable=False
        )

    def transport(self, error: BaseException) -> UpstreamError:
        """Return the typed error of a transport fault."""
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
        """Return the typed error of an HTTP status or of an in-band error object.

        `error` is OpenAI's error object (`{"message", "type", "param", "code"}`) or empty.
        """
        code = self._label(error.get("code"))
        kind = self._label(error.get("type")) or ""
        message = explanation_of(error)
        note = self.safe(message)
        because = f": {note}" if note else ""
        wait = retry_after_seconds(headers)
        known: dict[str, Any] = {"code": code, "retry_after_seconds": wait}

        if {"insufficient_quota", "insufficient_credits"} & {code, kind} or status == 402:
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
        about_403 = f"{message} {code} {kind}"
        if status == 401 or (status == 403 and not _NOT_THE_KEY.search(about_403)):
            return UpstreamRejectedKey(
                f"Provider '{self._name}' rejected this server's key; check its API key setting"
                + because,
                **known,
            )
        if status == 403:
            return UpstreamForbidden(f"Provider '{self._name}' refused{because}", **known)
        if status == 413 or code == "context_length_exceeded":
            return UpstreamTooLarge(**known)
        if status in (400, 422) and _TOO_LONG.search(message):
            return UpstreamTooLarge(**known)
        if status in (408, 504, 524):
            return UpstreamTimeout(f"Provider '{self._name}' did not answer in time", **known)
        if status == 429:
            return UpstreamRateLimited(
                f"Provider '{self._name}' limits the rate of requests; wait and try again{because}",
                **known,
            )
        if status == 529:
            return UpstreamOverloaded(
                f"Provider '{self._name}' is overloaded; wait and try again{because}", **known
            )
        if 400 <= status < 500 and status != 409:
            return UpstreamBadRequest(
                f"Provider '{self._name}' refused the request{because}",
                param=self._label(error.get("param")),
                **known,
            )
        if 300 <= status < 400:
            return UpstreamProtocolError(
                f"Provider '{self._name}' redirects; check its base URL", retryable=False, **known
            )
        return UpstreamError(f"Provider '{self._name}' failed to answer{because}", **known)

    def in_band(self, error: Any, model: str = "") -> UpstreamError:
        """Return the typed error of what a 200 answer says of its failure."""
        if isinstance(error, list) and error:
            error = error[0]
        error = error if isinstance(error, dict) else {"message": error}
        if isinstance(inner := error.get("error"), dict):
            error = inner
        return self.refusal(_status_of(error), {}, error, model)

    def _label(self, value: Any) -> str | None:
        """Return a code or a parameter's name, where it is one and holds no key."""
        found = _short(value)
        return found if found is not None and self.safe(found) == found else None

    def safe(self, text: str) -> str:
        """Return an upstream's explanation as one short line without keys."""
        if self._api_key:
            text = text.replace(self._api_key, "…")
        text = " ".join(_SECRETS.sub("…", text).split())
        return text if len(text) <= NOTE_CHARACTERS else text[: NOTE_CHARACTERS - 1] + "…"


def error_object(body: bytes) -> dict[str, Any]:
    """OpenAI's error object out of an error body; empty where the body is something else.

    Understands `{"error": {…}}`, `{"error": "…"}`, `{"message": …, "type": …, "code": …}`,
    `{"detail": …}`, and each of them as the first of a list (Gemini).
    """
    try:
        payload = JSONFrames().loads(body)
    except ValueError:
        return {}
    if isinstance(payload, list) and payload:
        payload = payload[0]
    if not isinstance(payload, dict):
        return {}
    error = payload.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {**payload, "message": error}
    return payload if explanation_of(payload) else {}


def explanation_of(error: Mapping[str, Any]) -> str:
    """Return what an error object says in words; empty where it says nothing."""
    for key in ("message", "detail", "error", "msg", "error_message", "error_msg"):
        value = error.get(key)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, dict):
            value = explanation_of(value)
        if isinstance(value, str) and value.strip():
            return value
    return ""


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the wait that `retry-after-ms` or `Retry-After` (seconds or an HTTP date) asks for."""
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
    """Return the HTTP status that an in-band error object stands for; 500 where it does not say."""
    for key in ("status", "status_code", "http_code", "code"):
        value = error.get(key)
        if isinstance(value, str) and len(value) == 3 and value.isdecimal():
            value = int(value)
        if isinstance(value, int) and 400 <= value < 600:
            return value
    words = " ".join(str(error.get(key)) for key in ("type", "code", "status")).lower()
    for status, pattern in (
        (402, "insufficient_quota|insufficient_balance|insufficient_credits"),
        (413, "request_too_large"),
        (403, "moderation_error"),
        (529, "overloaded"),
        (429, "rate_limit|too_many_requests|resource_exhausted"),
        (401, "authentication|invalid_api_key|permission|unauthenticated"),
        (404, "not_found"),
        (400, "invalid_request|invalid_argument|context_length_exceeded"),
        (408, "timeout|deadline_exceeded"),
        (503, "unavailable"),
    ):
        if re.search(pattern, words):
            return status
    return 500


def _short(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and 0 < len(value) <= 100 and value.isascii() else None
