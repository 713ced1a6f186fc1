"""How far tests go that try many cases: all the way in CI, a part of it on a developer's machine.

Which cases are tried is the same each time, in both.
"""

from typing import TypeVar

from tests.conftest import IN_CI

Case = TypeVar("Case")


def cases(few: int, *, in_ci: int) -> int:
    """Return how many cases to try here."""
    return in_ci if IN_CI else few


def share(items: list[Case], number: int, *, of: int) -> list[Case]:
    """Return all items in CI, else a part: those of `of` numbers in a row are all of them."""
    return items if IN_CI else items[number % of :: of]
