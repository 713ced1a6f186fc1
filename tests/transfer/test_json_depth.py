"""The depth of JSON is known before a parser is asked, however the bytes are cut."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.transfer.json_depth import DepthGuard

VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='[]{}"\\a漢\n', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@pytest.mark.slow
@given(value=VALUES, ascii_=st.booleans(), data=st.data())
def test_it_is_exact_for_any_text_cut_anywhere(value: Any, ascii_: bool, data: Any) -> None:
    text = json.dumps(value, ensure_ascii=ascii_).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    depth = depth_of(value)
    at, below = DepthGuard(depth), DepthGuard(max(depth - 1, 0))
    assert not any(at.exceeds(chunk) for chunk in chunks)
    assert any(below.exceeds(chunk) for chunk in chunks) == (depth > 0)


@pytest.mark.parametrize("bomb", [b"[" * 100_000, b'{"a":' * 100_000, b'[{"":[' * 100_000])
def test_a_bomb_is_recognised(bomb: bytes) -> None:
    assert DepthGuard(100).exceeds(bomb)


def test_brackets_in_strings_are_no_nesting() -> None:
    assert not DepthGuard(1).exceeds(json.dumps(["[" * 1000 + '\\"{' * 1000]).encode())


def test_values_are_counted_outside_of_strings() -> None:
    guard = DepthGuard(9)
    for chunk in (b'{"a": [1, 2, "x, [y', b', z"], "b": {}}, ', b"[]"):
        guard.exceeds(chunk)
    assert guard.nodes == 4 + 4  # lists and objects, and commas
