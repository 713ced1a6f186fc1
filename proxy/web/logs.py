"""Log lines that say which request they belong to."""

import logging
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The `X-Request-Id` of the request being served; tasks it starts inherit it."""

FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"

QUIET = ("pymongo", "uvicorn.error", "asyncio", "httpx", "httpcore")
"""Libraries that say more than an operator wants to read, some of it with addresses."""


class RequestIdFilter(logging.Filter):
    """Gives every record a `request_id`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Stamp the record; none is left out."""
        record.request_id = request_id.get()
        return True


def configure_logging(level: str) -> None:
    """Log to standard error, every line with its request id."""
    handler = logging.StreamHandler()
    handler.addFilter(RequestIdFilter())
    logging.basicConfig(level=level.upper(), format=FORMAT, handlers=[handler], force=True)
    for noisy in QUIET:
        logging.getLogger(noisy).setLevel(logging.WARNING)
