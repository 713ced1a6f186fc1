"""What of a JSON value that somebody sent can be kept."""

from typing import Any

MAX_DEPTH = 50
"""How deep a kept value may nest; the database allows a hundred levels in all."""


def check_text(value: Any, depth: int = 0) -> None:
    """Return a value that is kept as text: no NUL in it, no endless nesting.

    Raises:
        ValueError: with the end of a sentence ("is nested too deep").
    """
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("must not contain NUL characters; remove them and send it again")
        return
    for item in _inside(value, depth):
        check_text(item, depth + 1)


def check_fields(value: Any, depth: int = 0) -> None:
    """Return a value that is kept as a part of a document: keys and numbers that one can have.

    Raises:
        ValueError: with the end of a sentence.
    """
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("has a number that cannot be stored")
    if isinstance(value, dict) and any(k.startswith("$") or "\x00" in k for k in value):
        raise ValueError("has a key that cannot be stored")
    for item in _inside(value, depth):
        check_fields(item, depth + 1)


def _inside(value: Any, depth: int) -> list[Any]:
    if depth > MAX_DEPTH:
        raise ValueError("is nested too deep")
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
