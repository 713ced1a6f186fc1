"""What a client sends again of a turn whose tools it has called."""

from proxy.documents.chat_message import ChatMessage
from proxy.documents.message import StoredMessage
from proxy.turns.turn import message_of, not_stored_yet

QUESTION = ChatMessage("user", "Weather?")
NEXT = ChatMessage("user", "And now?")


def called(*ids: str) -> ChatMessage:
    calls = [
        {"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id_ in ids
    ]
    return ChatMessage("assistant", "", {"role": "assistant", "tool_calls": calls})


def result(id_: str) -> ChatMessage:
    return ChatMessage("tool", "sun", {"role": "tool", "tool_call_id": id_, "content": "sun"})


def stored(*messages: ChatMessage) -> list[StoredMessage]:
    return [message_of(id_, message) for id_, message in enumerate(messages, 1)]


def test_the_calls_themselves() -> None:
    new = [called("a"), result("a")]
    assert not_stored_yet(new, stored(QUESTION, called("a"))) == new[1:]


def test_the_question_before_the_calls() -> None:
    new = [QUESTION, result("a"), result("b")]
    assert not_stored_yet(new, stored(QUESTION, called("a", "b"))) == new[1:]


def test_the_question_and_the_results_of_earlier_calls() -> None:
    kept = stored(NEXT, QUESTION, called("a"), result("a"), called("b"))
    new = [QUESTION, result("a"), result("b")]
    assert not_stored_yet(new, kept) == [result("b")]


def test_another_question_is_kept() -> None:
    new = [NEXT, result("a")]
    assert not_stored_yet(new, stored(QUESTION, called("a"))) == new


def test_the_same_question_without_a_result_is_asked_again() -> None:
    for kept in (stored(QUESTION, called("a")), stored(QUESTION), []):
        assert not_stored_yet([QUESTION], kept) == [QUESTION]
