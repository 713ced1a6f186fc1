"""Log lines that say which request they belong to, as text or as JSON."""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

from proxy.caller import current_caller
from proxy.settings import Settings
from proxy.streaming.completions import Completed

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The `X-Request-Id` of the request being served; tasks it starts inherit it."""

FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"

FIELDS = (
    *("method", "route", "status", "ms", "owner", "key_id", "conversation_id", "message_id"),
    *("model", "provider", "tokens", "ended", "trace_id"),
)
"""What a JSON line has beside its message where it is known; never a content or a key."""

QUIET = ("pymongo", "uvicorn.error", "asyncio", "httpx", "httpcore")
"""Libraries that say more than an operator wants to read, some of it with addresses."""

replies = logging.getLogger("proxy.replies")


class RequestIdFilter(logging.Filter):
    """Gives every record a `request_id`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Stamp the record; none is left out."""
        record.request_id = request_id.get()
        return True


class JsonFormatter(logging.Formatter):
    """`{"ts": "2026-11-25T16:00:00.000Z", "level": "info", "logger": "proxy", "msg": "…", …}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; a trace is in `exception`."""
        values = record.__dict__
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "ts": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
            "request_id": values.get("request_id", "-"),
        }
        line.update({name: values[name] for name in FIELDS if values.get(name) is not None})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line).decode()
        except TypeError:
            # Half a character, or an integer beyond 64 bits, in what somebody sent.
            return json.dumps(line, default=str)


def configure_logging(settings: Settings) -> None:
    """Log to standard error, every line with its request id."""
    handler = logging.StreamHandler()
    handler.addFilter(RequestIdFilter())
    is_json = settings.log_format == "json"
    handler.setFormatter(JsonFormatter() if is_json else logging.Formatter(FORMAT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for noisy in QUIET:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def log_reply(call: Completed) -> None:
    """Log how one call of a model ended."""
    if not replies.isEnabledFor(logging.INFO):
        return
    caller = current_caller.get()
    usage = call.usage
    tokens = usage.prompt_tokens + usage.completion_tokens if usage is not None else None
    replies.info(
        "reply %s %s: %s/%s, %s ms, %s tokens",
        *(call.message_id or "(not stored)", call.status, call.provider),
        call.model if call.model.isprintable() else ascii(call.model),
        *("-" if value is None else value for value in (call.duration_ms, tokens)),
        extra={
            "owner": call.owner,
            "key_id": caller.key_id or None if caller is not None else None,
            "conversation_id": call.conversation_id or None,
            "message_id": call.message_id,
            "model": call.model,
            "provider": call.provider,
            "tokens": tokens,
            "ended": call.status,
            "ms": call.duration_ms,
        },
    )
