"""What passes without being read is what reading would have let pass."""

import json
import tracemalloc
from functools import partial
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.event_frames import TAIL_BYTES, FrameSieve, sift
from proxy.dialects.plain_frames import PlainFrames
from proxy.providers.faults import Faults
from proxy.providers.reply_reader import ReplyReader

new_reader = partial(ReplyReader, Faults("x"), "m")
TEXTS = st.sampled_from(
    ["a", "漢😀", 'say "it"', "back\\", '\\"', '"error"', '","error":"x', "\n\n", "NaN", "[DONE]"]
)
SAID = [
    b'{"error":{"message":"no"}}',
    b'{"choices":[{"message":{"content":"x"}}]}',
    b'{"choices":[{"delta":{},"finish_reason":"error"}]}',
    b'{"choices":[{"delta":{"content":NaN}}]}',
    b'{"choices":[],"usage":{"prompt_tokens":1}}',
    b'{"choices":[]}',
    b'{"choices":[{"delta":{"content":"x"}}],"error":{"message":"no"}}',
    b'{"choices":[null]}',
    b'{"detail":"no"}',
    b"null",
    b"ping",
    b"[]",
    b"[DONE]",
]
ODD = st.sampled_from(
    [b": comment\n\n", b"\n", b"event: error\ndata: {}\n\n", *(b"data: %s\n\n" % s for s in SAID)]
)


def text_frame(text: str, reason: str | None = None, **fields: Any) -> bytes:
    choice: dict[str, Any] = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    body = {"id": "x", "object": "chat.completion.chunk", "choices": [choice], **fields}
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


FRAMES = TEXTS.map(text_frame)
NOISY = st.builds(text_frame, TEXTS, obfuscation=TEXTS)
ENDS = [
    text_frame("", "stop"),
    text_frame("a", "length"),
    text_frame("a", usage={"prompt_tokens": 1, "completion_tokens": 2}),
    text_frame("a", x_groq={"usage": {"prompt_tokens": 3, "completion_tokens": 4}}),
    b'data: {"choices":[{"delta":{"content":"a"},"usage":{"prompt_tokens":5}}]}\n\n',
    b'data: {"choices":[],"usage":{"completion_tokens":6}}\n\n',
    b"data: [DONE]\n\n",
]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(blocks=st.lists(st.lists(FRAMES | NOISY | ODD, min_size=1, max_size=4), max_size=6))
def test_what_is_plain_passes_unchanged(blocks: list[list[bytes]]) -> None:
    plain = PlainFrames()
    for frames in blocks:
        block = b"".join(frames)
        unlike = plain.unlike(block)
        kept, error, is_done = sift(block, new_reader)
        if unlike is not None:
            assert (kept, error, is_done) == (block, None, False)


def test_the_usual_frames_are_known_by_what_stands_around_their_texts() -> None:
    plain = PlainFrames()
    usual = [text_frame(text) for text in ("a", "漢😀", 'say "it"', "\n\n", "")]
    assert not plain.is_known(usual[0])
    assert plain.unlike(usual[0]) is not None
    assert all(map(plain.is_known, usual))
    assert plain.is_known(b"".join(usual))
    assert not plain.is_known(text_frame("end", "stop"))
    assert not plain.is_known(usual[0][:-1])
    assert not plain.is_known(usual[0] + b": comment\n\n" + usual[1])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    texts=st.lists(st.lists(FRAMES | NOISY, max_size=5), max_size=6),
    ends=st.lists(st.sampled_from(ENDS), unique=True),
    place=st.integers(0, 4),
)
def test_how_a_stream_ends_is_read_from_what_was_not_known(
    texts: list[list[bytes]], ends: list[bytes], place: int
) -> None:
    ends = [*ends, b"", b"", b""]
    blocks = [
        [*frames[:place], end, *frames[place:]] for frames, end in zip(texts, ends, strict=False)
    ]
    sieve = FrameSieve(new_reader)
    passed = [sieve.feed(block) for block in map(b"".join, blocks) if block]
    of_all, of_the_end = new_reader(), new_reader()
    whole, end = of_all.feed(b"".join(passed)), of_the_end.feed(sieve.end())
    assert of_the_end.finish_reason == of_all.finish_reason
    assert (end and end.usage) == (whole and whole.usage)


