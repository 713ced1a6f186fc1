"""A reply as OpenAI's `response`: its stored fields, and what its request asked for.

Every field of the object is always there, null where nothing is known: strict readers of the
open specification want them all.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from proxy.dialects.responses.ids import CONVERSATION, ResponseId
from proxy.dialects.responses.items import ItemView, output_items
from proxy.documents.base import Raw
from proxy.documents.conversation import StoredConversation
from proxy.documents.message import MessageFields

ECHOED: dict[str, Any] = {
    "instructions": None,
    "previous_response_id": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_logprobs": 0,
    "tool_choice": "auto",
    "tools": [],
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": None, "summary": None},
    "truncation": "disabled",
    "background": False,
    "store": True,
    "service_tier": "default",
    "metadata": {},
    "user": None,
    "safety_identifier": None,
    "prompt_cache_key": None,
    "prompt": None,
}
"""What a response repeats of its request, with what stands where that said nothing."""

KEPT = frozenset(ECHOED) | {"conversation", "model", "include"}
"""What is stored of a request beside its messages."""

_ERROR_CODES = {
    "rate_limit_exceeded": "rate_limit_exceeded",
    "context_length_exceeded": "context_length_exceeded",
    "insufficient_quota": "insufficient_quota",
    "usage_not_included": "usage_not_included",
    "invalid_request_error": "invalid_prompt",
}

_FUNCTION = {"description": None, "parameters": None, "strict": None}
"""What every function among the tools of a response has, null where its request said nothing."""

_EVENTS = {"completed": "response.completed", "failed": "response.failed"}


@dataclass(frozen=True, slots=True)
class Request:
    """What is known of the request that a response answers; empty where it came another way."""

    body: Raw = field(default_factory=dict)
    ids: tuple[int, int] | None = None
    """The first and the last message that it brought."""

    @property
    def wants_summary(self) -> bool:
        """Whether reasoning should be summed up for its reader."""
        reasoning = self.body.get("reasoning")
        return isinstance(reasoning, dict) and bool(
            reasoning.get("summary") or reasoning.get("generate_summary")
        )

    @property
    def wants_sealed(self) -> bool:
        """Whether reasoning should carry `encrypted_content`."""
        return "reasoning.encrypted_content" in (self.body.get("include") or ())


def kept_of(body: Raw) -> Raw:
    """Return what is stored of a request's body."""
    kept = {key: body[key] for key in KEPT if body.get(key) is not None}
    if "tools" in kept:
        kept["tools"] = [
            {**_FUNCTION, **tool} if tool.get("type") == "function" else tool
            for tool in kept["tools"]
        ]
    return kept


def status_of(message: MessageFields) -> str:
    """Return how a response stands, by the status and finish reason of its message."""
    status, reason = message.get("status", "complete"), message.get("finish_reason")
    if status == "streaming":
        return "in_progress"
    if status == "stopped":
        return "cancelled"
    if status == "complete":
        return "incomplete" if reason in ("length", "content_filter") else "completed"
    return "failed"


def event_of(status: str) -> str:
    """Return the type of the last event of a response that ended so."""
    return _EVENTS.get(status, "response.incomplete")


def response_object(
    message: MessageFields,
    request: Request,
    *,
    id_: str = "",
    conversation_id: str = "",
    view: ItemView | None = None,
    status: str = "",
    output: list[Raw] | None = None,
) -> Raw:
    """Return a `response` of a reply's stored fields; `output` where it is known already."""
    body = request.body
    status = status or status_of(message)
    began_at = _seconds(message.get("started_at") or message.get("created_at"))
    duration = message.get("duration_ms")
    is_over = status not in ("queued", "in_progress")
    if output is None:
        output = output_items(message, view or ItemView(request.wants_summary))
    return {
        **ECHOED,
        **{key: value for key, value in body.items() if key in ECHOED and value is not None},
        "id": id_ or str(ResponseId(message["id"], message.get("revision", 0))),
        "object": "response",
        "created_at": began_at,
        "completed_at": began_at + (duration or 0) // 1000 if is_over else None,
        "status": status,
        "error": _error(message) if status == "failed" else None,
        "incomplete_details": _incomplete(message) if status == "incomplete" else None,
        "model": body.get("model") or message.get("model") or "",
        "output": output,
        "usage": usage_object(message.get("usage")) if is_over else None,
        "text": {**ECHOED["text"], **(body.get("text") or {})},
        "reasoning": {**ECHOED["reasoning"], **(body.get("reasoning") or {})},
        "conversation": _conversation(body, conversation_id),
        "conversation_id": conversation_id or None,
    }


def usage_object(usage: Raw | None) -> Raw | None:
    """Return OpenAI's `usage` of Responses; 0 for what the upstream did not say."""
    if not usage or "total_tokens" not in usage:
        return None
    details = usage.get("details") or {}
    given = details.get("prompt_tokens_details") or details.get("input_tokens_details") or {}
    taken = details.get("completion_tokens_details") or details.get("output_tokens_details") or {}
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": _count(given.get("cached_tokens")),
            "cache_write_tokens": _count(given.get("cache_write_tokens")),
        },
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": _count(taken.get("reasoning_tokens"))},
        "total_tokens": usage["total_tokens"],
    }


def request_of(kept: Raw | None) -> Request:
    """Return the request of a stored response; an empty one where there is none."""
    if kept is None:
        return Request()
    first, last = kept["input_ids"]
    return Request(orjson.loads(kept["request"]), (first, last) if last >= first else None)


def conversation_object(raw: StoredConversation) -> Raw:
    """Return OpenAI's `conversation` of a stored one."""
    return {
        "id": CONVERSATION + raw["_id"],
        "object": "conversation",
        "created_at": _seconds(raw["created_at"]),
        "metadata": raw.get("metadata") or {},
    }


def _conversation(body: Raw, conversation_id: str) -> Raw | None:
    """Return the conversation of a response whose request named one."""
    if not body.get("conversation") or not conversation_id:
        return None
    return {"id": CONVERSATION + conversation_id}


def _error(message: MessageFields) -> Raw:
    error = message.get("error") or {}
    code = _ERROR_CODES.get(error.get("code") or "") or _ERROR_CODES.get(error.get("type") or "")
    return {
        "code": code or "server_error",
        "message": error.get("message") or "The reply ended early; what arrived is in the output",
    }


def _incomplete(message: MessageFields) -> Raw:
    is_length = message.get("finish_reason") == "length"
    return {"reason": "max_output_tokens" if is_length else "content_filter"}


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _seconds(time: datetime | None) -> int:
    return int(time.replace(tzinfo=UTC).timestamp()) if time is not None else 0
