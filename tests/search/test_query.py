import pytest

from proxy.errors import BadRequest
from proxy.search.fold import fold
from proxy.search.query import MAX_TERMS, Query, parse


def read(typed: str) -> Query:
    return parse(typed, max_characters=2_000)


def shape(typed: str) -> tuple[list[list[str]], list[str]]:
    query = read(typed)
    return (
        [[term.typed for term in group] for group in query.groups],
        [term.typed for term in query.excluded],
    )


@pytest.mark.parametrize(
    ("typed", "groups", "excluded"),
    [
        ("冒泡 排序", [["冒泡"], ["排序"]], []),
        ("冒泡\u3000排序", [["冒泡"], ["排序"]], []),
        ('"bubble sort" python', [["bubble sort"], ["python"]], []),
        ("“冒泡 排序”", [["冒泡 排序"]], []),
        ("sort OR 排序 list", [["sort", "排序"], ["list"]], []),
        ("a OR b OR c", [["a", "b", "c"]], []),
        ("sort -java", [["sort"]], ["java"]),
        ('sort -"quick sort"', [["sort"]], ["quick sort"]),
        ("排序 -快速", [["排序"]], ["快速"]),
        ("--flag -- ->", [["--flag"], ["--"], ["->"]], []),
        ("C++ $set .* src/app.py", [["C++"], ["$set"], [".*"], ["src/app.py"]], []),
        ('print("x")', [['print("x")']], []),
        ('"never closed', [["never closed"]], []),
        ('"" word', [["word"]], []),
        ("OR", [["OR"]], []),
        ("a OR", [["a"], ["OR"]], []),
        ("a OR -b", [["a"], ["OR"]], ["b"]),
        ("well-known", [["well-known"]], []),
    ],
)
def test_a_query_is_read_as_people_write_one(
    typed: str, groups: list[list[str]], excluded: list[str]
) -> None:
    assert shape(typed) == (groups, excluded)


@pytest.mark.parametrize("typed", ["", "  ", '""', "\u3000", "-word", "-a -b", "a\x00b", "\ud800"])
def test_a_query_that_asks_for_nothing_or_for_what_cannot_be_is_refused(typed: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(typed)
    assert refused.value.detail.startswith("q: ")


def test_a_query_has_so_many_terms_and_no_more() -> None:
    words = [str(number) for number in range(MAX_TERMS)]
    assert len(read(" ".join(words)).groups) == MAX_TERMS
    for extra in ("x", "-x", "OR x"):
        with pytest.raises(BadRequest):
            read(" ".join([*words, extra]))
    with pytest.raises(BadRequest):
        parse("x" * 201, max_characters=200)


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("ABC", "ａｂｃ"),
        ("ａｂｃ", "xABCx"),
        ("strasse", "Straße"),
        ("STRASSE", "straße"),
        ("istanbul", "İstanbul"),
        ("İSTANBUL", "istanbul"),
        ("kelvin", "\u212aelvin"),
        ("fish", "ﬁſh"),
        ("résumé", "re\u0301sume\u0301"),
        ("ガイド", "ｶﾞｲﾄﾞ"),
        ("한국", "\u1112\u1161\u11ab국"),
        ("繁体", "繁體中文"),
        ("繁體", "繁体中文"),
        ("头发", "頭髮"),
        ("发现", "發現"),
        ("❤", "I ❤️ it"),
        ("❤️", "I ❤ it"),
        ('"bubble sort"', "bubble\n  Sort"),
        ("Python排序", "用 Python 排序"),
        ('"Python 排序"', "用Python排序"),
        ("getUser", "def getUserName(self)"),
        ("userna", "def getUserName(self)"),
        ("C++", "modern C++20"),
        ("$set", '{"$set": 1}'),
        ("。", "好。"),
        ("的", "我的书"),
    ],
)
def test_forms_of_one_word_find_each_other(typed: str, text: str) -> None:
    query = read(typed)
    assert query.matches([fold(text, loose_spaces=query.loose_spaces)])


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        (".*", "anything"),
        ("[a-z]", "b"),
        ("C++", "C"),
        ("冒泡排序", "冒泡和排序"),
        ("a -b", "a b"),
        ("cafe", "café"),
    ],
)
def test_what_was_typed_is_no_pattern(typed: str, text: str) -> None:
    query = read(typed)
    assert not query.matches([fold(text, loose_spaces=query.loose_spaces)])
