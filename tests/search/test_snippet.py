import pytest

from proxy.search.query import parse
from proxy.search.snippet import CONTEXT_CHARACTERS, SNIPPET_CHARACTERS, Snippet, snippet


def shown(text: str, typed: str) -> Snippet:
    return snippet(text, parse(typed, max_characters=1_000))


def marked(found: Snippet) -> list[str]:
    return [found.text[start:end] for start, end in found.highlights]


def test_a_snippet_shows_what_stands_around_a_hit() -> None:
    text = "甲" * 100 + "写冒泡排序" + "乙" * 100
    found = shown(text, "冒泡排序")
    assert found.text == f"…{'甲' * (CONTEXT_CHARACTERS - 1)}写冒泡排序{'乙' * CONTEXT_CHARACTERS}…"
    assert marked(found) == ["冒泡排序"]


def test_a_snippet_begins_and_ends_with_sentences_where_some_are_near() -> None:
    text = "甲" * 50 + "。用Python写冒泡排序。" + "乙" * 50
    assert shown(text, "冒泡").text == "…用Python写冒泡排序。…"


def test_a_short_text_is_shown_whole() -> None:
    found = shown("冒泡 和 排序", "排序 冒泡")
    assert found == Snippet("冒泡 和 排序", [[0, 2], [5, 7]])


@pytest.mark.parametrize(
    ("text", "typed", "highlight"),
    [
        ("😀😀 写ＡＢＣ", "abc", "ＡＢＣ"),
        ("die Straße", "strasse", "Straße"),
        ("re\u0301sume\u0301", "résumé", "re\u0301sume\u0301"),
        ("I ❤️ it", "❤", "❤️"),
        ("繁體中文", "繁体", "繁體"),
        ("bubble \n sort", '"bubble sort"', "bubble   sort"),
        ("用 Python 排序", "python排序", "Python 排序"),
        ("5 ㎏", "kg", "㎏"),
    ],
)
def test_a_highlight_covers_what_the_hit_came_from(text: str, typed: str, highlight: str) -> None:
    assert marked(shown(text, typed)) == [highlight]


def test_the_place_with_the_most_words_is_shown() -> None:
    text = "排序 " + "x " * 300 + "冒泡 排序 " + "y " * 300
    assert marked(shown(text, "冒泡 排序")) == ["冒泡", "排序"]


def test_a_snippet_of_a_text_full_of_hits_stays_short() -> None:
    found = shown("的" * 1_000_000, "的")
    assert len(found.text) <= SNIPPET_CHARACTERS + 2


def test_no_cut_parts_one_character_to_the_eye() -> None:
    family = "👨‍👩‍👧"
    text = family * 20 + "冒泡" + family * 20
    found = shown(text, "冒泡").text.strip("…")
    assert found.replace(family, "") == "冒泡"


def test_a_snippet_is_one_line() -> None:
    assert "\n" not in shown("a\nb\nc\u2028d sort", "sort").text
