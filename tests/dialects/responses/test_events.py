"""The events of a response, live and replayed, are one numbered row."""

import random
from typing import Any

import pytest

from proxy.dialects.responses.events import ResponseFormat
from proxy.dialects.responses.numbering import FROM_THE_START
from proxy.dialects.responses.shapes import Request
from proxy.documents.base import Raw, utc_now
from proxy.documents.message import packed
from proxy.providers.base import Delta
from proxy.streaming.draft import Draft, Progress
from tests.support.response_events import events_of, text_in, units

CALLS = [
    {
        "id": "call_a",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "乌尔姆"}'},
    },
    {
        "id": "call_b",
        "type": "function",
        "function": {"name": "apply_patch", "arguments": '{"input": "*** Begin\\n😀"}'},
    },
]
BEGUN: Raw = {
    "id": 108,
    "role": "assistant",
    "content": "",
    "created_at": utc_now(),
    "status": "streaming",
    "model": "m",
    "tool_names": {"apply_patch": {"kind": "custom", "name": "apply_patch"}},
}
ENDED: Raw = {
    "status": "complete",
    "finish_reason": "stop",
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}


def pieces(text: str, random_: random.Random) -> list[str]:
    found = []
    while text:
        size = random_.randint(1, 7)
        found.append(text[:size])
        text = text[size:]
    return found


def deltas(random_: random.Random, *, back_and_forth: bool) -> list[Delta]:
    """A reply with reasoning, text and two calls, in pieces of any size."""
    found = [Delta(reasoning=each) for each in pieces("思考 thinking about it", random_)]
    found += [Delta(text=each) for each in pieces("Let me look.\u2028Ja 好", random_)]
    if back_and_forth:
        found += [Delta(reasoning=each) for each in pieces("hm, wait", random_)]
        found += [Delta(text=each) for each in pieces("Once more", random_)]
    for index, call in enumerate(CALLS):
        head = {"name": call["function"]["name"], "arguments": ""}  # type: ignore[index]
        fragments = [{"index": index, "id": call["id"], "type": "function", "function": head}]
        for each in pieces(call["function"]["arguments"], random_):  # type: ignore[index]
            fragments.append({"index": index, "function": {"arguments": each}})
        found += [Delta(tool_calls=(fragment,)) for fragment in fragments]
    return found


async def live(request: Request, *, seed: int, back_and_forth: bool = False) -> tuple[bytes, Raw]:
    """The stream that a follower at some pace gets, and the message that is stored."""
    random_ = random.Random(seed)
    draft = Draft()
    frames = ResponseFormat(BEGUN, request)
    follower = draft.follow()
    stream = frames.first()
    waiting = 0
    for delta in deltas(random_, back_and_forth=back_and_forth):
        draft.add(delta)
        waiting += 1
        if random_.random() < 0.4:
            stream += frames.progress(await anext(follower))
            waiting = 0
    if waiting:
        stream += frames.progress(await anext(follower))
    await follower.aclose()
    message: Raw = {
        **BEGUN,
        **ENDED,
        "content": draft.text,
        "reasoning": draft.reasoning,
        "payload": packed({"role": "assistant", "tool_calls": draft.tool_calls}),
    }
    if draft.order is not None:
        message["order"] = draft.order
    return stream + frames.ending(None, message, differs=False), message


def replayed(message: Raw, request: Request, after: int = FROM_THE_START) -> bytes:
    frames = ResponseFormat(message, request, after=after)
    return frames.first() + frames.replay(message) + frames.ending(None, message, differs=False)


REQUESTS = [
    Request(),
    Request({"background": True}),
    Request({"reasoning": {"effort": "high", "summary": "auto"}}),
]


@pytest.mark.parametrize("back_and_forth", [False, True])
@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("seed", range(12))
async def test_a_replay_has_what_the_live_stream_had_under_the_same_numbers(
    request_: Request, seed: int, back_and_forth: bool
) -> None:
    stream, message = await live(request_, seed=seed, back_and_forth=back_and_forth)
    found = units(events_of(stream))
    assert sorted(found) == list(range(len(found)))
    assert found == units(events_of(replayed(message, request_)))


