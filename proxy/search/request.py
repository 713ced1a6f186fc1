"""What is asked: the query, where to look, which hits count, and where to go on."""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, get_args

import orjson
from pydantic import BaseModel, Field, ValidationError

from proxy.documents.conversation import StoredConversation
from proxy.documents.message import StoredMessage
from proxy.errors import BadRequest
from proxy.search.hits import Key, Kind, Sort, Source
from proxy.search.query import Query

KINDS: tuple[Kind, ...] = get_args(Kind)
DEFAULT_KINDS: tuple[Kind, ...] = ("messages", "conversations", "documents", "projects")
SORTS: tuple[Sort, ...] = get_args(Sort)
MESSAGE_KINDS: frozenset[Kind] = frozenset(("messages", "reasoning", "tools"))

BoundedInt = Annotated[int, Field(ge=-1, lt=2**63)]


class Cursor(BaseModel):
    """Where an answer ended; a source that is not in `start` has been looked through.

    `window` is how many ids were looked at in one go. For `sort=relevance` one stretch of
    what is stored is ranked: from `start` down to `until`, as of `now`, below rank `after`.
    """

    start: dict[Source, tuple[BoundedInt, BoundedInt | Annotated[str, Field(max_length=100)]]]
    window: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    until: dict[Source, BoundedInt] | None = None
    after: tuple[float, float, Annotated[str, Field(max_length=1_000)]] | None = None
    now: Annotated[float, Field(ge=0, le=2**37)] | None = None

    def packed(self) -> str:
        """Return it as a client gets it."""
        data = orjson.dumps(self.model_dump(exclude_none=True))
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    @classmethod
    def unpacked(cls, text: str) -> "Cursor":
        """Return what a client sent back.

        Raises:
            BadRequest: it is not the `next` of an answer.
        """
        try:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            return cls.model_validate(orjson.loads(data))
        except (ValueError, binascii.Error, ValidationError):
            raise BadRequest(
                "before: take it from `next` of the answer before, unchanged", param="before"
            ) from None


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A search of one owner's things."""

    owner: str
    query: Query
    kinds: frozenset[Kind]
    sort: Sort = "newest"
    limit: int = 20
    project_id: int | None = None
    conversation_id: str | None = None
    conversation_status: int | None = None
    role: str | None = None
    model: str | None = None
    status: str | None = None
    from_: datetime | None = None
    to: datetime | None = None
    all_versions: bool = False
    revisions: bool = False
    cursor: Cursor | None = None

    def sources(self) -> list[Source]:
        """Return what is to be looked through, the small things first."""
        sources: list[Source] = []
        if not (self.role or self.model or self.status):
            if self.conversation_id is None and self.conversation_status is None:
                if "projects" in self.kinds:
                    sources.append("projects")
                if "documents" in self.kinds:
                    sources.append("documents")
            if "conversations" in self.kinds:
                sources.append("conversations")
        if self.kinds & MESSAGE_KINDS:
            sources.append("messages")
        return sources

    def takes_time(self, time: datetime) -> bool:
        """Return whether something of this time is asked for."""
        return (self.from_ is None or time >= self.from_) and (self.to is None or time < self.to)

    def takes_message(self, message: StoredMessage) -> bool:
        """Return whether a message is asked for, whatever its text."""
        return (
            self.takes_time(message["created_at"])
            and (self.role is None or message["role"] == self.role)
            and (self.model is None or message.get("model") == self.model)
            and (self.status is None or message.get("status", "complete") == self.status)
        )

    def takes_conversation(self, conversation: StoredConversation) -> bool:
        """Return whether a conversation's messages are asked for."""
        return (self.project_id is None or conversation["project_id"] == self.project_id) and (
            self.conversation_status is None or conversation["status"] == self.conversation_status
        )


def start_of(request: SearchRequest, source: Source) -> Key | None:
    """Return where a source is to be looked through from; None is its top."""
    return request.cursor.start.get(source) if request.cursor else None