def test_the_end_of_a_stream_is_kept_however_long_what_came_before_is() -> None:
    for size in (100, 3_000, 3 * TAIL_BYTES):
        sieve, given_on = FrameSieve(new_reader), b""
        for number in range(30):
            # Each with an id of its own: none is known by another.
            for data in (text_frame("x" * size, id=str(number)), b""):
                given_on += sieve.feed(data)
                assert sieve.end() == given_on[-TAIL_BYTES:]


def test_frames_that_are_known_take_no_memory_however_the_network_cuts_them() -> None:
    sieve, frame = FrameSieve(new_reader), text_frame("a")
    sieve.feed(frame)
    tracemalloc.start()
    try:
        for _ in range(20_000):
            for piece in (frame[:40], frame[40:]):
                sieve.feed(piece)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 20_000


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    frames=st.lists(FRAMES, min_size=6, max_size=12) | st.lists(NOISY | FRAMES, max_size=12),
    cuts=st.lists(st.integers(0, 1_200), min_size=3, max_size=8),
)
def test_a_stream_passes_as_it_came_wherever_the_network_cuts_it(
    frames: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(frames)
    sieve, by_frame = FrameSieve(new_reader), FrameSieve(new_reader)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    passed = [sieve.feed(stream[start:end]) for start, end in pairwise(places)]
    assert b"".join(passed) == stream
    assert all(part == b"" or part.endswith(b"\n\n") for part in passed)
    assert b"".join(map(by_frame.feed, frames)) == stream
    assert sieve.text_bytes == by_frame.text_bytes


def test_frames_with_a_noise_beside_their_text_are_known() -> None:
    plain = PlainFrames()
    noisy = [text_frame(text, obfuscation="x" * len(text)) for text in ("a", "say", "")]
    assert plain.unlike(noisy[0]) is not None
    assert all(map(plain.is_known, noisy))
    assert plain.text_bytes == 5
    assert plain.unlike(b"".join(noisy)) is not None
    assert plain.text_bytes == 9
    before, _, rest = noisy[1].partition(b"say")
    beside, _, after = rest.partition(b"xxx")
    assert not plain.is_known(before + b"a long text without what stands beside it" + after)
    for text, noise in ((b'","b":"', b""), (b"", b'","b":"'), (b"\\", b""), (b"a", b"\t")):
        assert not plain.is_known(before + text + beside + noise + after)


def test_no_text_hides_a_key_an_escape_or_a_cut() -> None:
    plain = PlainFrames()
    usual = text_frame("a")
    assert plain.unlike(usual) is not None
    before, after = usual.split(b'"a"')
    for text in (b'"x","error":"y"', b'"x\\"', b'"x\\\\","error":"y\\\\"', b'"x\n"', b'"'):
        assert not plain.is_known(before + text + after), text
    for text in (b'"x\ty"', b'"x\x00y"'):
        # No client reads a bare control character, alone or among others.
        assert not plain.is_known(before + text + after)
        assert plain.unlike(usual + before + text + after + usual) is None
    assert plain.is_known(before + b'"x\\\\"' + after)
    assert plain.is_known(before + b'"\\\\\\"x"' + after)


def test_frames_that_differ_at_both_ends_of_a_block_are_looked_at_alone() -> None:
    plain = PlainFrames()
    usual = b"".join(text_frame(str(number)) for number in range(50))
    role = b'data: {"choices":[{"delta":{"role":"assistant"},"finish_reason":null}]}\n\n'
    end = text_frame("", "stop") + b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
    assert plain.unlike(role + usual + end) == role + text_frame("0") + text_frame("49") + end
    assert plain.text_bytes == 90
    assert plain.unlike(usual) == b""
    failed = b'data: {"error":{"message":"no"}}\n\n'
    assert plain.unlike(role + usual + failed) is None
    assert plain.unlike(role + failed + usual) is None
    assert plain.unlike(usual + failed + usual) is None
