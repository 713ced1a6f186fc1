"""A chat completion with a conversation: OpenAI's call in, a turn of the engine out.

The request's messages are the new ones; the history is the server's. Leading `system` and
`developer` messages extend the system prompt of this one call and are not stored; all others
are, in order and as they came (tool calls, tool results, parts).
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from proxy.dialects.chat_completions.shapes import CompletionFormat
from proxy.dialects.chat_completions.stateless import OWN_KEYS, wants_usage
from proxy.dialects.responses.ids import conversation_key
from proxy.documents.base import Raw
from proxy.documents.chat_message import ChatMessage, InvalidMessage, text_of
from proxy.schemas.completions import wrong
from proxy.schemas.messages import Attach
from proxy.source_code.base import SourceAttachment
from proxy.streaming.reply import Reply, fingerprint, ids_of, stored_ids
from proxy.turns.turn import RETRY_HEADER, NewTurn

HEADER = b"x-conversation-id"

_NOT_STORABLE: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "logprobs": (None, False),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "functions": (None,),
}
"""Parameters whose answer a conversation cannot hold, with the values that ask for nothing."""


def conversation_of(body: Raw, headers: Mapping[bytes, bytes]) -> str:
    """Return the conversation that a call names: in `conversation`, a header, or `metadata`.

    Else "".

    Raises:
        BadRequest: it is not an id.
    """
    found: Any = body.get("conversation")
    if not found and HEADER in headers:
        found = headers[HEADER].decode("latin-1")
    if not found and (metadata := body.get("metadata")):
        found = metadata.get("conversation") if isinstance(metadata, dict) else None
    if isinstance(found, dict):
        # OpenAI's Responses API writes it this way.
        found = found.get("id", found)
    if not found:
        return ""
    if not isinstance(found, str) or len(found) > 100:
        raise wrong("conversation", "must be the id of a conversation")
    return conversation_key(found)


def new_turn(
    body: Raw, idempotency_key: str | None, headers: Mapping[bytes, bytes] | None = None
) -> NewTurn:
    """Return the turn that a call asks for.

    Raises:
        BadRequest: a message or a parameter that a conversation cannot hold.
    """
    for name, neutral in _NOT_STORABLE.items():
        if body.get(name) not in neutral:
            raise wrong(name, "is not available with a conversation; leave one of them out")
    if body.get("on_disconnect") not in (None, "continue", "cancel"):
        raise wrong("on_disconnect", "must be continue or cancel")
    system: list[str] = []
    new: list[ChatMessage] = []
    for index, message in enumerate(body["messages"]):
        if not new and message["role"] in ("system", "developer"):
            system.append(text_of(message.get("content")))
        else:
            new.append(_read_message(message, f"messages[{index}]"))
    if not new:
        raise wrong("messages", "must hold a message besides the system prompt")
    retries = (headers or {}).get(RETRY_HEADER.encode())
    return NewTurn(
        messages=tuple(new),
        model=body.get("model") or "",
        parameters=_parameters(body),
        system_prompt_append="\n\n".join(filter(None, system)),
        source=_source(body.get("attach")),
        idempotency_key=idempotency_key,
        fingerprint=fingerprint(body) if idempotency_key or retries is not None else "",
        is_retry=idempotency_key is None and retries not in (None, b"0"),
    )


def _source(attach: Any) -> SourceAttachment | None:
    if attach is None:
        return None
    try:
        wanted = Attach.model_validate(attach).source_code
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("attach", *first["loc"]))
        raise wrong(where, first["msg"]) from None
    return wanted.attachment() if wanted else None


def _parameters(body: Raw) -> Raw:
    ours = OWN_KEYS | {"model", "messages", "stream"}
    parameters = {key: value for key, value in body.items() if key not in ours}
    metadata = parameters.get("metadata")
    if isinstance(metadata, dict) and "conversation" in metadata:
        rest = {key: value for key, value in metadata.items() if key != "conversation"}
        parameters["metadata"] = rest
        if not rest:
            del parameters["metadata"]
    return parameters


def _read_message(message: Raw, where: str) -> ChatMessage:
    try:
        return ChatMessage.read(message)
    except InvalidMessage as error:
        raise wrong(f"{where}.{error.where}" if error.where else where, error.rule) from None


def format_of(reply: Reply, body: Raw) -> CompletionFormat:
    """How the reply to a turn looks in OpenAI's shape, with the ids of the turn."""
    return CompletionFormat(
        completion_id=f"chatcmpl-{reply.message_id}",
        model=reply.generation.model if reply.generation else body.get("model") or "",
        include_usage=wants_usage(body),
        first_extra=ids_of(reply),
        whole_extra=stored_ids(reply),
    )
