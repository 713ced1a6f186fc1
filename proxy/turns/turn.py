"""What a client sends for one turn, and the reply that comes of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast
from uuid import UUID, uuid4

import orjson

from proxy.documents.base import Raw, utc_now
from proxy.documents.chat_message import ChatMessage, calls_of
from proxy.documents.message import StoredMessage, attempt_name, payload_of
from proxy.source_code.base import SourceAttachment

RETRY_HEADER = "x-stainless-retry-count"
"""How often OpenAI's SDKs have sent a call before, by themselves and without a key."""

MAX_REQUEST_CHARACTERS = 256 * 1024
"""What is kept of a turn's parameters for a regeneration; longer ones are not."""


@dataclass(frozen=True, slots=True)
class NewTurn:
    """What a client sends for one turn.

    `messages` are the new ones in order. `parameters` go to the model as they are.
    `idempotency_key` with `fingerprint` (a hash of the body) makes it happen once.
    """

    messages: tuple[ChatMessage, ...] = ()
    model: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    responses: dict[str, Any] | None = None
    """The same for an upstream that speaks Responses itself."""
    documents: list[int] = field(default_factory=list)
    system_prompt_append: str = ""
    source: SourceAttachment | None = None
    idempotency_key: str | None = None
    fingerprint: str = ""
    previous: tuple[int, int] | None = None
    """The reply that it goes on from, by id and revision; an older one makes a fork."""
    truncates: bool = True
    """Whether a history that is too long loses its beginning, or is refused."""
    stores_all: bool = False
    """Whether a text that only asks to go on is stored, too."""
    reply_fields: dict[str, Any] = field(default_factory=dict)
    """Further fields of the reply."""
    thread: str = ""
    """The client's own name of what it goes on with; a new conversation is found by it again."""
    shown: list[dict[str, Any]] | None = None
    """What the model is shown instead of the conversation's history."""
    is_retry: bool = False
    """Whether a client's SDK sends it again by itself."""

    def in_thread(
        self, thread: str, messages: tuple[ChatMessage, ...], shown: list[dict[str, Any]]
    ) -> "NewTurn":
        """Return it for a client that keeps its history: with what is new, and what is shown."""
        return replace(self, thread=thread, messages=messages, shown=shown)

    def kept_request(self) -> str | None:
        """Return what a regeneration needs besides the messages, as it is stored.

        None without any.
        """
        kept: Raw = {}
        if self.parameters:
            kept["parameters"] = self.parameters
        if self.responses is not None:
            kept["responses"] = self.responses
        if self.documents:
            kept["documents"] = self.documents
        if self.system_prompt_append:
            kept["system_prompt_append"] = self.system_prompt_append
        if self.source is not None:
            kept["source"] = asdict(self.source)
        if not kept:
            return None
        try:
            text = orjson.dumps(kept).decode()
        except TypeError:
            return None
        return text if len(text) <= MAX_REQUEST_CHARACTERS else None


def first_turn_of(message: StoredMessage) -> NewTurn:
    """Return the turn that a stored reply answers, without its messages."""
    kept = orjson.loads(message["request"]) if message.get("request") else {}
    source = kept.get("source")
    if source is not None:
        source = SourceAttachment(
            tuple(source["include"]),
            tuple(source["exclude"]),
            source["max_tokens"],
            source["since_last"],
        )
    return NewTurn(
        parameters=kept.get("parameters", {}),
        responses=kept.get("responses"),
        documents=kept.get("documents", []),
        system_prompt_append=kept.get("system_prompt_append", ""),
        source=source,
    )


def message_of(message_id: int, new: ChatMessage) -> StoredMessage:
    """Return a new message as it is stored."""
    now = utc_now()
    message: StoredMessage = {
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
    return cast(StoredMessage, {**message, **new.kept}) if new.kept else message


def not_stored_yet(
    new: Sequence[ChatMessage], stored: list[StoredMessage]
) -> Sequence[ChatMessage]:
    """Return the new messages without those before a result of the last reply's tool calls.

    Some clients send the calls again, others the questions and results that led to them: behind
    the calls, a question that was sent twice would be asked twice.
    """
    called = _call_ids(payload_of(stored[-1])) if stored else []
    if not called:
        return new
    if len(new) > 1 and _call_ids(new[0].payload) == called:
        return new[1:]
    first = next((n for n, each in enumerate(new) if _result_for(each.payload) in called), 0)
    if first:
        given = [each for each in stored if each["role"] != "assistant"][-first:]
        kept = [(each["role"], each["content"], _result_for(payload_of(each))) for each in given]
        if kept == [(each.role, each.content, _result_for(each.payload)) for each in new[:first]]:
            return new[first:]
    return new


def _result_for(payload: Raw | None) -> str:
    """Return the id of the call that a message is the result of; empty for any other."""
    return str((payload or {}).get("tool_call_id") or "")


def _call_ids(payload: Raw | None) -> list[str]:
    return [call["id"] for call in calls_of(payload)]


def conversation_id_of(owner: str, thread: str) -> str:
    """Return the id of the conversation that keeps a client's thread."""
    return new_conversation_id(owner, f"thread\n{thread}")


def new_conversation_id(owner: str, idempotency_key: str | None) -> str:
    """Return the id of a conversation that a call makes: the same one for the same key."""
    if idempotency_key is None:
        return str(uuid4())
    hashed = hashlib.sha256(f"{owner}\n{idempotency_key}".encode()).digest()
    return str(UUID(bytes=hashed[:16], version=4))
