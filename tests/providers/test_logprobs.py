from typing import Any

import pytest

from proxy.providers.logprobs import MOST_ALTERNATIVES, tokens_in

TOKEN: dict[str, Any] = {"token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": []}


def test_a_list_of_tokens_is_read_with_what_was_as_likely() -> None:
    others = [{"token": str(n), "logprob": -1} for n in range(MOST_ALTERNATIVES + 5)]
    (found,) = tokens_in([{**TOKEN, "top_logprobs": others, "more": 1}])
    assert found.keys() == TOKEN.keys()
    assert found["top_logprobs"][0] == {"token": "0", "bytes": [], "logprob": -1}
    assert len(found["top_logprobs"]) == MOST_ALTERNATIVES


@pytest.mark.parametrize(
    "odd",
    [
        *(None, 1, "a", {}, [1], [[]], [{"token": "a"}], [{"token": 1, "logprob": -1}]),
        [{"token": "a", "logprob": float("-inf")}],
        [{"token": "a", "logprob": True}],
        [{"token": "a", "logprob": "-1"}],
    ],
)
def test_what_is_no_token_is_left_out(odd: Any) -> None:
    assert tokens_in(odd) == []


def test_a_token_can_be_stored_whatever_it_holds() -> None:
    odd = {"token": "\x00\ud800", "bytes": [1, 256, -1], "logprob": 0, "top_logprobs": 3}
    assert tokens_in([odd]) == [{"token": "?", "bytes": [1], "logprob": 0, "top_logprobs": []}]
    assert tokens_in([{**TOKEN, "bytes": ["a"]}])[0]["bytes"] == []
