"""Whether a document still says what the messages say that it was made of."""

from collections.abc import Sequence

from proxy.documents.base import Raw
from proxy.documents.conversation import Conversation
from proxy.documents.message_page import MessagePage
from proxy.documents.plan_document import StoredPlanDocument

REVISIONS = {"messages.id": 1, "messages.revision": 1}


async def stale_ids(owner: str, documents: Sequence[StoredPlanDocument]) -> set[int]:
    """Return the ids of those documents whose source messages were edited or deleted since.

    Two reads for all of them together, none when no document was made of messages.
    """
    sources = {
        raw["_id"]: raw["provenance"]
        for raw in documents
        if raw.get("provenance", {}).get("message_ids")
    }
    if not sources:
        return set()
    present = await _revisions(
        owner,
        sorted({source["conversation_id"] for source in sources.values()}),
        sorted({id_ for source in sources.values() for id_ in source["message_ids"]}),
    )
    return {
        id_
        for id_, source in sources.items()
        if any(
            present.get(message_id) != revision
            for message_id, revision in zip(
                source["message_ids"], source["message_revisions"], strict=True
            )
        )
    }


async def _revisions(
    owner: str, conversation_ids: list[str], message_ids: list[int]
) -> dict[int, int]:
    """Message id → revision, of the messages that are there.

    Tails first, pages second: a message only ever moves from a tail to a page.
    """
    present: dict[int, int] = {}
    page_counts: dict[str, int] = {}
    query: Raw = {"_id": {"$in": conversation_ids}}
    async for raw in Conversation.of(owner).iterate(query, {**REVISIONS, "page_count": 1}):
        page_counts[raw["_id"]] = raw["page_count"]
        present.update((m["id"], m.get("revision", 0)) for m in raw["messages"])
    older = [id_ for id_ in message_ids if id_ not in present]
    if older:
        query = {"conversation_id": {"$in": conversation_ids}, "messages.id": {"$in": older}}
        fields = {**REVISIONS, "conversation_id": 1, "number": 1}
        async for page in MessagePage.of(owner).iterate(query, fields):
            if page["number"] < page_counts.get(page["conversation_id"], 0):
                for message in page["messages"]:
                    present.setdefault(message["id"], message.get("revision", 0))
    return present
