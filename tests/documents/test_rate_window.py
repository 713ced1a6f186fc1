"""Moving windows: they slide, follow a changed limit at once, and are exact under a crowd."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pymongo import ASCENDING

from proxy.database import Database
from proxy.documents.base import utc_now
from proxy.documents.rate_window import Rate, RateWindow
from tests.conftest import MockDatabase

MINUTE = 60


@pytest.fixture
async def who(database: Database) -> str:
    """Somebody who did nothing yet, in either database."""
    await database.prepare(indexes=not isinstance(database, MockDatabase))
    return f"key_{uuid4().hex}"


def rate(limit: int) -> Rate:
    return Rate("requests", limit, MINUTE)


async def remember(who: str, *seconds_ago: float) -> None:
    """Write down what somebody did, newest first."""
    now = utc_now()
    window: dict[str, Any] = {
        "_id": rate(1).window_of(who),
        "entries": [now - timedelta(seconds=each) for each in seconds_ago],
        "expires_at": now + timedelta(seconds=MINUTE),
    }
    await RateWindow.collection().insert_one(window)


async def entries_of(who: str) -> list[Any]:
    window = await RateWindow.collection().find_one({"_id": rate(1).window_of(who)})
    return window["entries"] if window else []


async def test_a_window_slides(who: str) -> None:
    await remember(who, 10, 59, 61)
    assert await RateWindow.seconds_until_room(rate(3), who) == 0
    assert await RateWindow.add(rate(3), who) == 0
    # The oldest that counts is a minute old in a second, or is so by now.
    assert await RateWindow.seconds_until_room(rate(3), who) in (0, 1)
    assert len(await entries_of(who)) == 3


async def test_what_has_no_room_waits_for_the_one_before_and_is_counted_nowhere(who: str) -> None:
    await remember(who, 10, 20, 30)
    before = await entries_of(who)
    for _ in range(5):
        assert 1 <= await RateWindow.add(rate(3), who) <= 30
    assert await entries_of(who) == before
    assert 1 <= await RateWindow.seconds_until_room(rate(3), who) <= 30
    assert await RateWindow.seconds_until_room(rate(4), who) == 0


async def test_a_lower_limit_holds_at_once(who: str) -> None:
    await remember(who, 10, 20, 30, 40, 50)
    # The oldest leaves in ten seconds, and two more have to.
    assert 10 < await RateWindow.add(rate(3), who) <= 30


async def test_a_higher_limit_holds_at_once(who: str) -> None:
    answers = [await RateWindow.add(rate(limit), who) for limit in (3, 3, 3, 3, 5, 5, 5)]
    assert [answer == 0 for answer in answers] == [True, True, True, False, True, True, False]


async def test_a_clock_that_is_behind_or_ahead_makes_a_window_a_little_other(who: str) -> None:
    await remember(who, 2, -30, -30)
    assert MINUTE < await RateWindow.add(rate(3), who) <= MINUTE + 30
    assert await RateWindow.add(rate(4), who) == 0


async def test_what_is_forgotten_begins_anew(who: str) -> None:
    assert await RateWindow.add(rate(1), who) == 0
    assert await RateWindow.add(rate(1), who) > 0
    await RateWindow.forget(rate(1), who)
    assert await RateWindow.add(rate(1), who) == 0


@pytest.mark.parametrize("limit", [1, 2, 30])
async def test_first_entries_at_the_same_moment_are_counted_exactly(who: str, limit: int) -> None:
    for round_ in range(10):
        asked = [RateWindow.add(rate(limit), f"{who} {round_}") for _ in range(limit + 1)]
        answers = await asyncio.gather(*asked)
        assert Counter(answer == 0 for answer in answers) == {True: limit, False: 1}


async def test_windows_expire_also_in_a_database_that_the_former_library_counted_in(
    new_wire: Database,
) -> None:
    now = utc_now()
    for name in ("rate_windows", "rate_counters"):
        await new_wire.database[name].create_index("expireAt", expireAfterSeconds=0)
    windows = new_wire.database["rate_windows"]
    former = {"_id": "requests/key_1/3/1/minute", "entries": [1.5], "expireAt": now}
    await windows.insert_one(former)
    for _ in range(2):
        await new_wire.prepare()
    assert [await RateWindow.add(rate(1), "key_1") == 0 for _ in range(2)] == [True, False]
    index = (await RateWindow.collection().index_information())["expiry"]
    assert (index["key"], index["expireAfterSeconds"]) == ([("expires_at", ASCENDING)], 0)
    await windows.delete_one({"_id": former["_id"]})
