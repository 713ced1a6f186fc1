"""A reply in the shapes of OpenAI's chat completion API: whole, or as chunks of a stream.

Source: https://platform.openai.com/docs/api-reference/chat/object and …/chat/streaming.
`reasoning_content` is where DeepSeek and vLLM put a model's thinking.
"""

import time
from typing import Any

from proxy.documents.base import Raw
from proxy.documents.chat_message import calls_of
from proxy.documents.message import MessageFields, payload_of
from proxy.errors import ProxyError
from proxy.sse import DONE, HEARTBEAT, encode
from proxy.streaming.draft import Progress

SEPARATOR = "\n\n"
"""Between a text that was already sent and the one that replaced it: nothing can be unsaid."""


FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "function_call",
    "content_filter": "content_filter",
    "safety": "content_filter",
}
"""What upstreams call it, and what OpenAI's clients know; anything else is `stop`."""


OWN_MESSAGE_KEYS = frozenset(
    {"role", "content", "tool_calls", "reasoning", "reasoning_content", "refusal", "function_call"}
)
"""Keys of a message that are written here; `refusal` and `function_call` are text and a call."""


def finish_reason_of(message: MessageFields) -> str:
    """OpenAI's finish reason of a reply's stored fields."""
    return FINISH_REASONS.get(str(message.get("finish_reason") or "stop").lower(), "stop")


def usage_object(usage: Raw | None) -> Raw | None:
    """OpenAI's `usage` of a stored one; null where nobody counted."""
    if not usage or "total_tokens" not in usage:
        return None
    counts = {key: usage[key] for key in ("prompt_tokens", "completion_tokens", "total_tokens")}
    details = {
        key: {name: int(count) for name, count in value.items() if not isinstance(count, dict)}
        if isinstance(value, dict)
        else value
        for key, value in usage.get("details", {}).items()
        if isinstance(value, dict) or not key.endswith("_details")
    }
    return {**details, **counts}


def further_keys(payload: Raw) -> Raw:
    """Return what a message holds besides text and calls, where OpenAI's clients can read it.

    Pictures are in `images`, where OpenRouter and the clients that know it have them.
    """
    further = {key: value for key, value in payload.items() if key not in OWN_MESSAGE_KEYS}
    annotations = further.pop("annotations", None)
    if isinstance(annotations, list):
        found = [each for each in annotations if _is_citation(each)]
        further |= {"annotations": found} if found else {}
    audio = further.pop("audio", None)
    if isinstance(audio, dict) and isinstance(audio.get("data"), str):
        further["audio"] = {"id": "", "expires_at": 0, "transcript": "", **audio}
    if "images" not in further and isinstance(content := payload.get("content"), list):
        images = [part for part in content if part.get("type") == "image_url"]
        further |= {"images": images} if images else {}
    return further


def _is_citation(annotation: Any) -> bool:
    cited = annotation.get("url_citation") if isinstance(annotation, dict) else None
    return isinstance(cited, dict) and all(
        isinstance(cited.get(key), kind)
        for key, kind in (("start_index", int), ("end_index", int), ("title", str), ("url", str))
    )


def completion(
    message: MessageFields, *, completion_id: str, model: str, extra: Raw | None = None
) -> dict[str, Any]:
    """Return a `chat.completion` of a reply's stored fields (`content`, `finish_reason`, …)."""
    payload = payload_of(message) or {}
    calls = calls_of(payload)
    answer: dict[str, Any] = {
        **further_keys(payload),
        "role": "assistant",
        "content": message["content"] or (None if calls else ""),
        "refusal": None,
    }
    if message.get("suggestions"):
        answer["suggestions"] = message["suggestions"]
    if message.get("reasoning"):
        answer["reasoning_content"] = message["reasoning"]
    if calls:
        answer["tool_calls"] = calls
    choice = {
        "index": 0,
        "message": answer,
        "logprobs": None,
        "finish_reason": finish_reason_of(message),
    }
    return {
        "id": completion_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": usage_object(message.get("usage")),
        **(extra or {}),
    }


class CompletionFormat:
    """One reply as a `chat.completion`, or as the frames of its `chat.completion.chunk` objects.

    `first_extra` are further keys of the first chunk, `whole_extra` of a whole answer.
    With `include_usage` a last chunk without choices carries the usage, as
    `stream_options.include_usage` asks for.
    """

    def __init__(
        self,
        *,
        completion_id: str,
        model: str,
        include_usage: bool = False,
        first_extra: Raw | None = None,
        whole_extra: Raw | None = None,
    ) -> None:
        self._envelope: dict[str, Any] = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        self._include_usage = include_usage
        self._first_extra = first_extra or {}
        self._whole_extra = whole_extra or {}
        self._said_tool_calls = False

    def first(self) -> bytes:
        """Return the role, before any text."""
        return self._chunk({"role": "assistant", "content": ""}, extra=self._first_extra)

    def progress(self, progress: Progress) -> bytes:
        """Return what has come since the last frame."""
        delta: dict[str, Any] = {}
        if progress.text:
            delta["content"] = progress.text
        if progress.reasoning:
            delta["reasoning_content"] = progress.reasoning
        if progress.tool_calls:
            self._said_tool_calls = True
            delta["tool_calls"] = list(progress.tool_calls)
        return self._chunk(delta)

    def waiting(self) -> bytes:
        """Return a comment: no reader of events sees it."""
        return HEARTBEAT

    def ending(self, error: ProxyError | None, message: MessageFields, *, differs: bool) -> bytes:
        """Return what is left to say of a reply with these stored fields, and how it ended."""
        frames = b""
        if differs:
            frames += self._chunk({"content": SEPARATOR + message.get("content", "")})
        payload = payload_of(message) or {}
        calls = calls_of(payload)
        further = further_keys(payload)
        if message.get("suggestions"):
            further["suggestions"] = message["suggestions"]
        if further:
            frames += self._chunk(further)
        if calls and not self._said_tool_calls:
            fragments = [{"index": index, **call} for index, call in enumerate(calls)]
            frames += self._chunk({"tool_calls": fragments})
        if error is not None:
            return frames + encode({"error": error.error()}) + DONE
        frames += self._chunk({}, finish_reason_of(message))
        if self._include_usage:
            usage = usage_object(message.get("usage"))
            frames += encode({**self._envelope, "choices": [], "usage": usage})
        return frames + DONE

    def whole(self, error: ProxyError | None, message: MessageFields) -> Raw:
        """Return a `chat.completion`; OpenAI's API has none for a reply that broke off.

        Raises:
            ProxyError: `error`.
        """
        if error is not None:
            raise error
        return completion(
            message,
            completion_id=self._envelope["id"],
            model=message.get("model") or self._envelope["model"],
            extra=self._whole_extra,
        )

    def ids(self) -> Raw:
        """Return the ids of the turn, where there is one."""
        return self._whole_extra

    def _chunk(
        self, delta: dict[str, Any], finish_reason: str | None = None, extra: Raw | None = None
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        frame = {**self._envelope, "choices": [choice], **(extra or {})}
        if self._include_usage:
            frame["usage"] = None
        return encode(frame)
