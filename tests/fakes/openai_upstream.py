"""OpenAI's chat completion protocol, scripted."""

import json
from typing import Any

from tests.fakes.faults import SECRET, FaultyUpstream
from tests.fakes.scripted import Script, head, script, whole

USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "completion_tokens_details": {"reasoning_tokens": 3},
}


def frame(payload: Any) -> bytes:
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"


def chunk(delta: dict[str, Any] | None = None, finish_reason: str | None = None) -> bytes:
    """One `chat.completion.chunk`."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish_reason}
    return frame({**_envelope("chat.completion.chunk"), "choices": [choice], "usage": None})


def usage_chunk() -> bytes:
    return frame({**_envelope("chat.completion.chunk"), "choices": [], "usage": USAGE})


def _envelope(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "test-model"}


class OpenAIUpstream(FaultyUpstream):
    """`base_url` is what `OPENAI_BASE_URL` takes."""

    @property
    def base_url(self) -> str:
        return self.origin + "/v1"

    def text(self, text: str) -> bytes:
        return chunk({"content": text})

    def end(self) -> bytes:
        return chunk(finish_reason="stop") + usage_chunk() + b"data: [DONE]\n\n"

    def failure(self) -> bytes:
        return frame({"error": {"message": SECRET, "type": "server_error", "code": None}})

    def bad_json(self) -> bytes:
        return b'data: {"choices": [{"delta": {"content": "secret-detail\n\n'

    def error_body(self, message: str, code: str | None = None) -> Any:
        return {"error": {"message": message, "type": "error", "param": None, "code": code}}

    def whole_reply(self, text: str) -> Script:
        """The answer of a server that ignores `stream`: one `chat.completion`."""
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {**_envelope("chat.completion"), "choices": [choice], "usage": USAGE}
        return whole(200, body)

    def chunks(self, *frames: bytes) -> Script:
        """A stream of exactly these frames, each written by itself."""
        return script(head(), *frames)
