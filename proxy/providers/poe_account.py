"""Poe's usage API: how many points are left, and what each query cost.

Source: https://creator.poe.com/docs/resources/usage-api. `creation_time` is in microseconds in
what it answers, in seconds in its guide: both are read.
"""

import math
from dataclasses import dataclass
from typing import Any

from proxy.providers.model_facts import MILLISECONDS_FROM
from proxy.providers.upstream import Upstream

PAGE_ENTRIES = 100
"""Entries of one page of the history; Poe allows no more."""

MAX_PAGES = 20
"""Pages that are read at once; Poe allows 500 requests a minute."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query that Poe has counted, by any program with this key; `at` is a Unix time."""

    id: str
    bot: str
    at: float
    points: float


class PoeAccount:
    """The account that a key belongs to."""

    def __init__(self, upstream: Upstream, root: str) -> None:
        self._upstream = upstream
        self._root = root

    async def balance(self) -> float | None:
        """Return the points that are left; None where the answer does not say.

        Raises:
            UpstreamError: Poe does not answer.
        """
        found = await self._get("current_balance")
        return _number(found.get("current_point_balance"))

    async def queries_since(self, since: float) -> list[Query]:
        """Return the API's queries from a Unix time on, newest first.

        Raises:
            UpstreamError: Poe does not answer.
        """
        queries: list[Query] = []
        cursor = ""
        for _ in range(MAX_PAGES):
            page = await self._get(f"points_history?limit={PAGE_ENTRIES}{cursor}")
            entries = page.get("data")
            read = [q for q in map(_query, entries if isinstance(entries, list) else []) if q]
            queries += [query for query in read if query.at >= since]
            if not page.get("has_more") or not read or read[-1].at < since:
                break
            cursor = f"&starting_after={read[-1].id}"
        return queries

    async def _get(self, what: str) -> dict[str, Any]:
        upstream = self._upstream
        response = await upstream.request("GET", f"{self._root}/usage/{what}")
        complete = False
        try:
            found = await upstream.read_json(response)
            complete = True
        finally:
            upstream.finish(response, complete=complete)
        return found


def _query(entry: Any) -> Query | None:
    if not isinstance(entry, dict) or entry.get("usage_type", "API") != "API":
        return None
    id_, bot = entry.get("query_id"), entry.get("bot_name") or entry.get("app_name")
    at, points = _number(entry.get("creation_time")), _number(entry.get("cost_points"))
    if not isinstance(id_, str) or not id_.isalnum() or not isinstance(bot, str):
        return None
    if at is None or points is None:
        return None
    while at >= MILLISECONDS_FROM:
        at /= 1000
    return Query(id_, bot.casefold(), at, points)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and 0 <= value < 2**53 else None
