import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.providers.poe_thinking import Preamble

REAL = (
    "*Thinking...*\n\n"
    "> **Weighing the options**\n"
    "> \n"
    "> I am comparing > and <.\n"
    ">\n"
    "> **Deciding**\n"
    "> \n\n\n"
)
THOUGHTS = "**Weighing the options**\n\nI am comparing > and <.\n\n**Deciding**\n\n"


def split(*pieces: str) -> tuple[str, str]:
    preamble = Preamble()
    answers, thoughts = [], []
    for piece in pieces:
        answer, thought = preamble.feed(piece)
        answers.append(answer)
        thoughts.append(thought)
    answers.append(preamble.end())
    return "".join(answers), "".join(thoughts)


@pytest.mark.parametrize(
    "answer",
    ["The answer.", "> a quoted answer\n> goes on", "    code = 1", "*Thinking* is hard", "你好"],
)
def test_a_preamble_is_reasoning_and_the_rest_is_text(answer: str) -> None:
    assert split(REAL + answer) == (answer, THOUGHTS)
    assert split(*(REAL + answer)) == (answer, THOUGHTS)


@pytest.mark.parametrize("marker", ["**Thinking...**", "*Thinking…*", "\n*Thinking...*"])
def test_other_spellings_of_the_marker(marker: str) -> None:
    assert split(f"{marker}\n> hm\n\nyes") == ("yes", "hm\n")


def test_several_preambles_are_all_reasoning() -> None:
    assert split("*Thinking...*\n\n> a\n\n*Thinking...*\n\n> b\n\nc") == ("c", "a\nb\n")


def test_a_preamble_without_an_answer_leaves_no_text() -> None:
    assert split("*Thinking...*\n\n> a\n\n") == ("", "a\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "  indented",
        "Thinking about it",
        "*Thinking",
        "*Thinking...*",
        "*Thinking...*\n\n",
        "*Thinking...*\n\nThe answer, unquoted.",
        "*Thinking...* > not on its own line",
        "*Thinking...* loudly\n> quote",
        "*Thinking hard*\n\n> quote",
        "> *Thinking...*\n> quote",
        "Hello\n*Thinking...*\n\n> quote",
        "*Thinking...*" + "\n" * 300 + "> far away",
        "*" * 400,
    ],
)
def test_what_is_not_exactly_a_preamble_is_text(text: str) -> None:
    assert split(text) == (text, "")
    assert split(*text) == (text, "")


def test_an_unquoted_line_right_below_the_quote_is_text() -> None:
    assert split("*Thinking...*\n> a\nb\n> c") == ("b\n> c", "a\n")


def test_the_answer_is_not_held_back_once_it_is_known() -> None:
    preamble = Preamble()
    assert preamble.feed("The") == ("The", "")
    assert preamble.feed(" *Thinking...*\n> a") == (" *Thinking...*\n> a", "")


def test_reasoning_is_not_held_back_until_its_line_ends() -> None:
    preamble = Preamble()
    assert preamble.feed("*Thinking...*\n\n> I am") == ("", "I am")
    assert preamble.feed(" comparing") == ("", " comparing")


PIECES = st.sampled_from(
    ["*Thinking...*", "*Think", "\n", "\n\n", "> ", ">", "word", " ", "**", "\r\n", "*", "…"]
)


@given(st.lists(PIECES, max_size=25))
def test_any_split_gives_the_same_answer_and_reasoning(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert split(*pieces) == split(whole) == split(*whole)


@given(st.text(alphabet="ab*>. \n", max_size=60))
def test_text_without_the_marker_is_never_touched(text: str) -> None:
    assert split(text) == (text, "")
