"""Tokens of a text, counted exactly as OpenAI's tokenizer does, with its vocabulary on board."""

from collections.abc import Iterable

import toktok

TOKENIZER_NAME = "o200k_base"
"""What the counts are counted with."""


def count_tokens(text: str) -> int:
    """Tokens of a text; safe from any thread."""
    return int(toktok.batch_count([text], TOKENIZER_NAME, threads=1)[0])


def count_tokens_of_each(texts: Iterable[str]) -> list[int]:
    """Tokens of every text, counted while other threads hold the interpreter lock."""
    return [int(count) for count in toktok.batch_count(texts, TOKENIZER_NAME, threads=1)]


def count_tokens_of_utf8(texts: Iterable[bytes]) -> list[int]:
    """The same of texts in UTF-8."""
    return count_tokens_of_each(text.decode() for text in texts)
