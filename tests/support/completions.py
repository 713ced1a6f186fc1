import json
from typing import Any

import httpx

PATH = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]


def call(text: str = "Hello", model: str = "test-model", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def chunks(response: httpx.Response) -> list[Any]:
    """The JSON of every frame but `[DONE]`, which must be the last."""
    frames = [line[6:] for line in response.text.split("\n") if line.startswith("data: ")]
    assert frames[-1] == "[DONE]"
    return [json.loads(frame) for frame in frames[:-1]]


def said(found: list[Any]) -> str:
    """The text of chunks."""
    return "".join(
        choice["delta"].get("content") or ""
        for chunk in found
        for choice in chunk.get("choices", ())
    )
