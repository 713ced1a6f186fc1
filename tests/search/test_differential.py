"""Random queries find what a plain scan over the exported texts finds."""

import os
import random
import re
import unicodedata
from collections.abc import AsyncIterator

import httpx
import pytest

from proxy.database import Database
from proxy.documents.base import DEFAULT_OWNER
from proxy.documents.conversation import Conversation
from proxy.documents.counter import Counter
from proxy.documents.message import Message, attempt_name
from tests.conftest import client_of, make_settings, running_app
from tests.support.depth import cases
from tests.support.replies import CONVERSATIONS
from tests.support.searching import message_ids

pytestmark = pytest.mark.slow

SEEDS = [int(seed) for seed in os.environ.get("SEARCH_SEEDS", "1").split()]
QUERIES = int(os.environ.get("SEARCH_QUERIES", cases(50, in_ci=250)))
"""For each seed; try others by hand.

Of seventeen faults, put in one by one, this seed finds the twelve that four seeds do: the last of
them, emoji that are looked for without their selectors, at query 214.
"""

CONVERSATION_COUNT, MESSAGE_COUNT = 12, 20

WORDS = [
    *("冒泡排序", "快速排序", "的", "是一个", "数据库", "算法", "繁體", "简体"),
    *("头发", "頭髮", "发现"),
    *("bubble", "Sort", "getUserName", "C++", "$set", "src/app.py", "--flag", "x=1;"),
    *("ＡＢＣ", "１２３", ".*", "[a-z]+", "\\n", "a.b", "㎏"),
    *("Straße", "İstanbul", "café", "cafe\u0301", "ﬁsh", "naïve", "КОТ", "ガイド", "ｶﾞｲﾄﾞ", "한국어"),
    *("🎉", "❤️", "❤", "👨‍👩‍👧", "👍🏽", "，", "。", "“好”", "…", "—"),
]  # fmt: skip


def referee_fold(text: str) -> str:
    """Fold as the documentation says it, with nothing but the standard library."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("i\u0307", "i")
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"(?<=[^\w\s\x00-\x7f])[\ufe0e\ufe0f]+", "", text)
    for traditional, simple in zip("體頭髮發現", "体头发发现", strict=True):
        text = text.replace(traditional, simple)
    return text


def referee(folded: dict[int, str], required: list[list[str]], excluded: list[str]) -> list[int]:
    """Ids of folded texts with one of each group and none of the excluded, newest first."""
    groups = [[referee_fold(word) for word in group] for group in required]
    unwanted = [referee_fold(word) for word in excluded]
    return [
        id_
        for id_ in sorted(folded, reverse=True)
        if all(any(word in folded[id_] for word in group) for group in groups)
        and not any(word in folded[id_] for word in unwanted)
    ]


def a_text(rng: random.Random) -> str:
    return "".join(
        rng.choice(WORDS) + rng.choice(["", "", " ", "\n"]) for _ in range(rng.randint(1, 12))
    )


def a_word(rng: random.Random) -> str:
    """A part of a word, or of two that stand side by side, that reads as one in a query."""
    while True:
        word = "".join(rng.choices(WORDS, k=rng.choice([1, 1, 2])))
        start = rng.randrange(len(word))
        part = word[start : start + rng.randint(1, 5)]
        part = rng.choice([part, part, part.upper(), part.lower()])
        mixed = re.search(r"[\u4e00-\u9fff][a-z0-9]|[a-z0-9][\u4e00-\u9fff]", referee_fold(part))
        # White space between scripts is a rule of its own.
        if not (mixed or part.startswith(("-", "“", '"', "”")) or part == "OR"):
            return part


@pytest.fixture
async def filled(wire: Database) -> AsyncIterator[tuple[httpx.AsyncClient, dict[int, str]]]:
    """Conversations with pages and tails, and every text of them as the export has it."""
    rng = random.Random(0)
    settings = make_settings(tail_messages=4)
    async with running_app(wire, settings) as app, client_of(app) as client:
        texts: dict[int, str] = {}
        for _ in range(CONVERSATION_COUNT):
            conversation = Conversation(owner=DEFAULT_OWNER)
            await conversation.create()
            for _ in range(MESSAGE_COUNT // 2):
                first = await Counter.reserve("messages", 2)
                await Conversation.append(
                    DEFAULT_OWNER,
                    conversation.id,
                    [
                        Message(
                            id=id_, role="user", content=a_text(rng), attempt=attempt_name(id_, 0)
                        ).raw()
                        for id_ in (first, first + 1)
                    ],
                )
                await Conversation.move_tail(conversation.id, max_messages=4, max_bytes=100_000)
            exported = await client.get(f"{CONVERSATIONS}/{conversation.id}/export")
            listed = await client.get(f"{CONVERSATIONS}/{conversation.id}/messages")
            ids = [message["id"] for message in listed.json()["messages"]]
            contents = [message["content"] for message in exported.json()["messages"]]
            texts |= zip(ids, contents, strict=True)
        assert len(texts) == CONVERSATION_COUNT * MESSAGE_COUNT
        yield client, texts


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_search_finds_what_a_plain_scan_finds(
    filled: tuple[httpx.AsyncClient, dict[int, str]], seed: int
) -> None:
    client, texts = filled
    folded = {id_: referee_fold(text) for id_, text in texts.items()}
    rng = random.Random(seed)
    hits = 0
    for _ in range(QUERIES):
        required = [[a_word(rng)] for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        if rng.random() < 0.2:
            required[-1].append(a_word(rng))
        excluded = [a_word(rng) for _ in range(rng.choice([0, 0, 0, 1]))]
        typed = " ".join(
            [*(" OR ".join(group) for group in required), *(f'-"{word}"' for word in excluded)]
        )
        expected = referee(folded, required, excluded)
        assert await message_ids(client, typed, limit=100) == expected, typed
        hits += bool(expected)
    assert QUERIES // 4 < hits < QUERIES
