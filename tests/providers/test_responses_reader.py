"""An upstream's Responses as deltas, however they are cut and whatever is left out of them."""

import json
from typing import Any

import pytest

from proxy.providers.base import Delta
from proxy.providers.faults import Faults
from proxy.providers.responses_reader import ResponsesReader
from tests.fakes.responses_upstream import (
    call,
    event,
    item_frames,
    message,
    reasoning,
    response,
)

SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"query": "x"}}
ITEMS = [
    reasoning("sealed-1", "First", "Second"),
    SEARCH,
    reasoning("sealed-2"),
    message("Ulm 漢"),
    call("c1", "weather", '{"city": "Ulm"}'),
]


def new_reader(*, sums_up: bool = True) -> ResponsesReader:
    return ResponsesReader(Faults("up"), "up", "m", sums_up=sums_up)


def read(*pieces: bytes) -> tuple[list[Delta], ResponsesReader]:
    reader = new_reader()
    found = [delta for piece in pieces for delta in reader.feed(piece)]
    return found + reader.end(), reader


def summed(deltas: list[Delta]) -> dict[str, Any]:
    return {
        "reasoning": "".join(d.reasoning for d in deltas),
        "encrypted": [d.encrypted for d in deltas if d.encrypted],
        "items": [item["id"] for d in deltas for item in d.items],
        "text": "".join(d.text for d in deltas),
        "arguments": "".join(
            f.get("function", {}).get("arguments", "") for d in deltas for f in d.tool_calls
        ),
    }


ALL = b"".join(frame for n, item in enumerate(ITEMS) for frame in item_frames(n, item)) + event(
    "response.completed", response=response(ITEMS)
)
EXPECTED = {
    "reasoning": "First\n\nSecond",
    "encrypted": ["up:sealed-1", "up:sealed-2"],
    "items": ["ws_1"],
    "text": "Ulm 漢",
    "arguments": '{"city": "Ulm"}',
}


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
def test_a_stream_says_the_same_however_it_is_cut(size: int) -> None:
    deltas, reader = read(*(ALL[i : i + size] for i in range(0, len(ALL), size)))
    assert summed(deltas) == EXPECTED
    assert (reader.done, reader.finish_reason, reader.error) == (True, "tool_calls", None)
    usage = next(d.usage for d in deltas if d.usage)
    assert (usage.prompt_tokens, usage.completion_tokens) == (11, 7)
    assert usage.details["completion_tokens_details"] == {"reasoning_tokens": 3}


def test_within_one_read_the_order_is_kept() -> None:
    deltas, _ = read(ALL)
    first_search = next(n for n, d in enumerate(deltas) if d.items)
    assert [n for n, d in enumerate(deltas) if d.encrypted] == [first_search, first_search + 1]


def test_what_only_the_end_says_is_taken() -> None:
    ended = event("response.completed", response=response(ITEMS))
    assert summed(read(ended)[0]) == {**EXPECTED, "reasoning": "First\n\nSecond"}
    dones = [
        event("response.output_item.done", item=item, output_index=n)
        for n, item in enumerate(ITEMS)
    ]
    assert summed(read(*dones, ended)[0]) == EXPECTED


def test_a_body_is_an_answer_too() -> None:
    body = json.dumps(response(ITEMS)).encode()
    deltas, reader = read(body[:10], body[10:])
    assert summed(deltas) == EXPECTED
    assert reader.is_stream is False
    assert reader.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (event("error", message="Slow down", code="rate_limit_exceeded"), "Slow down"),
        (event("error", error={"message": "Nested", "code": None}), "Nested"),
        (
            event("response.failed", response=response([], "failed", error={"message": "Why"})),
            "Why",
        ),
        (b"<html>", ""),
    ],
)
def test_a_failure_is_an_error(frame: bytes, error: str) -> None:
    _, reader = read(frame)
    assert reader.error is not None
    assert error in reader.error.detail


def test_a_stream_without_an_end_was_cut() -> None:
    deltas, reader = read(*item_frames(0, message("half")))
    assert summed(deltas)["text"] == "half"
    assert (reader.done, reader.finish_reason) == (False, None)


@pytest.mark.parametrize(
    ("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter")]
)
def test_an_incomplete_one_says_why(reason: str, finish: str) -> None:
    details = {"reason": reason}
    found = response([message("x")], "incomplete", incomplete_details=details)
    _, reader = read(event("response.incomplete", response=found))
    assert reader.finish_reason == finish


def test_odd_frames_cost_themselves_alone() -> None:
    odd = b"data: {nonsense\n\ndata: [1]\n\nevent: x\n\n" + event("response.some.new.thing", x=1)
    odd += event("response.output_text.delta", delta=5) + event("response.output_item.added")
    deltas, reader = read(odd + ALL)
    assert summed(deltas) == EXPECTED
    assert reader.error is None


def test_events_without_an_index_are_told_apart_by_their_item() -> None:
    frames = [
        event(
            "response.output_item.added",
            item={"id": "a", "type": "function_call", "name": "f", "call_id": "c1"},
        ),
        event(
            "response.output_item.added",
            item={"id": "b", "type": "custom_tool_call", "name": "patch", "call_id": "c2"},
        ),
        event("response.function_call_arguments.delta", item_id="a", delta="{}"),
        event("response.custom_tool_call_input.delta", item_id="b", delta="***"),
        event("response.completed", response=response([])),
    ]
    deltas, _ = read(*frames)
    fragments = [f for d in deltas for f in d.tool_calls]
    assert [f["index"] for f in fragments] == [0, 1, 0, 1]
    assert fragments[3]["custom"] == {"input": "***"}
