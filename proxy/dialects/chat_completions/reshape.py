"""An upstream's answer in the other shape than it came: a stream as one body, a body as chunks.

Some servers ignore `stream`; the client gets what it asked for.
"""

import time
from typing import Any
from uuid import uuid4

from proxy.dialects.chat_completions.relay import Relayed
from proxy.dialects.chat_completions.shapes import completion
from proxy.documents.base import Raw
from proxy.documents.message import packed
from proxy.responses import dumps
from proxy.sse import DONE, JSONFrames, encode
from proxy.streaming.draft import Draft
from proxy.streaming.generation import usage_fields


async def whole_of(relayed: Relayed, model: str) -> bytes:
    """Read a stream to its end and return it as one `chat.completion`.

    Raises:
        UpstreamError: it broke, said that it failed, or ended early.
    """
    draft = await _read(relayed)
    message: Raw = {"content": draft.text, "finish_reason": draft.finish_reason}
    if draft.reasoning:
        message["reasoning"] = draft.reasoning
    if (payload := draft.payload) is not None:
        message["payload"] = packed(payload)
    if draft.usage is not None:
        message["usage"] = usage_fields(draft.usage)
    return dumps(completion(message, completion_id=f"chatcmpl-{uuid4().hex}", model=model))


async def whole_text_of(relayed: Relayed, model: str) -> bytes:
    """Read a stream of the legacy call to its end and return it as one `text_completion`.

    Raises:
        UpstreamError: it broke, said that it failed, or ended early.
    """
    draft = await _read(relayed)
    choice = {"index": 0, "text": draft.text, "finish_reason": draft.finish_reason}
    whole = {
        "id": f"cmpl-{uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{**choice, "logprobs": None}],
    }
    if draft.usage is not None:
        whole["usage"] = usage_fields(draft.usage)
    return dumps(whole)


async def _read(relayed: Relayed) -> Draft:
    reader = relayed.new_reader()
    draft = Draft()
    while block := await relayed.read():
        if (delta := reader.feed(block)) is not None:
            draft.add(delta)
    if (delta := reader.end()) is not None:
        draft.add(delta)
    return draft


def chunks_of(body: bytes, *, include_usage: bool) -> bytes:
    """Return a `chat.completion`, which was read before, as the chunks of a stream."""
    found = JSONFrames().loads(body)
    whole: dict[str, Any] = found[0] if isinstance(found, list) else found
    about = {key: value for key, value in whole.items() if key not in ("choices", "usage")}
    about |= {"object": "chat.completion.chunk"}
    about.setdefault("id", f"chatcmpl-{uuid4().hex}")
    choices = [each for each in whole["choices"] if isinstance(each, dict)]
    frames = b""
    for index, choice in enumerate(choices):
        delta = _delta_of(choice)
        rest = {key: value for key, value in choice.items() if key not in ("message", "text")}
        rest |= {"index": choice.get("index") or index}
        frames += encode({**about, "choices": [{**rest, "delta": delta, "finish_reason": None}]})
        reason = choice.get("finish_reason") or "stop"
        frames += encode({**about, "choices": [{**rest, "delta": {}, "finish_reason": reason}]})
    if include_usage and whole.get("usage"):
        frames += encode({**about, "choices": [], "usage": whole["usage"]})
    return frames + DONE


def frames_of(body: bytes) -> bytes:
    """Return a whole `text_completion` as a stream: its chunks have the same shape."""
    found = JSONFrames().loads(body)
    return encode(found[0] if isinstance(found, list) else found) + DONE


def _delta_of(choice: dict[str, Any]) -> dict[str, Any]:
    message = choice.get("message") or choice.get("delta")
    if not isinstance(message, dict):
        message = {"content": message if isinstance(message, str) else choice.get("text")}
    delta = {"role": "assistant", **message}
    calls = delta.get("tool_calls")
    if isinstance(calls, list):
        delta["tool_calls"] = [
            {"index": index, **call} for index, call in enumerate(calls) if isinstance(call, dict)
        ]
    return delta
