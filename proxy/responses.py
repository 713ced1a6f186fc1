"""JSON as it leaves: orjson, times in UTC with `Z`, Chinese unescaped."""

from typing import Any

import orjson
from starlette.responses import Response

OPTIONS = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


def dumps(value: Any) -> bytes:
    """JSON bytes of anything made of documents' values."""
    return orjson.dumps(value, option=OPTIONS)


class Json(Response):
    """A JSON answer from plain dicts and lists; nothing is validated on the way out."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the body."""
        return dumps(content)