async def test_streams_go_on_wherever_they_were_cut() -> None:
    checked = 0
    for seed in range(11):
        stream, message = await live(Request(), seed=seed, back_and_forth=seed % 2 == 1)
        whole = units(events_of(stream))
        for after in range(-1, len(whole)):
            rest = units(events_of(replayed(message, Request(), after)))
            assert rest == {number: each for number, each in whole.items() if number > after}
            checked += 1
    assert checked > 1000


async def test_an_sdk_can_follow_the_row() -> None:
    stream, message = await live(Request(), seed=3)
    events = events_of(stream)
    assert [e["type"] for e in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == "response.completed"
    assert stream.endswith(b"data: [DONE]\n\n")
    responses = [e["response"] for e in events if "response" in e]
    assert {each["id"] for each in responses} == {"resp_108_0"}
    added = [e for e in events if e["type"] == "response.output_item.added"]
    done = [e for e in events if e["type"] == "response.output_item.done"]
    assert [e["output_index"] for e in added] == [0, 1, 2, 3]
    assert [e["item"]["id"] for e in added] == [e["item"]["id"] for e in done]
    assert [e["item"].get("call_id") for e in added] == [e["item"].get("call_id") for e in done]
    assert responses[-1]["output"] == [e["item"] for e in done]
    assert [e["item"]["type"] for e in done] == [
        "reasoning",
        "message",
        "function_call",
        "custom_tool_call",
    ]
    assert done[3]["item"]["input"] == "*** Begin\n😀"
    assert text_in(events) == message["content"]
    first_of = {e["output_index"]: e["sequence_number"] for e in added}
    for event in events:
        if "output_index" in event:
            assert event["sequence_number"] >= first_of[event["output_index"]]


async def test_where_the_model_went_back_every_stretch_is_an_item() -> None:
    stream, message = await live(Request(), seed=1, back_and_forth=True)
    output = events_of(stream)[-1]["response"]["output"]
    assert [item["id"] for item in output] == [
        "rs_108",
        "msg_108",
        "rs_108_1",
        "msg_108_1",
        "fc_108_0",
        "ctc_108_1",
    ]
    assert [run[0] for run in message["order"]] == ["r", "t", "r", "t", "c"]


@pytest.mark.parametrize(
    ("fields", "last", "status"),
    [
        ({"status": "complete", "finish_reason": "length"}, "incomplete", "incomplete"),
        ({"status": "complete", "finish_reason": "content_filter"}, "incomplete", "incomplete"),
        ({"status": "stopped", "finish_reason": "stop"}, "incomplete", "cancelled"),
        ({"status": "truncated"}, "failed", "failed"),
        ({"status": "interrupted"}, "failed", "failed"),
        (
            {"status": "failed", "error": {"type": "x", "code": None, "message": "why"}},
            "failed",
            "failed",
        ),
    ],
)
def test_how_it_ended_is_the_last_event(fields: Raw, last: str, status: str) -> None:
    message = {**BEGUN, "content": "half", **fields}
    events = events_of(replayed(message, Request()))
    assert events[-1]["type"] == f"response.{last}"
    response: Any = events[-1]["response"]
    assert response["status"] == status
    assert response["output"][0]["content"][0]["text"] == "half"
    assert (response["error"] is not None) == (status == "failed")


def test_a_text_that_was_replaced_is_whole_at_its_end() -> None:
    draft_message = {**BEGUN, **ENDED, "content": "The right text"}
    frames = ResponseFormat(BEGUN, Request())
    stream = frames.first() + frames.progress(Progress("A wrong one"))
    stream += frames.ending(None, draft_message, differs=True)
    events = events_of(stream)
    done = next(e for e in events if e["type"] == "response.output_text.done")
    assert done["text"] == "The right text"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "The right text"


def test_an_empty_reply_has_an_empty_message() -> None:
    events = events_of(replayed({**BEGUN, **ENDED}, Request()))
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["message"]
    assert [e["type"] for e in events].count("response.output_item.added") == 1
