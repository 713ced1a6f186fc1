"""How each provider's last call ended, in this worker."""

from datetime import UTC, datetime

from proxy.documents.base import Raw, as_utc
from proxy.streaming.completions import Completed, Completions


class LastAnswers:
    """Keeps one line a provider."""

    def __init__(self, completions: Completions) -> None:
        self._last: dict[str, Completed] = {}
        self._completions = completions
        completions.listeners.append(self._completed)

    def _completed(self, call: Completed) -> None:
        self._last[call.provider] = call

    def of(self, provider: str) -> Raw | None:
        """Return the last call of a provider, or None before there was one."""
        self._completions.tell()
        call = self._last.get(provider)
        if call is None:
            return None
        return {
            "model": call.model,
            "status": call.status,
            "at": as_utc(datetime.fromtimestamp(call.ended_at, UTC)),
            "first_token_ms": call.first_token_ms,
            "duration_ms": call.duration_ms,
        }
