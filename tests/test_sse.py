from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sse import Event, SSEDecoder, encode

PIECES = st.sampled_from(
    [
        b"data: ",
        b"data:",
        b"data",
        b"event: text",
        b"event:",
        b": ping",
        b"id: 7",
        b"retry: 5",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b"\xef\xbb\xbf",
        "漢字😀\u2028\u0085".encode(),
        b'{"a": "b"}',
        b"[DONE]",
        b"",
    ]
)


def decode(*chunks: bytes) -> list[Event]:
    decoder = SSEDecoder()
    return [event for chunk in chunks for event in decoder.feed_events(chunk)]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


@given(st.lists(PIECES, max_size=40).map(b"".join), st.lists(st.integers(0), max_size=12))
def test_any_split_of_a_stream_gives_the_same_events(stream: bytes, places: list[int]) -> None:
    chunks = cut(stream, places)
    assert b"".join(chunks) == stream
    assert decode(*chunks) == decode(stream)


@given(st.lists(PIECES, max_size=40).map(b"".join), st.lists(st.integers(0), max_size=12))
def test_payloads_are_the_data_of_the_events(stream: bytes, places: list[int]) -> None:
    decoder = SSEDecoder()
    payloads = [data for chunk in cut(stream, places) for data in decoder.feed(chunk)]
    assert payloads == [event.data for event in decode(stream) if event.data]


FRAMES = st.sampled_from(
    [b"data: a\n\n", b"data:b\n\n", b"data: \n\n", b": c\n\n", b"data: d\ndata: e\n\n", b"\n\n"]
)


@given(st.lists(st.lists(FRAMES, max_size=4).map(b"".join), max_size=8))
def test_whole_frames_give_the_same_payloads_as_single_bytes(chunks: list[bytes]) -> None:
    whole, single = SSEDecoder(), SSEDecoder()
    stream = b"".join(chunks)
    assert [data for chunk in chunks for data in whole.feed(chunk)] == [
        data for i in range(len(stream)) for data in single.feed(stream[i : i + 1])
    ]


@given(st.binary(max_size=200), st.lists(st.integers(0), max_size=12))
def test_any_split_of_any_bytes_gives_the_same_events(stream: bytes, places: list[int]) -> None:
    assert decode(*cut(stream, places)) == decode(stream)


@given(
    st.lists(st.text(st.characters(codec="utf-8")), max_size=8),
    st.sampled_from([b"\n", b"\r", b"\r\n"]),
)
def test_any_encoded_payloads_come_back_one_byte_at_a_time(
    texts: list[str], line_end: bytes
) -> None:
    stream = b"".join(encode({"content": text}) for text in texts).replace(b"\n", line_end)
    decoder = SSEDecoder()
    payloads = [data for i in range(len(stream)) for data in decoder.feed(stream[i : i + 1])]
    assert [orjson.loads(data)["content"] for data in payloads] == texts


def test_a_frame_is_one_data_line_and_an_empty_one() -> None:
    assert encode({"content": "你好\n"}) == 'data: {"content":"你好\\n"}\n\n'.encode()


def test_line_separators_inside_json_are_not_line_ends() -> None:
    text = "a\u2028b\u2029c\u0085d\x0be\x0cf"
    assert decode(b"data: " + text.encode() + b"\n\n") == [Event("", text.encode())]


def test_data_lines_of_one_event_are_joined_by_a_newline() -> None:
    assert decode(b"data: a\ndata\ndata:b\ndata:  c\n\n") == [Event("", b"a\n\nb\n c")]


def test_events_carry_their_names_and_forget_them() -> None:
    stream = b'event: text\ndata: {"text":"x"}\n\ndata: y\n\nevent: done\n\n'
    assert decode(stream) == [
        Event("text", b'{"text":"x"}'),
        Event("", b"y"),
        Event("done", b""),
    ]


def test_comments_other_fields_and_a_byte_order_mark_are_skipped() -> None:
    assert decode(b"\xef\xbb\xbfdata: a\n: note\nid: 1\nretry: 2\nfoo: bar\n\n: only\n\n") == [
        Event("", b"a")
    ]


def test_a_byte_order_mark_cut_into_bytes_is_skipped() -> None:
    assert decode(b"\xef", b"\xbb", b"\xbf", b"data: a\n\n") == [Event("", b"a")]


def test_an_event_without_its_empty_line_is_not_an_event() -> None:
    assert decode(b"data: a\n\ndata: b\n") == [Event("", b"a")]


def test_payloads_leave_out_events_without_data() -> None:
    assert SSEDecoder().feed(b"event: done\n\ndata:\n\ndata: x\n\n") == [b"x"]


@pytest.mark.parametrize("chunk", [b"x" * 40, b"data: x\n" * 6])
def test_an_event_that_never_ends_is_refused(chunk: bytes) -> None:
    decoder = SSEDecoder(max_event_bytes=100)
    for _ in range(100 // len(chunk)):
        assert decoder.feed(chunk) == []
    with pytest.raises(ValueError, match="longer than 100 bytes"):
        decoder.feed(chunk * 3)


def test_long_streams_of_short_events_are_not_refused() -> None:
    decoder = SSEDecoder(max_event_bytes=100)
    assert sum(len(decoder.feed(b"data: xxxxxxxx\n\n")) for _ in range(100)) == 100
