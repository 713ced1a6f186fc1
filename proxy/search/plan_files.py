"""Hits in plan documents: in their text, in the file's name, in its tags."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from proxy.documents.base import Raw
from proxy.documents.counter import Counter
from proxy.documents.plan_document import PlanDocument, StoredPlanDocument
from proxy.documents.plan_file import PlanFile
from proxy.search.hits import WEIGHTS, Collector, Hit, score
from proxy.search.prefilter import condition
from proxy.search.request import SearchRequest
from proxy.search.texts import Comparison, Found, compare

BATCH_DOCUMENTS = 4
"""Versions, with their text, that are read and compared at once."""

BATCH_FILES = 500
"""Files whose tags are read at once."""

FIELD_WEIGHTS = {
    "filename": WEIGHTS["name"],
    "tags": WEIGHTS["name"],
    "content": WEIGHTS["document"],
}


class DocumentScan:
    """What plan documents are looked through with, for one request."""

    first_window = 1_000

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
        self._tags: dict[int, str] | None = None
        self.scanned = 0

    async def top(self) -> int:
        """Return an id above all there are."""
        return await Counter.highest("plan_documents") + 1

    async def window(self, low: int, high: int, collector: Collector) -> None:
        """Offer every hit among the documents with `low <= id < high`."""
        request = self._request
        if self._tags is None:
            self._tags = await self._newest_versions()
        tagged = await compare(self._tagged, self._tags, low, high)
        matching = condition(request.query, ["content", "filename"])
        filters: Raw = {
            "_id": {"$gte": low, "$lt": high},
            # What tags add to a text, no pattern sees in the document.
            "$or": [matching, {"_id": {"$in": tagged}}] if tagged else [matching],
        }
        if request.project_id is not None:
            filters["project_id"] = request.project_id
        fields = (
            *("filename", "content", "version", "category_id", "project_id", "created_at"),
            "source",
        )
        batch: list[StoredPlanDocument] = []
        async for raw in PlanDocument.of(request.owner).iterate(
            filters, dict.fromkeys(fields, 1), batch_size=BATCH_DOCUMENTS
        ):
            if request.all_versions or raw["_id"] in self._tags:
                batch.append(raw)
            if len(batch) == BATCH_DOCUMENTS:
                await compare(self._look, batch, collector)
                batch = []
        await compare(self._look, batch, collector)

    def _tagged(self, tags_of: dict[int, str], low: int, high: int) -> list[int]:
        """Return the documents of a range whose tags may satisfy a part of the query."""
        return [
            id_
            for id_, tags in tags_of.items()
            if tags and low <= id_ < high and self._comparison.touches(tags)
        ]

    async def _newest_versions(self) -> dict[int, str]:
        """Return the id of each file's newest version, with its tags as one text."""
        filters = {}
        if self._request.project_id is not None:
            filters["project_id"] = self._request.project_id
        files = PlanFile.of(self._request.owner).iterate(
            filters, {"document_id": 1, "tags.name": 1}, batch_size=BATCH_FILES
        )
        return {
            raw["document_id"]: "\n".join(tag["name"] for tag in raw.get("tags", []))
            async for raw in files
        }

    def _look(self, batch: Sequence[StoredPlanDocument], collector: Collector) -> None:
        for raw in batch:
            self.scanned += 1
            texts = {"filename": raw["filename"], "content": raw["content"]}
            if tags := (self._tags or {}).get(raw["_id"]):
                texts["tags"] = tags
            found = self._comparison.find(texts, FIELD_WEIGHTS)
            if found is None or not self._request.takes_time(raw["created_at"]):
                continue
            value = score(found.weight, found.hits, raw["created_at"], self._now)
            group = f"documents:{raw['project_id']}:{raw['category_id']}:{raw['filename']}"
            make = partial(self._hit, raw, group, found, value)
            collector.offer((raw["_id"], 0), group, value, make)

    def _hit(self, raw: StoredPlanDocument, group: str, found: Found, value: float) -> Hit:
        shown = found.shown()
        return Hit(
            "documents",
            (raw["_id"], 0),
            group,
            raw["created_at"],
            value,
            {
                "type": "document",
                "document_id": raw["_id"],
                "filename": raw["filename"],
                "version": raw["version"],
                "category_id": raw["category_id"],
                "project_id": raw["project_id"],
                "project_name": self._projects.get(raw["project_id"], ""),
                "created_at": raw["created_at"],
                "field": found.field,
                "snippet": shown.text,
                "highlights": shown.highlights,
            },
        )
