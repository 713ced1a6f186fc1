"""What a client sends for one turn, and the reply that comes of it."""

from dataclasses import dataclass, field
from typing import Any

from proxy.documents.base import Raw, utc_now
from proxy.documents.chat_message import ChatMessage, calls_of
from proxy.documents.message import Role, payload_of
from proxy.documents.message_location import attempt_name
from proxy.source_code.base import SourceAttachment


@dataclass(frozen=True, slots=True)
class NewTurn:
    """What a client sends for one turn.

    `content`, `role` and `payload` are its last message, `preceding` those before it.
    `parameters` go to the model as they are. `idempotency_key` with `fingerprint` (a hash of
    the body) makes it happen once.
    """

    content: str
    role: Role = "user"
    model: str = ""
    payload: dict[str, Any] | None = None
    preceding: tuple[ChatMessage, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    documents: list[int] = field(default_factory=list)
    system_prompt_append: str = ""
    source: SourceAttachment | None = None
    idempotency_key: str | None = None
    fingerprint: str = ""

    @property
    def messages(self) -> list[ChatMessage]:
        """All new messages in order."""
        return [*self.preceding, ChatMessage(self.role, self.content, self.payload)]


def message_of(message_id: int, new: ChatMessage) -> Raw:
    """A new message as it is stored."""
    now = utc_now()
    message: Raw = {
        "id": message_id,
        "role": new.role,
        "content": new.content,
        "created_at": now,
        "updated_at": now,
        "status": "complete",
        "revision": 0,
        "attempt": attempt_name(message_id, 0),
    }
    if (payload := new.as_text()) is not None:
        message["payload"] = payload
    return message


def not_stored_yet(new: list[ChatMessage], stored: list[Raw]) -> list[ChatMessage]:
    """The new messages without the last reply's tool calls, which clients send with the results."""
    called = _call_ids(payload_of(stored[-1])) if stored else []
    if called and len(new) > 1 and _call_ids(new[0].payload) == called:
        return new[1:]
    return new


def _call_ids(payload: Raw | None) -> list[str]:
    return [call["id"] for call in calls_of(payload)]
