"""Hits in names: of conversations and of projects, each in one pass, as names are short."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from proxy.documents.conversation import Conversation, StoredConversation
from proxy.documents.project import Project
from proxy.search.fold import fold
from proxy.search.hits import WEIGHTS, Collector, Hit, Key, Source, milliseconds, score
from proxy.search.prefilter import condition
from proxy.search.query import ADDRESS_CHARACTERS, parse
from proxy.search.request import SearchRequest
from proxy.search.texts import Comparison, Found, compare

BATCH_NAMES = 500

WEIGHT = {"name": WEIGHTS["name"]}


class Names:
    """A list of names that a query narrows down; an empty query takes all.

    `matching` is a filter that every document whose name is taken matches.
    """

    def __init__(self, typed: str) -> None:
        self._query = (
            parse(typed, max_characters=ADDRESS_CHARACTERS, param="query")
            if typed.strip()
            else None
        )
        self.matching = condition(self._query, ["name"]) if self._query else None

    @classmethod
    async def asked_for(cls, typed: str) -> "Names":
        """Return what a query narrows down; its tables are made beside the event loop.

        Raises:
            BadRequest: the query is none.
        """
        return await compare(cls, typed)

    def __bool__(self) -> bool:
        return self._query is not None

    def take(self, name: str) -> bool:
        """Return whether a name satisfies the query."""
        query = self._query
        return query is None or query.matches([fold(name, loose_spaces=query.loose_spaces)])


class NameScan:
    """What names are looked through with, for one request."""

    def __init__(
        self,
        request: SearchRequest,
        comparison: Comparison,
        now: datetime,
        projects: dict[int, str],
    ) -> None:
        self._request = request
        self._comparison = comparison
        self._now = now
        self._projects = projects
        self.scanned = 0

    async def conversations(self, collector: Collector) -> None:
        """Offer every conversation whose name is a hit."""
        request = self._request
        filters = condition(request.query, ["name"])
        if request.conversation_id is not None:
            filters["_id"] = request.conversation_id
        if request.project_id is not None:
            filters["project_id"] = request.project_id
        if request.conversation_status is not None:
            filters["status"] = request.conversation_status
        fields = ("name", "project_id", "status", "created_at", "updated_at")
        batch: list[StoredConversation] = []
        async for raw in Conversation.of(request.owner).iterate(
            filters, dict.fromkeys(fields, 1), batch_size=BATCH_NAMES
        ):
            batch.append(raw)
            if len(batch) == BATCH_NAMES:
                await compare(self._look, "conversations", batch, collector)
                batch = []
        await compare(self._look, "conversations", batch, collector)

    async def projects(self, collector: Collector) -> None:
        """Offer every project whose name is a hit."""
        found = await Project.of(self._request.owner).find(
            condition(self._request.query, ["name"]), {"name": 1, "created_at": 1}
        )
        wanted = (None, *(raw["_id"] for raw in found))
        if self._request.project_id in wanted:
            found = [raw for raw in found if self._request.project_id in (None, raw["_id"])]
            await compare(self._look, "projects", found, collector)

    def _look(
        self, source: Source, batch: Sequence[Mapping[str, Any]], collector: Collector
    ) -> None:
        for raw in batch:
            self.scanned += 1
            found = self._comparison.find({"name": raw["name"]}, WEIGHT)
            if found is None or not self._request.takes_time(raw["created_at"]):
                continue
            value = score(found.weight, found.hits, raw["created_at"], self._now)
            key: Key = (raw["_id"], 0)
            if source == "conversations":
                key = (milliseconds(raw["created_at"]), raw["_id"])
            group = str(raw["_id"]) if source == "conversations" else f"{source}:{raw['_id']}"
            make = partial(self._hit, source, key, group, raw, found, value)
            collector.offer(key, group, value, make)

    def _hit(
        self,
        source: Source,
        key: Key,
        group: str,
        raw: Mapping[str, Any],
        found: Found,
        value: float,
    ) -> Hit:
        if source == "projects":
            about = {"type": "project", "project_id": raw["_id"], "project_name": raw["name"]}
        else:
            about = {
                "type": "conversation",
                "conversation_id": raw["_id"],
                "conversation_name": raw["name"],
                "project_id": raw["project_id"],
                "project_name": self._projects.get(raw["project_id"], ""),
                "status": raw["status"],
                "updated_at": raw["updated_at"],
            }
        shown = found.shown()
        about |= {
            "created_at": raw["created_at"],
            "field": found.field,
            "snippet": shown.text,
            "highlights": shown.highlights,
        }
        return Hit(source, key, group, raw["created_at"], value, about)
