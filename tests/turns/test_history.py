"""A history that a provider takes, whatever is stored."""

import random
from typing import Any

import orjson
import pytest

from proxy.providers.base import Accepts
from proxy.turns.history import NO_RESULT, as_history, composed
from tests.fakes.strict_upstream import Kind, wrong_in
from tests.support.pages import message

TARGETS: dict[Kind, Accepts] = {
    "openai": Accepts(),
    "deepseek": Accepts(developer_role=False, alternates=True),
    "anthropic": Accepts(developer_role=False, alternates=True),
    "template": Accepts(developer_role=False, alternates=True),
}

Message = dict[str, Any]


def user(text: str = "Hi") -> Message:
    return {"role": "user", "content": text}


def assistant(text: str | None = "Hello", **more: Any) -> Message:
    return {"role": "assistant", "content": text, **more}


def call(id_: str = "a", arguments: str = "{}", **more: Any) -> Message:
    return {
        "id": id_,
        "type": "function",
        "function": {"name": "weather", "arguments": arguments},
        **more,
    }


def result(id_: str = "a", text: str = "21") -> Message:
    return {"role": "tool", "tool_call_id": id_, "content": text}


def sent(messages: list[Message], kind: Kind = "openai", provider: str = "mine") -> list[Message]:
    return composed(messages, TARGETS[kind], provider)


def test_a_missing_result_is_said_and_an_orphan_is_left_out() -> None:
    history = sent(
        [user(), assistant(None, tool_calls=[call("a"), call("b")]), result("b"), user()]
    )
    assert [each["role"] for each in history] == ["user", "assistant", "tool", "tool", "user"]
    assert history[2] == {"role": "tool", "tool_call_id": "a", "content": NO_RESULT}
    assert sent([result(), user()]) == [user()]


def test_a_result_that_came_later_is_put_behind_its_call() -> None:
    history = sent([user(), assistant(None, tool_calls=[call()]), user("wait"), result(), user()])
    assert history[2] == result()
    assert [each["role"] for each in history] == ["user", "assistant", "tool", "user", "user"]


def test_ids_that_are_used_again_keep_their_own_results() -> None:
    calls = assistant(None, tool_calls=[call()])
    history = sent([user(), calls, user(), calls, result(text="second")])
    assert [each["content"] for each in history if each["role"] == "tool"] == [NO_RESULT, "second"]


def test_cut_arguments_cost_the_call_not_the_conversation() -> None:
    cut = call(arguments='{"city": "U')
    assert sent([user(), assistant("Let me see.", tool_calls=[cut]), user()]) == [
        user(),
        assistant("Let me see."),
        user(),
    ]
    kept = sent([user(), assistant(None, tool_calls=[cut]), result()])
    assert kept[1]["tool_calls"][0]["function"]["arguments"] == '{"arguments": "{\\"city\\": \\"U"}'
    empty = sent([user(), assistant(None, tool_calls=[call(arguments="")]), result()])
    assert empty[1]["tool_calls"][0]["function"]["arguments"] == "{}"


def stored(provider: str, **payload: Any) -> Message:
    text = orjson.dumps({"role": "assistant", "content": "", **payload}).decode()
    return as_history(message(1, "", role="assistant", provider=provider, payload=text))


def test_reasoning_and_signatures_go_back_to_their_own_provider_only() -> None:
    signed = call(extra_content={"google": {"thought_signature": "SIG=="}})
    reply = stored("mine", reasoning_content="Hm", tool_calls=[signed], mystery=1)
    _, own, _ = sent([user(), reply, result()])
    assert own["reasoning_content"] == "Hm"
    assert own["tool_calls"] == [signed]
    assert own["mystery"] == 1
    _, other, _ = sent([user(), reply, result()], provider="other")
    assert other.keys() == {"role", "content", "tool_calls"}
    assert other["tool_calls"] == [call()]


def test_reasoning_without_calls_is_left_out() -> None:
    reply = stored("mine", content="Yes", reasoning="Hm", annotations=[{}], citations=["x"])
    assert sent([user(), reply]) == [user(), assistant("Yes")]


def test_the_clients_own_copy_keeps_its_keys() -> None:
    copy = assistant(None, reasoning_content="Hm", tool_calls=[call()])
    assert sent([user(), copy, result()])[1] == copy


def test_a_custom_call_keeps_its_name_and_input() -> None:
    custom = {"id": "a", "type": "custom", "custom": {"name": "sql", "input": "SELECT"}}
    history = sent([user(), stored("mine", tool_calls=[custom]), result()], provider="other")
    assert history[1]["tool_calls"] == [custom]


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
LINK = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


def test_a_picture_goes_where_it_is_seen_and_is_named_elsewhere() -> None:
    question = {"role": "user", "content": [{"type": "text", "text": "What?"}, PICTURE, LINK]}
    assert sent([question]) == [question]
    poe = Accepts(parts=frozenset({"image_url"}), data_urls=False)
    (seen,) = composed([question], poe, "poe")
    assert seen["content"][1:] == [
        {"type": "text", "text": "[image: not shown to this model]"},
        LINK,
    ]
    (blind,) = composed([question], Accepts(parts=frozenset()), "mine")
    assert {part["type"] for part in blind["content"]} == {"text"}


def test_a_picture_of_a_reply_goes_back_to_its_own_provider_only() -> None:
    reply = stored("mine", content=None, images=[PICTURE])
    assert sent([user(), reply])[1]["images"] == [PICTURE]
    (_, other) = sent([user(), reply], provider="other")
    assert other == assistant("[image: not shown to this model]")


def test_neighbours_are_joined_and_a_question_comes_first() -> None:
    history = sent(
        [
            {"role": "system", "content": "Be brief"},
            assistant("Welcome"),
            user("one"),
            user("two"),
            {"role": "developer", "content": "now formal"},
        ],
        "template",
    )
    assert wrong_in(history, "template") == ""
    assert history[-1]["content"] == "one\n\ntwo\n\nnow formal"


@pytest.mark.parametrize("kind", ["openai", "anthropic", "template"])
@pytest.mark.parametrize("seed", range(60))
def test_any_history_is_one_that_the_provider_takes(kind: Kind, seed: int) -> None:
    """Messages of every kind in any order, deleted and cut anywhere."""
    rng = random.Random(seed)

    def calls() -> list[Any]:
        return [
            rng.choice(
                [
                    call(rng.choice("abc"), rng.choice(["{}", "", '{"x"', "5", "[]"])),
                    call(rng.choice("abc"), extra_content={"x": 1}),
                    "x",
                    None,
                    {"id": 5},
                ]
            )
            for _ in range(rng.randrange(3))
        ]

    def message() -> Message:
        parts = rng.sample(
            [{"type": "text", "text": "Hi"}, {"type": "text", "text": None}, LINK, 5], 2
        )
        return rng.choice(
            [
                user(),
                {"role": "user", "content": [{"type": "text", "text": "x"}, *parts]},
                assistant(),
                assistant("", tool_calls=calls()),
                assistant(None, tool_calls="x"),
                stored("mine", tool_calls=calls(), reasoning_content="Hm"),
                stored("other", content=[{"type": "text", "text": "x"}, PICTURE], odd=[1]),
                stored("other", content=None, images=[PICTURE]),
                result(rng.choice("abc")),
                {"role": "system", "content": "S"},
                {"role": "developer", "content": "D"},
            ]
        )

    history = [message() for _ in range(rng.randrange(1, 12))] + [user("last")]
    provider = "openai" if kind == "openai" else "mine"
    found = sent(history, kind, provider)
    assert wrong_in(found, kind) == "", found
    assert "last" in str(found[-1]["content"])
