"""Poe's bot protocol: scripted for the faults, and fastapi_poe's own server for the rest."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import fastapi_poe
from fastapi_poe.types import PartialResponse, QueryRequest
from sse_starlette import ServerSentEvent

from tests.fakes.faults import SECRET, FaultyUpstream
from tests.fakes.live import serve
from tests.fakes.scripted import Recorded, Script, head, script, whole

ACCESS_KEY = "k" * 32

Event = PartialResponse | ServerSentEvent | Exception


def event(name: str, payload: Any) -> bytes:
    data = json.dumps(payload, ensure_ascii=False).encode()
    return b"event: " + name.encode() + b"\r\ndata: " + data + b"\r\n\r\n"


class PoeUpstream(FaultyUpstream):
    """`base_url` is what `POE_BASE_URL` takes."""

    upload: Script | None = None
    """Played for an upload of a file."""

    def answer_to(self, request: Recorded) -> Script:
        if self.upload is not None and request.path == "/upload":
            self.uploads.append(request)
            return self.upload
        return super().answer_to(request)

    balance: Any = None
    """What the account has left; None is an upstream without a usage API."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.uploads: list[Recorded] = []
        self.history: list[dict[str, Any]] = []
        """Entries of `points_history`, newest first; see `query_of`."""
        self.asked: list[str] = []
        """Paths of the usage API in the order they were asked for."""

    def answer_to_get(self, request: Recorded) -> Script:
        if self.balance is None or "/usage/" not in request.path:
            return super().answer_to_get(request)
        assert request.headers["authorization"].startswith("Bearer ")
        self.asked.append(request.path)
        if request.path.endswith("/current_balance"):
            return whole(200, {"current_point_balance": self.balance})
        query = dict(parse_qsl(urlsplit(request.path).query))
        ids = [entry["query_id"] for entry in self.history]
        after = query.get("starting_after")
        first = ids.index(after) + 1 if after else 0
        page = self.history[first : first + int(query.get("limit", 20))]
        more = first + len(page) < len(self.history)
        return whole(200, {"has_more": more, "length": len(page), "data": page})

    @staticmethod
    def query_of(id_: str, at: float, points: Any, bot: str = "test-model") -> dict[str, Any]:
        return {
            "query_id": id_,
            "creation_time": int(at * 1e6),
            "bot_name": bot,
            "usage_type": "API",
            "cost_points": points,
        }

    @property
    def base_url(self) -> str:
        return self.origin + "/bot/"

    def text(self, text: str) -> bytes:
        return event("text", {"text": text})

    def end(self) -> bytes:
        return event("done", {})

    def failure(self) -> bytes:
        return event("error", {"allow_retry": True, "text": SECRET})

    def bad_json(self) -> bytes:
        return b'event: text\r\ndata: {"text": "secret-detail\r\n\r\n'

    def error_body(self, message: str, code: str | None = None) -> Any:
        return {"error": {"message": message, "type": "error", "code": code}}

    def events(self, *events: bytes) -> Script:
        """A stream of exactly these events, each written by itself."""
        return script(head(), *events)


class Bot(fastapi_poe.PoeBot):
    """A bot that yields the given events (an exception is raised) and keeps its queries."""

    def __init__(self, events: Sequence[Event], name: str = "TestBot") -> None:
        super().__init__(path=f"/bot/{name}", access_key=ACCESS_KEY)
        self.events = events
        self.queries: list[QueryRequest] = []

    async def get_response(self, request: QueryRequest) -> AsyncIterable[Any]:
        self.queries.append(request)
        for each in self.events:
            if isinstance(each, Exception):
                raise each
            yield each


@asynccontextmanager
async def poe_server(*bots: Bot) -> AsyncIterator[str]:
    """fastapi_poe's own server side with these bots; gives the base URL."""
    app = fastapi_poe.make_app(bots)
    async with serve(app) as origin:
        yield origin + "/bot/"
