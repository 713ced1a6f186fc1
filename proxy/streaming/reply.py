"""The reply that a request began, named by its ids, on its way or stored long ago."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from proxy.documents.base import Raw
from proxy.documents.message import MessageFields
from proxy.errors import Unprocessable
from proxy.responses import dumps, model_headers
from proxy.streaming.generation import Generation


class KeyReused(Unprocessable):
    """One `Idempotency-Key` for two requests."""

    message = "This Idempotency-Key was used with another request; use a new key"

    def __init__(self) -> None:
        super().__init__(code="idempotency_key_reused")


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a turn; `generation` is None when it is written elsewhere or has ended."""

    conversation_id: str
    user_message_id: int | None
    message_id: int
    generation: Generation | None = None
    message: MessageFields = field(default_factory=dict)
    """Its fields when it was begun."""
    first_message_id: int = 0
    """The first message that its call brought."""
    joined: bool = False
    """Whether an earlier copy of the call began it."""


def fingerprint(*parts: Any) -> str:
    """Return a hash of what a request asks for."""
    return hashlib.sha256(dumps(parts)).hexdigest()


def ids_of(reply: Reply) -> Raw:
    """Return the first frame of a stream."""
    return {
        "user_message_id": reply.user_message_id,
        "assistant_message_id": reply.message_id,
        "conversation_id": reply.conversation_id,
        "session_id": str(reply.message_id),
    }


def stored_ids(reply: Reply) -> Raw:
    """Return the ids in the body of an answer that is not streamed."""
    return {
        "conversation_id": reply.conversation_id,
        "user_message_id": reply.user_message_id,
        "assistant_message_id": reply.message_id,
    }


def headers_of(reply: Reply) -> dict[str, str]:
    """Return the headers of a stream that has begun."""
    generation = reply.generation
    return {} if generation is None else model_headers(generation.provider, generation.model)
