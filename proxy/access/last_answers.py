"""How each provider's last call ended, in this worker."""

import time
from datetime import UTC, datetime

from proxy.documents.base import Raw, as_utc
from proxy.streaming.engine import Completed


class LastAnswers:
    """Keeps one line a provider; give `completed` to `Engine.on_completion`."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, Completed]] = {}

    def completed(self, call: Completed) -> None:
        """Note a call that has ended."""
        self._last[call.provider] = (time.time(), call)

    def of(self, provider: str) -> Raw | None:
        """Return the last call of a provider, or None before there was one."""
        if provider not in self._last:
            return None
        at, call = self._last[provider]
        return {
            "model": call.model,
            "status": call.status,
            "at": as_utc(datetime.fromtimestamp(at, UTC)),
            "first_token_ms": call.first_token_ms,
            "duration_ms": call.duration_ms,
        }
