"""An upstream that speaks OpenAI's Responses itself, scripted by the items that it answers with."""

import json
from collections.abc import Iterator
from typing import Any

from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.scripted import Script, head, script, whole

USAGE = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 2},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 18,
}


def event(type_: str, **fields: Any) -> bytes:
    """One frame, as OpenAI writes it."""
    data = json.dumps({"type": type_, **fields}, ensure_ascii=False)
    return f"event: {type_}\ndata: {data}\n\n".encode()


def message(text: str, **part: Any) -> dict[str, Any]:
    """An item of text."""
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": [], **part}]
    return {
        "id": "msg_up",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": content,
    }


def reasoning(encrypted: str | None = None, *summary: str) -> dict[str, Any]:
    """An item of reasoning, with what wants to be sent back."""
    parts = [{"type": "summary_text", "text": text} for text in summary]
    item: dict[str, Any] = {"id": "rs_up", "type": "reasoning", "summary": parts}
    return item if encrypted is None else {**item, "encrypted_content": encrypted}


def call(call_id: str, name: str, arguments: str, **more: Any) -> dict[str, Any]:
    """A call of a function."""
    named = {"call_id": call_id, "name": name, "arguments": arguments}
    return {"id": "fc_up", "type": "function_call", "status": "completed", **named, **more}


def response(output: list[dict[str, Any]], status: str = "completed", **more: Any) -> Any:
    """The whole response."""
    about = {"id": "resp_up", "object": "response", "created_at": 1, "model": "test-model"}
    return {**about, "status": status, "output": output, "usage": USAGE, **more}


def item_frames(index: int, item: dict[str, Any]) -> Iterator[bytes]:
    """The events of one item, its texts a character a piece."""
    empty = {
        key: type(value)() if key in ("content", "summary", "arguments", "input") else value
        for key, value in item.items()
        if key != "encrypted_content"
    }
    at = {"output_index": index, "item_id": item["id"]}
    yield event("response.output_item.added", output_index=index, item=empty)
    if item["type"] == "message":
        for character in item["content"][0]["text"]:
            yield event("response.output_text.delta", **at, content_index=0, delta=character)
    for number, part in enumerate(item.get("summary", ())):
        for character in part["text"]:
            yield event(
                "response.reasoning_summary_text.delta", **at, summary_index=number, delta=character
            )
    for key, kind in (
        ("arguments", "function_call_arguments"),
        ("input", "custom_tool_call_input"),
    ):
        for character in item.get(key, ""):
            yield event(f"response.{kind}.delta", **at, delta=character)
    if item["type"] == "web_search_call":
        yield event("response.web_search_call.searching", **at)
    yield event("response.output_item.done", output_index=index, item=item)


class ResponsesUpstream(OpenAIUpstream):
    """`base_url` as of an OpenAI upstream; `respond` makes scripts of `POST /responses`."""

    def respond(self, *items: dict[str, Any], status: str = "completed", **more: Any) -> Script:
        """A stream with these items, each event written by itself."""
        return self.events(
            *(frame for index, item in enumerate(items) for frame in item_frames(index, item)),
            event(f"response.{status}", response=response(list(items), status, **more)),
        )

    def events(self, *frames: bytes) -> Script:
        """A stream of these events behind the two that begin every response."""
        begun = response([], "in_progress", usage=None)
        return script(
            head(),
            event("response.created", response=begun)
            + event("response.in_progress", response=begun),
            *frames,
        )

    def body(self, *items: dict[str, Any], status: str = "completed", **more: Any) -> Script:
        """The same as one JSON body."""
        return whole(200, response(list(items), status, **more))
