"""What upstreams really send, read by the one reader of OpenAI's protocol."""

import json
from typing import Any

import pytest

from proxy import errors
from proxy.providers.base import Delta
from proxy.providers.faults import Faults
from proxy.providers.reply_reader import ReplyReader
from proxy.providers.tool_calls import joined_calls

KEY = "sk-live-0123456789"
DONE = b"data: [DONE]\n\n"
JSON_VALUES: list[Any] = [None, True, 0, -1, 2**70, 1.5, "", "x", "\x00", [], ["x"], {}, {"x": [1]}]


def frame(payload: Any) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def delta(fields: Any, finish_reason: Any = None, **more: Any) -> bytes:
    return frame(
        {"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason, **more}]}
    )


STOP = delta({}, "stop")


class Read:
    """What an answer came to."""

    def __init__(self, *pieces: bytes, think_tags: bool = False) -> None:
        self.reader = ReplyReader(Faults("openai", KEY), "m", think_tags=think_tags)
        found = [self.reader.feed(piece) for piece in pieces] + [self.reader.end()]
        self.deltas: list[Delta] = [each for each in found if each is not None]

    @property
    def text(self) -> str:
        return "".join(each.text for each in self.deltas)

    @property
    def reasoning(self) -> str:
        return "".join(each.reasoning for each in self.deltas)

    @property
    def calls(self) -> list[tuple[str, str]]:
        joined = joined_calls([call for each in self.deltas for call in each.tool_calls])
        assert len({call["id"] for call in joined}) == len(joined)
        return [(call["function"]["name"], call["function"]["arguments"]) for call in joined]

    @property
    def extra(self) -> dict[str, Any]:
        return {key: value for each in self.deltas for key, value in (each.extra or {}).items()}


def call(name: str | None = None, arguments: Any = None, **more: Any) -> bytes:
    function = {
        key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None
    }
    return delta({"tool_calls": [{**more, "function": function}]})


@pytest.mark.parametrize(
    ("frames", "calls"),
    [
        (
            [call("weather", "{}", index=0, id="a"), call("clock", "{}", index=0, id="b")],
            [("weather", "{}"), ("clock", "{}")],
        ),
        (
            [call("weather", "{}", index=0), call("clock", "{}", index=0)],
            [("weather", "{}"), ("clock", "{}")],
        ),
        (
            [call("weather", '{"c', id="a"), call(None, 'ity"'), call(None, ":1}")],
            [("weather", '{"city":1}')],
        ),
        (
            [
                call("weather", "", index=0, id="a"),
                call("weather", '{"a":', index=0),
                call("weather", "1}", index=0),
                call("weather", "", index=0),
            ],
            [("weather", '{"a":1}')],
        ),
        ([call("wea", "", index=0, id="a"), call("weather", "{}", index=0)], [("weather", "{}")]),
        ([call("weather", {"city": "x"}, index=0, id="a")], [("weather", '{"city":"x"}')]),
        (
            [
                call("a", "", index=0, id="1"),
                call("b", "", index=1, id="2"),
                call(None, "{1}", index=0),
                call(None, "{2}", index=1),
            ],
            [("a", "{1}"), ("b", "{2}")],
        ),
        ([delta({"function_call": {"name": "old", "arguments": "{}"}})], [("old", "{}")]),
        (
            [delta({"tool_calls": [{"id": "a", "name": "flat", "arguments": "{}"}]})],
            [("flat", "{}")],
        ),
    ],
)
def test_tool_calls_are_put_together(frames: list[bytes], calls: Any) -> None:
    assert Read(*frames, DONE).calls == calls
    assert Read(b"".join(frames), DONE).calls == calls


def test_unknown_keys_of_a_call_are_kept() -> None:
    signature = {"google": {"thought_signature": "SIG=="}}
    read = Read(call("f", "{}", index=0, id="a", extra_content=signature), DONE)
    (joined,) = joined_calls([each for one in read.deltas for each in one.tool_calls])
    assert joined["extra_content"] == signature


@pytest.mark.parametrize(
    "odd",
    [
        b'data: {"choices":[{"delta":{"content":""},"logprobs":[-Infinity, NaN]}]}\n\n',
        b"data: null\n\n",
        b"data: ping\n\n",
        b"data: []\n\n",
        b"data: 7\n\n",
        b'data: {"choices": [{"delta": {"content": "broken\n\n',
        b'data: {"choices": "x"}\n\n',
        b'data: {"choices": [1]}\n\n',
        b": comment\n\n",
        b"event: ping\n\n",
        b"\n\n\n",
    ],
)
def test_one_odd_frame_costs_one_frame(odd: bytes) -> None:
    read = Read(delta({"content": "a"}), odd, delta({"content": "b"}), STOP, DONE)
    assert read.text == "ab"
    assert read.reader.error is None
    assert read.reader.finish_reason == "stop"


@pytest.mark.parametrize(
    "stream",
    [
        delta({"content": "ab"}) + b"data: [DONE] \n\n",
        delta({"content": "a"})[:-1] + delta({"content": "b"})[:-1] + b"data: [DONE]\n",
        delta({"content": "a"}) + delta({"content": "b"}, "stop")[:-2],
        (delta({"content": "ab"}) + DONE).replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + delta({"content": "ab"}) + DONE,
        delta({"content": "ab"}) + frame({"choices": [], "usage": {"prompt_tokens": 1}}) + DONE,
        frame({"choices": [{"message": {"content": "a"}}]})
        + frame({"choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}]}),
        frame({"choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}]}),
        delta({"content": "ab"}) + delta({}, "stop", message={"content": "ab"}),
        frame({"choices": [{"text": "ab", "finish_reason": "stop"}]}),
        json.dumps({"choices": [{"message": {"content": "ab"}, "finish_reason": None}]}).encode(),
        json.dumps({"choices": [{"message": {"content": "ab"}, "finish_reason": ""}]}).encode(),
        b" \n" + json.dumps([{"choices": [{"message": {"content": "ab"}}]}]).encode(),
    ],
)
def test_the_end_is_an_end(stream: bytes) -> None:
    """However the bytes are cut, too."""
    for size in (1, 7, len(stream)):
        read = Read(*(stream[i : i + size] for i in range(0, len(stream), size)))
        assert read.text == "ab"
        assert read.reader.error is None
        assert read.reader.finish_reason == "stop"


COUNTED = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


@pytest.mark.parametrize(
    ("odd", "of"),
    [
        (delta({"content": "b", "reasoning_content": "r"}), {"reasoning": "r"}),
        (delta({"content": "b", "tool_calls": [{"id": "c"}]}), {"calls": ["c"]}),
        (delta({"content": "b", "annotations": ["n"]}), {"extra": {"annotations": ["n"]}}),
        (delta({"content": "b\x00"}), {}),
        (delta({"content": "b"}, usage=COUNTED), {"total": 7}),
        (delta({"content": "b"}, error={"message": "too hot"}), {"error": "too hot"}),
        (frame({"choices": [{"delta": {"content": "b"}}], "usage": COUNTED}), {"total": 7}),
        (
            frame({"choices": [{"delta": {"content": "b"}}], "citations": ["u"]}),
            {"extra": {"citations": ["u"]}},
        ),
        (
            frame({"choices": [{"delta": {"content": "b"}}], "error": {"message": "too hot"}}),
            {"error": "too hot"},
        ),
    ],
)
def test_what_a_frame_says_beside_its_text_is_read(odd: bytes, of: dict[str, Any]) -> None:
    read = Read(delta({"content": "a"}), delta({"content": "b"}), odd, think_tags=True)
    said = read.deltas[2]
    assert (read.text, said.text, said.reasoning) == ("abb", "b", of.get("reasoning", ""))
    assert [each["id"] for each in said.tool_calls] == of.get("calls", [])
    assert (said.extra or {}) == of.get("extra", {})
    assert (said.usage.total_tokens if said.usage else None) == of.get("total")
    assert of.get("error", "None") in str(read.reader.error)


def test_texts_alone_are_a_reply() -> None:
    read = Read(b"data: what?\n\n", delta({"content": "a"}), DONE)
    assert (read.text, read.reader.ignored, read.reader.error) == ("a", 1, None)
    blocked = delta({}, "stop", native_finish_reason="SAFETY")
    assert Read(delta({"content": "a"}), delta({"content": "b"}), blocked).reader.error is None
    assert Read(blocked).reader.error is not None


def test_a_stream_that_just_ends_was_cut() -> None:
    read = Read(delta({"content": "a"}), frame({"choices": [], "usage": {"prompt_tokens": 1}}))
    assert read.reader.error is None
    assert read.reader.finish_reason is None


@pytest.mark.parametrize(
    ("frames", "kind", "words"),
    [
        (
            delta({"content": ""}, "error", error={"code": 502, "message": "Upstream crashed"}),
            errors.UpstreamError,
            "Upstream crashed",
        ),
        (
            frame({"object": "error", "message": "CUDA out of memory", "code": 500}),
            errors.UpstreamError,
            "CUDA out of memory",
        ),
        (frame({"detail": "No such LoRA"}), errors.UpstreamError, "No such LoRA"),
        (b'event: error\ndata: {"text": "x", "message": "Boom"}\n\n', errors.UpstreamError, "Boom"),
        (b"data: error: it broke\n\n", errors.UpstreamError, "it broke"),
        (frame({"error": {"code": "429", "message": "slow"}}), errors.UpstreamRateLimited, "slow"),
        (frame([{"error": {"code": 400, "message": "No"}}]), errors.UpstreamBadRequest, "No"),
        (
            delta({"content": ""}, "stop", native_finish_reason="MALFORMED_FUNCTION_CALL") + DONE,
            errors.UpstreamError,
            "MALFORMED_FUNCTION_CALL",
        ),
        (
            frame({"error": {"message": f"{KEY} in /srv/app/a.py", "code": KEY, "param": KEY}}),
            errors.UpstreamError,
            "… in …",
        ),
    ],
)
def test_a_failure_is_told_with_its_reason(
    frames: bytes, kind: type[errors.UpstreamError], words: str
) -> None:
    read = Read(frames, STOP, DONE)
    assert type(read.reader.error) is kind
    assert words in read.reader.error.detail
    assert KEY not in str(read.reader.error.body())


def test_halves_of_characters_are_joined_wherever_text_is() -> None:
    frames = []
    for half in (rb"\ud83d", rb"\ude00"):
        for key in (b"content", b"reasoning_content"):
            frames.append(b'data: {"choices":[{"delta":{"%b":"%b"}}]}\n\n' % (key, half))
        frames.append(
            b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a",'
            b'"function":{"name":"f","arguments":"%b"}}]}}]}\n\n' % half
        )
    read = Read(*frames, DONE)
    assert (read.text, read.reasoning, read.calls) == ("😀", "😀", [("f", "😀")])


def test_pictures_sounds_and_notes_are_kept() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    note = {"type": "url_citation", "url_citation": {"url": "https://example.com"}}
    read = Read(
        delta({"images": [picture]}),
        delta(
            {"content": [{"type": "text", "text": "see"}, {"type": "thinking", "thinking": "hm"}]}
        ),
        delta({"annotations": [note], "mystery": {"a": 1}}),
        delta({"audio": {"id": "x", "data": "AA", "transcript": " he"}}),
        delta({"audio": {"data": "BB", "transcript": "ard"}}),
        frame({"choices": [], "citations": ["https://example.com"]}),
        STOP + DONE,
    )
    assert (read.text, read.reasoning) == ("see heard", "hm")
    assert [part for each in read.deltas for part in each.parts] == [picture]
    assert read.extra["annotations"] == [note]
    assert read.extra["mystery"] == {"a": 1}
    assert read.extra["audio"] == {"id": "x", "data": "AABB", "transcript": " heard"}
    assert read.extra["citations"] == ["https://example.com"]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("text", "answer", "reasoning"),
    [
        ("<think>hm</think>\n\nYes", "Yes", "hm"),
        ("\n<thinking>\nhm\n</thinking>Yes", "Yes", "\nhm\n"),
        ("<think>no end", "", "no end"),
        ("<thin", "<thin", ""),
        ("A <think>b</think>", "A <think>b</think>", ""),
        ("Yes", "Yes", ""),
    ],
)
def test_think_tags_at_the_beginning_are_reasoning(
    text: str, answer: str, reasoning: str, size: int
) -> None:
    pieces = [delta({"content": text[i : i + size]}) for i in range(0, len(text), size)]
    read = Read(*pieces, STOP, DONE, think_tags=True)
    assert (read.text, read.reasoning) == (answer, reasoning)
    assert Read(*pieces, STOP, DONE).text == text


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        ({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}, (20, 198, 623)),
        (
            {"prompt_tokens": 2**70, "completion_tokens": 1, "total_tokens": 2**70},
            (2**53, 1, 2**53),
        ),
        ({"prompt_tokens": -5, "completion_tokens": 1}, (0, 1, 1)),
        ({"input_tokens": 3, "output_tokens": 4}, (3, 4, 7)),
        ({"prompt_tokens": "3", "completion_tokens": 4.0}, (3, 4, 7)),
        ({"prompt_tokens": 3, "total_tokens": 9}, (3, 6, 9)),
        ({"prompt_tokens": [3], "completion_tokens": None}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0}, None),
        ("many", None),
    ],
)
def test_usage_is_read_in_every_known_shape_and_bounded(counted: Any, expected: Any) -> None:
    found = [each.usage for each in Read(frame({"choices": [], "usage": counted}), DONE).deltas]
    usage = next((each for each in found if each), None)
    told = usage and (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
    assert told == expected


def test_usage_elsewhere_and_in_two_parts_is_read() -> None:
    counted = {"prompt_tokens": 1, "completion_tokens": 2}
    for frames in (
        frame({"choices": [], "x_groq": {"usage": counted}}),
        delta({}, "stop", usage=counted),
        frame({"choices": [], "usage": {"prompt_tokens": 1}})
        + frame({"choices": [], "usage": {"completion_tokens": 2}}),
    ):
        usage = next(each.usage for each in Read(frames, DONE).deltas if each.usage)
        assert (usage.prompt_tokens, usage.completion_tokens) == (1, 2)


FIELDS = (
    *("role", "content", "refusal", "reasoning", "reasoning_content", "reasoning_details"),
    *("tool_calls", "function_call", "images", "audio", "annotations", "citations", "mystery"),
)


@pytest.mark.parametrize("field", [*FIELDS, "index", "delta", "message", "finish_reason", "usage"])
@pytest.mark.parametrize("value", JSON_VALUES, ids=repr)
def test_any_value_of_any_field_is_survived(field: str, value: Any) -> None:
    """The text before and after it is there, however the bytes are cut."""
    nested = [value, [value], {"type": value, "text": value, "index": value, "id": value}]
    nested += [[each] for each in nested] + [{"function": {"name": value, "arguments": value}}]
    for each in nested:
        inside = field in FIELDS
        odd = {
            "choices": [
                {"delta": {field: each} if inside else {}, **({} if inside else {field: each})}
            ]
        }
        stream = delta({"content": "be"}) + frame(odd) + delta({"content": "fore"}) + STOP + DONE
        whole = Read(stream)
        assert whole.reader.error is None or field in ("finish_reason",)
        assert whole.text.startswith("be")
        assert whole.text.endswith("fore") or whole.reader.error is not None
        assert whole.reader.finish_reason is not None or whole.reader.error is not None
        pieces = Read(*(stream[i : i + 11] for i in range(0, len(stream), 11)))
        assert pieces.text == whole.text
