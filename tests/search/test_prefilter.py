"""No true hit is lost to the pattern that the database is asked for, in any script."""

import json
import random
import re
from collections.abc import Callable

import pytest

from proxy.errors import BadRequest
from proxy.search.fold import fold, fold_pieces, joins, origins, pieces
from proxy.search.prefilter import (
    GROUPS_ASKED,
    PATTERN_BYTES,
    ExpandedCharacters,
    compiled,
    condition,
    pattern,
)
from proxy.search.query import MAX_TERMS, parse
from proxy.search.snippet import Folded, snippet
from tests.support.depth import cases

CHARACTERS = [
    *"abcdefiksABCKIS123 .,-_+$/\\\"'<>[](){}|^#&~\n\t",
    *"冒泡排序的一乾後發髮裡体體说說，。（）：；“”",
    *"ﬁßſİıKÅéÉèöǰŉẞΐςΣ①㎏㎡…½™℃ＡＢｃ１％ｶﾀがガパ한국ᄒЁёй",
    *("e\u0301", "i\u0307", "I\u0307", "e\u0316\u0301", "A\u030a\u0301", "\u1112\u1161\u11ab"),
    *("❤️", "❤", "👨‍👩‍👧", "👍🏽", "1️⃣", "🇨🇳", "\u00a0", "\u3000", "\u200b"),
    *("\ufe0f", "\u0307", "\u0301", "\uff9e", "\u115f", "\u11ab"),
]


def texts(seed: int) -> Callable[[int], str]:
    rng = random.Random(seed)
    table = origins()
    expanding = sorted(table.expanding)
    singles = sorted(character for group in table.singles.values() for character in group)

    def text(length: int) -> str:
        kinds = rng.choices([CHARACTERS, expanding, singles], [90, 5, 5], k=length)
        return "".join(rng.choice(kind) for kind in kinds)

    return text


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_no_hit_is_lost_and_every_hit_can_be_shown(seed: int) -> None:
    rng, text_of = random.Random(seed), texts(seed)
    hits = 0
    tries = cases(250, in_ci=700)
    for _ in range(tries):
        text = text_of(rng.randint(1, 40))
        start = rng.randrange(len(text))
        typed = text[start : start + rng.randint(1, 8)]
        typed = rng.choice([typed, fold(typed), typed.upper()])
        if rng.random() < 0.4:
            typed = f'"{typed}"'
        try:
            query = parse(typed, max_characters=1_000)
        except BadRequest:
            continue
        folded = fold(text, loose_spaces=query.loose_spaces)
        assert Folded(text, loose_spaces=query.loose_spaces).fold == folded
        if not query.matches([folded]):
            continue
        hits += 1
        for group in compiled(query):
            assert any(found.search(text) for found in group), (text, typed)
        shown = snippet(text, query)
        assert shown.highlights, (text, typed)
        for begin, end in shown.highlights:
            assert 0 <= begin < end <= len(shown.text)
    assert hits > tries * 3 // 7


@pytest.mark.parametrize("seed", range(4))
def test_a_long_text_folds_as_its_pieces_do(seed: int) -> None:
    text_of = texts(seed)
    for loose in (False, True):
        text = text_of(600)
        parts = [fold(text[a:b], loose_spaces=loose) for a, b in pieces(text, 20)]
        assert len(parts) > 1
        assert "".join(parts) == fold(text, loose_spaces=loose)
    long = "冒泡 Python，ＡＢＣ sort\n" * 2_000
    assert fold_pieces(long, loose_spaces=True) == fold(long, loose_spaces=True)


@pytest.mark.parametrize(
    ("term", "text", "is_let_through"),
    [
        ("def", "DEF main", True),
        ("def", "de f", False),
        ("冒泡", "冒 泡", False),
        ("a.b", "axb", False),
        ("kg", "5 ㎏", True),
        ("\\d", "5", False),
    ],
)
def test_a_pattern_rules_out_what_it_can(term: str, text: str, is_let_through: bool) -> None:
    assert bool(re.search(pattern(term), text)) is is_let_through


def test_a_pattern_stays_short_whatever_is_typed() -> None:
    for typed in ("abcdefghij" * 20, "+*?()[]{}|^$\\" * 20, "0123456789" * 3, "一二三" * 9):
        assert 0 < len(pattern(typed).encode()) <= PATTERN_BYTES


def test_a_query_asks_the_database_for_a_bounded_number_of_patterns() -> None:
    words = [f"efiskaoul{number:02}" * 10 for number in range(MAX_TERMS)]
    for typed, groups, terms in (
        (" OR ".join(words), 1, MAX_TERMS),
        (" ".join(words), GROUPS_ASKED, 1),
        (" ".join([words[0], *(f"-{word}" for word in words[1:])]), 1, 1),
    ):
        query = parse(typed, max_characters=20_000)
        asked = compiled(query)
        assert [len(group) for group in asked] == [terms] * groups
        for group in asked:
            for found in group:
                assert len(found.pattern.encode()) <= PATTERN_BYTES
        size = len(json.dumps(condition(query, ["content"]), ensure_ascii=False).encode())
        assert size <= MAX_TERMS * (2 * PATTERN_BYTES)


def test_characters_that_stand_for_several_are_found_by_what_overlaps_with_them() -> None:
    skeletons = {"ﬁ": "fi", "㎏": "kg", "㏒": "log", "℻": "fax", "ß": "ss", "x": "x"}
    expanded = ExpandedCharacters(skeletons)
    rng = random.Random(5)
    for _ in range(500):
        text = "".join(rng.choices("abfiklogsx", k=rng.randint(1, 6)))
        touching = {
            raw
            for raw, long in skeletons.items()
            if long in text
            or text in long
            or any(
                long.endswith(text[:n]) or long.startswith(text[-n:])
                for n in range(1, min(len(long), len(text)) + 1)
            )
        }
        assert expanded.beside(text) == touching, text


def test_every_character_has_a_pattern_that_is_short_enough() -> None:
    table = origins()
    characters = sorted({*table.singles, *"".join(table.expanding.values())})
    for character in [*filter(str.isascii, characters), *characters[::20]]:
        found = pattern(fold(character))
        assert len(found.encode()) <= PATTERN_BYTES
        assert found or character.isspace() or joins(character)


def test_a_backslash_stands_only_before_what_every_dialect_takes_literally() -> None:
    printable = "".join(map(chr, range(0x21, 0x7F)))
    for character in printable:
        found = pattern(fold(character))
        assert re.search(found, character)
        assert "\\<" not in found
        assert "\\>" not in found
