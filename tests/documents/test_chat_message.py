"""The one type of a message from outside: what is kept, what is refused, what its text is."""

from typing import Any

import pytest

from proxy.documents.chat_message import ChatMessage, InvalidMessage, calls_of, text_of, with_text
from proxy.documents.message import payload_of

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def test_a_plain_message_has_no_payload() -> None:
    assert ChatMessage.read({"role": "user", "content": "Hi"}) == ChatMessage("user", "Hi")
    assert ChatMessage.read({"role": "user", "content": "Hi", "name": None}).payload is None


def test_unknown_keys_of_a_message_and_of_its_calls_are_kept() -> None:
    call = {
        "id": "a",
        "type": "function",
        "function": {"name": "weather", "arguments": "{}", "strict": True},
        "extra_content": {"google": {"thought_signature": "SIG=="}},
    }
    message = ChatMessage.read(
        {"role": "assistant", "content": None, "reasoning_content": "Hm", "tool_calls": [call]}
    )
    assert message.content == ""
    stored = payload_of({"payload": message.as_text()})
    assert stored == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "Hm",
        "tool_calls": [call],
    }


def test_arguments_that_are_no_text_become_json() -> None:
    call = {"id": "a", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}
    message = ChatMessage.read({"role": "assistant", "tool_calls": [call]})
    (read,) = calls_of(message.payload)
    assert read["function"]["arguments"] == '{"city":"Ulm"}'
    assert read["type"] == "function"


def test_a_custom_call_keeps_its_name_and_input() -> None:
    call = {"id": "a", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
    message = ChatMessage.read({"role": "assistant", "tool_calls": [call]})
    assert calls_of(message.payload) == [call]


@pytest.mark.parametrize(
    ("message", "where"),
    [
        (None, ""),
        ([], ""),
        ({"content": "x"}, "role"),
        ({"role": ["user"], "content": "x"}, "role"),
        ({"role": "user", "content": " "}, "content"),
        ({"role": "user", "content": {"text": "x"}}, "content"),
        ({"role": "user", "content": [{"type": "text", "text": None}, PICTURE]}, "content[0].text"),
        ({"role": "user", "content": [{"type": 5}]}, "content[0].type"),
        ({"role": "user", "content": [None]}, "content[0]"),
        ({"role": "assistant", "tool_calls": "x"}, "tool_calls"),
        ({"role": "assistant", "tool_calls": [{"id": 5}]}, "tool_calls[0].id"),
        ({"role": "assistant", "tool_calls": [{"id": "a"}]}, "tool_calls[0].function"),
        ({"role": "tool", "content": "x"}, "tool_call_id"),
        ({"role": "user", "content": "a\x00"}, "content"),
    ],
)
def test_what_cannot_be_kept_is_named(message: Any, where: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        ChatMessage.read(message)
    assert caught.value.where == where


def test_a_value_that_nests_without_end_is_refused() -> None:
    deep: Any = "x"
    for _ in range(400):
        deep = [deep]
    with pytest.raises(InvalidMessage, match="nested too deep"):
        ChatMessage.read({"role": "user", "content": "x", "extra": deep})


@pytest.mark.parametrize("value", [None, True, 5, 1.5, "", [], {}, ["x"], {"text": "x"}, [[]]])
def test_the_text_of_anything_can_be_read(value: Any) -> None:
    assert isinstance(text_of(value), str)
    assert isinstance(text_of([{"type": "text", "text": value}, value]), str)
    assert isinstance(calls_of({"tool_calls": value}), list)
    assert isinstance(calls_of({"tool_calls": [value]}), list)


def test_another_text_leaves_the_other_parts() -> None:
    parts = [{"type": "text", "text": "What is this?"}, PICTURE, {"type": "text", "text": "?"}]
    changed = with_text({"role": "user", "content": parts}, "And this?")
    assert changed["content"] == [{"type": "text", "text": "And this?"}, PICTURE]
    assert with_text({"content": [PICTURE]}, "New")["content"][1] == PICTURE
