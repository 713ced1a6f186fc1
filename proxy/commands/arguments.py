"""What the commands of a shell read and print: types of arguments, and tables."""

import argparse
import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from proxy.schemas.keys import KeyName, OwnerName

DURATION = re.compile(r"(\d{1,5})([mhdw])")
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """`30m`, `12h`, `90d` or `4w` as a time span.

    Raises:
        argparse.ArgumentTypeError: it is not of that form.
    """
    found = DURATION.fullmatch(text)
    if found is None or not int(found[1]):
        raise argparse.ArgumentTypeError("write a number and a unit: 30m, 12h, 90d or 4w")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def moment(text: str) -> datetime:
    """Read a time in ISO 8601, in UTC where it names no zone; see `duration` for errors."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("write a time like 2026-11-25T03:30:00Z") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def count(text: str) -> int:
    """Return a whole number; see `duration` for errors."""
    if not re.fullmatch(r"\d{1,15}", text):
        raise argparse.ArgumentTypeError("must be a whole number, 0 or more")
    return int(text)


def key_name(text: str) -> str:
    """Return a key's or a user's name, normalised; see `duration` for errors."""
    return _validated(KeyName, text, "a name has 1 to 100 characters")


def owner_name(text: str) -> str:
    """Return an owner's name, normalised; see `duration` for errors."""
    return _validated(OwnerName, text, "an owner has 1 to 100 letters, digits and . _ @ -")


def _validated(type_: Any, text: str, sentence: str) -> str:
    try:
        return str(TypeAdapter(type_).validate_python(text))
    except ValidationError:
        raise argparse.ArgumentTypeError(sentence) from None


def when(time: datetime | None) -> str:
    """Return a time in UTC, to the minute."""
    return f"{time:%Y-%m-%d %H:%M}Z" if time else "-"


def limit(value: int | None) -> str:
    """Return a key's own limit; 0 is none."""
    return "the server's default" if value is None else str(value or "none")


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their head, each column as wide as its widest cell."""
    widths = [max(_width(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        cells = [
            text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _width(text: str) -> int:
    """Columns of a terminal: Chinese characters take two."""
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in text)
