"""A reply before the model has said anything, as it is stored."""

from typing import cast

from proxy.caller import current_caller
from proxy.documents.base import Raw, utc_now
from proxy.documents.message import StoredMessage, attempt_name
from proxy.providers.registry import Route
from proxy.turns.prompt import Prompt
from proxy.turns.turn import NewTurn

REPLY_FIELDS = (
    "key_id",
    "finish_reason",
    "error",
    "usage",
    "reasoning",
    "payload",
    "first_token_ms",
    "duration_ms",
    "omitted_messages",
    "attached_source",
    "order",
    "items",
    "suggestions",
    "points",
    "points_certain",
    "encrypted_reasoning",
    "logprobs",
)
"""What an earlier writing of a reply left and a new one does not take over."""


def reply_fields(worker_id: str, route: Route, prompt: Prompt) -> Raw:
    """Return what a reply has while a worker asks a model for it, a first time or again."""
    fields: Raw = {
        "status": "streaming",
        "worker": worker_id,
        "started_at": utc_now(),
        "model": route.model,
        "provider": route.provider.name,
    }
    if (caller := current_caller.get()) is not None and caller.key_id:
        fields["key_id"] = caller.key_id
    if prompt.omitted_messages:
        fields["omitted_messages"] = prompt.omitted_messages
    return fields


def new_reply(
    reply_id: int, user_id: int | None, worker_id: str, route: Route, prompt: Prompt, turn: NewTurn
) -> StoredMessage:
    """Return the message of a reply to `user_id`, or to no stored message."""
    now = utc_now()
    fields: Raw = {
        "id": reply_id,
        "role": "assistant",
        "content": "",
        "created_at": now,
        "updated_at": now,
        "revision": 0,
        "attempt": attempt_name(reply_id, 0),
        **reply_fields(worker_id, route, prompt),
        **turn.reply_fields,
    }
    message = cast(StoredMessage, fields)
    if user_id is not None:
        message["reply_to"] = user_id
    if turn.idempotency_key is not None:
        message["idempotency"] = {"key": turn.idempotency_key, "body": turn.fingerprint}
    elif turn.fingerprint:
        message["idempotency"] = {"body": turn.fingerprint}
    if (request := turn.kept_request()) is not None:
        message["request"] = request
    return message
