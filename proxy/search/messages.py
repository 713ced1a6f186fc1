"""Hits in messages: in the tails of conversations, in their pages, in former contents.

Message ids only rise and a message keeps its own, so a range of ids is a fixed part of all
that was ever said, whatever is written meanwhile. A message only moves from a tail to a page:
who looks in the tails first and in the pages second cannot miss it.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from proxy.documents.base import Raw
from proxy.documents.conversation import Conversation, StoredConversation
from proxy.documents.counter import Counter
from proxy.documents.message import StoredMessage
from proxy.documents.message_page import MessagePage, StoredPage
from proxy.documents.message_revision import MessageRevision, StoredRevision
from proxy.search.hits import Collector, Hit, score
from proxy.search.prefilter import condition
from proxy.search.request import MESSAGE_KINDS, SearchRequest
from proxy.search.texts import (
    MESSAGE_FIELDS,
    Comparison,
    Found,
    compare,
    message_texts,
    message_weights,
)

T = TypeVar("T")

BATCH_DOCUMENTS = 4
"""Tails or pages that are read and compared at once: some 0.5 MB.

Reading one batch keeps other threads from running: 25 ms for 15 MB.
"""

ABOUT = {
    "name": 1,
    "project_id": 1,
    "status": 1,
    "page_count": 1,
}
"""What is known of a conversation whose messages are looked through."""

SHOWN = ("id", "role", "model", "status", "created_at", "revision")


class MessageScan:
    """What the messages of an owner are looked through with, for one request."""

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
        self._about: dict[str, StoredConversation] = {}
        kinds = request.kinds & MESSAGE_KINDS
        self._fields = sorted({field for kind in kinds for field in MESSAGE_FIELDS[kind]})
        self.scanned = 0

    async def top(self) -> int:
        """Return an id above all there are."""
        return await Counter.highest("messages") + 1

    async def window(self, low: int, high: int, collector: Collector) -> None:
        """Offer every hit among the messages with `low <= id < high`."""
        look = partial(self._look, low, high, collector)
        async for tails in _batches(self._tails(low, high)):
            self._about.update((tail["_id"], tail) for tail in tails)
            await compare(look, [(tail, tail["messages"]) for tail in tails])
            for tail in tails:
                tail["messages"] = []
        async for pages in _batches(self._pages(low, high)):
            await self._learn_about((page["conversation_id"], page["number"]) for page in pages)
            known = [(self._about.get(page["conversation_id"]), page) for page in pages]
            counting = [
                (about, page["messages"])
                for about, page in known
                if about is not None
                and page["number"] < about["page_count"]
                and self._request.takes_conversation(about)
            ]
            await compare(look, counting)
        if self._request.revisions:
            await self._look_at_revisions(low, high, collector)

    # What the database is asked

    def _matching(self, prefix: str) -> Raw:
        plain = [f"{prefix}.{field}" for field in self._fields if field != "payload"]
        json = [f"{prefix}.payload"] if "payload" in self._fields else []
        return condition(self._request.query, plain, json)

    def _projection(self, prefix: str) -> Raw:
        return dict.fromkeys((f"{prefix}.{field}" for field in (*SHOWN, *self._fields)), 1)

    def _tails(self, low: int, high: int) -> AsyncIterator[StoredConversation]:
        request = self._request
        filters: Raw = {}
        if request.conversation_id is not None:
            filters["_id"] = request.conversation_id
        if request.project_id is not None:
            filters["project_id"] = request.project_id
        if request.conversation_status is not None:
            filters["status"] = request.conversation_status
        return Conversation.of(request.owner).iterate(
            _both({**filters, **Conversation.holding(low, high)}, self._matching("messages")),
            {**ABOUT, **self._projection("messages")},
            batch_size=BATCH_DOCUMENTS,
        )

    def _pages(self, low: int, high: int) -> AsyncIterator[StoredPage]:
        filters = MessagePage.holding(low, high)
        if self._request.conversation_id is not None:
            filters["conversation_id"] = self._request.conversation_id
        return MessagePage.of(self._request.owner).iterate(
            _both(filters, self._matching("messages")),
            {"conversation_id": 1, "number": 1, **self._projection("messages")},
            batch_size=BATCH_DOCUMENTS,
        )

    async def _learn_about(self, parts: Iterable[tuple[str, int]]) -> None:
        """Read what is not known of the conversations that pages or revisions belong to.

        Of each part the conversation and the number of the page; 0 stands for a revision.
        """
        missing = {
            id_
            for id_, number in parts
            if (about := self._about.get(id_)) is None or number >= about["page_count"]
        }
        if missing:
            found = await Conversation.of(self._request.owner).find_any(
                "_id", sorted(missing), ABOUT
            )
            self._about.update((raw["_id"], raw) for raw in found)

    # Comparing, off the event loop

    def _look(
        self,
        low: int,
        high: int,
        collector: Collector,
        parts: Sequence[tuple[StoredConversation, list[StoredMessage]]],
    ) -> None:
        for about, messages in parts:
            for message in messages:
                if low <= message["id"] < high and self._request.takes_message(message):
                    self._compare(about, message, collector, {})

    def _compare(
        self, about: StoredConversation, message: StoredMessage, collector: Collector, extra: Raw
    ) -> None:
        self.scanned += 1
        texts = message_texts(message, self._request.kinds)
        if not texts:
            return
        found = self._comparison.find(texts, message_weights(message))
        if found is None:
            return
        value = score(found.weight, found.hits, message["created_at"], self._now)
        key = (message["id"], message.get("revision", 0))
        make = partial(self._hit, about, message, found, value, extra)
        collector.offer(key, about["_id"], value, make)

    def _hit(
        self,
        about: StoredConversation,
        message: StoredMessage,
        found: Found,
        value: float,
        extra: Raw,
    ) -> Hit:
        shown = found.shown()
        return Hit(
            "messages",
            (message["id"], message.get("revision", 0)),
            about["_id"],
            message["created_at"],
            value,
            {
                "type": "message",
                "conversation_id": about["_id"],
                "conversation_name": about["name"],
                "project_id": about["project_id"],
                "project_name": self._projects.get(about["project_id"], ""),
                "message_id": message["id"],
                "role": message["role"],
                "model": message.get("model"),
                "created_at": message["created_at"],
                "field": found.field,
                "snippet": shown.text,
                "highlights": shown.highlights,
                **extra,
            },
        )

    # Former contents

    async def _look_at_revisions(self, low: int, high: int, collector: Collector) -> None:
        revisions = MessageRevision.of(self._request.owner).iterate(
            _both({"message_id": {"$gte": low, "$lt": high}}, self._matching("message")),
            {
                **dict.fromkeys(("message_id", "conversation_id", "number", "replaced_at"), 1),
                **self._projection("message"),
            },
            batch_size=BATCH_DOCUMENTS,
        )
        async for batch in _batches(revisions):
            await self._learn_about((raw["conversation_id"], 0) for raw in batch)
            numbers = await self._present_revisions({raw["message_id"] for raw in batch})
            # One whose number the message has not passed belongs to a change that never was.
            passed = [raw for raw in batch if raw["number"] < numbers.get(raw["message_id"], 0)]
            await compare(self._look_at_former, passed, collector)

    async def _present_revisions(self, ids: set[int]) -> dict[int, int]:
        found: dict[int, int] = {}
        for documents in (Conversation, MessagePage):
            raws = await documents.of(self._request.owner).find_any(
                "messages.id", sorted(ids), {"messages.id": 1, "messages.revision": 1}
            )
            found.update(
                (message["id"], message.get("revision", 0))
                for raw in raws
                for message in raw["messages"]
                if message["id"] in ids
            )
        return found

    def _look_at_former(self, revisions: Sequence[StoredRevision], collector: Collector) -> None:
        for raw in revisions:
            about = self._about.get(raw["conversation_id"])
            message: StoredMessage = {
                **raw["message"],
                "id": raw["message_id"],
                "revision": raw["number"],
            }
            if (
                about is not None
                and self._request.takes_conversation(about)
                and self._request.conversation_id in (None, about["_id"])
                and self._request.takes_message(message)
            ):
                extra = {"revision": raw["number"], "replaced_at": raw["replaced_at"]}
                self._compare(about, message, collector, extra)


def _both(filters: Raw, matching: Raw) -> Raw:
    """Return a filter for two conditions that may use the same operators."""
    return (
        {**filters, **matching}
        if not filters.keys() & matching.keys()
        else {"$and": [filters, matching]}
    )


async def _batches(documents: AsyncIterator[T]) -> AsyncIterator[list[T]]:
    batch: list[T] = []
    async for document in documents:
        batch.append(document)
        if len(batch) == BATCH_DOCUMENTS:
            yield batch
            batch = []
    if batch:
        yield batch
