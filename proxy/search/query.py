"""What somebody types into a search box.

冒泡 排序           both, anywhere in the text
"bubble sort"      with that space, or any other white space
sort OR 排序 -java  one of the two, and no "java"

Everything else is taken as it is: `C++`, `$set`, `src/app.py`, `--flag`, `.*`. There is no
wrong syntax: a quote that is not closed ends with the text, an `OR` beside nothing is a word.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.errors import BadRequest
from proxy.schemas.common import clean
from proxy.search.fold import fold, has_loose_spaces, loosened

MAX_TERMS = 16
"""Words and phrases of one query, those that are left out included."""

ADDRESS_CHARACTERS = 200
"""Of a query in an address; a longer one goes into a body."""

_TOKEN = re.compile(r'(-?)["“”](.*?)(?:["“”](?=\s|$)|$)|(\S+)', re.DOTALL)
_NEGATED = re.compile(r"-(?=[^\W_]|[^\x00-\x7f])")


@dataclass(frozen=True, slots=True)
class Term:
    """A word or phrase: as it was typed, and as it is compared."""

    typed: str
    folded: str


@dataclass(frozen=True, slots=True)
class Query:
    """One of each group must be in a text, and none of the excluded.

    With `loose_spaces` texts are folded so, too.
    """

    typed: str
    groups: tuple[tuple[Term, ...], ...]
    excluded: tuple[Term, ...]
    loose_spaces: bool

    @property
    def terms(self) -> list[Term]:
        """All terms that are looked for."""
        return [term for group in self.groups for term in group]

    def matches(self, texts: Sequence[str]) -> bool:
        """Return whether folded texts, together, satisfy the query."""
        return all(
            any(term.folded in text for term in group for text in texts) for group in self.groups
        ) and not any(term.folded in text for term in self.excluded for text in texts)

    def terms_in(self, text: str) -> int:
        """Return how many of the terms stand in a folded text."""
        return sum(term.folded in text for term in self.terms)

    def hits(self, text: str) -> int:
        """Return how often the terms stand in a folded text."""
        return sum(text.count(folded) for folded in {term.folded for term in self.terms})


def parse(typed: str, *, max_characters: int, param: str = "q") -> Query:
    """Return the query that somebody typed.

    Raises:
        BadRequest: it is empty, too long, names only what to leave out, or has a NUL.
    """
    if len(typed) > max_characters:
        raise BadRequest(
            f"{param}: at most {max_characters} characters; shorten it, or send it with POST",
            param=param,
        )
    try:
        clean(typed)
    except ValueError as error:
        raise BadRequest(f"{param}: {error}", param=param) from None
    groups, excluded = _groups(_tokens(typed))
    count = sum(map(len, groups)) + len(excluded)
    if not count:
        raise BadRequest(f"{param}: write at least one word to look for", param=param)
    if count > MAX_TERMS:
        raise BadRequest(
            f"{param}: at most {MAX_TERMS} words and phrases; leave some out", param=param
        )
    if not groups:
        raise BadRequest(
            f"{param}: write a word to look for beside those to leave out", param=param
        )
    folded = [[fold(word) for word in group] for group in (*groups, excluded)]
    loose = any(has_loose_spaces(word) for group in folded for word in group)
    terms = [
        tuple(
            Term(word, loosened(form) if loose else form)
            for word, form in zip(words, forms, strict=True)
        )
        for words, forms in zip((*groups, excluded), folded, strict=True)
    ]
    return Query(typed, tuple(terms[:-1]), terms[-1], loose)


def _tokens(typed: str) -> list[tuple[str, str]]:
    """Return `(kind, text)`: kind is `word`, `or` or `not`."""
    found: list[tuple[str, str]] = []
    for match in _TOKEN.finditer(typed):
        minus, phrase, word = match.groups()
        if word is None:
            phrase = phrase.strip()
            if phrase:
                found.append(("not" if minus else "word", phrase))
        elif word == "OR":
            found.append(("or", word))
        elif _NEGATED.match(word):
            found.append(("not", word[1:]))
        else:
            found.append(("word", word))
    return found


def _groups(tokens: list[tuple[str, str]]) -> tuple[list[list[str]], list[str]]:
    groups: list[list[str]] = []
    excluded: list[str] = []
    joins = False
    for position, (kind, text) in enumerate(tokens):
        if kind == "not":
            excluded.append(text)
        elif kind == "or" and (
            0 < position < len(tokens) - 1
            and tokens[position - 1][0] == tokens[position + 1][0] == "word"
        ):
            joins = True
        elif joins:
            groups[-1].append(text)
            joins = False
        else:
            groups.append([text])
    return groups, excluded
