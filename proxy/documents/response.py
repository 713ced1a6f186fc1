"""What the request of a response asked for, beside the messages that hold all the rest."""

from datetime import datetime, timedelta
from typing import ClassVar

from pymongo import ASCENDING, DESCENDING, IndexModel

from proxy.documents.base import Owned, Raw, utc_now

RETRY_MINUTES = 15
"""How long ago the call may have begun that an SDK repeats by itself."""


class StoredResponse(Owned[Raw]):
    """`{"_id": "108:0", "message_id": 108, "conversation_id", "request": "{…}", "input_ids"}`.

    `_id` is the attempt that wrote the reply. `request` is JSON text: instructions, tools,
    sampling, metadata. `input_ids` are the first and the last message that the call brought.
    """

    id: str  # type: ignore[assignment]
    message_id: int
    conversation_id: str
    request: str
    input_ids: list[int]
    fingerprint: str = ""
    created_at: datetime

    class Settings:
        """Where it is kept and what finds it."""

        name = "responses"
        indexes: ClassVar = [
            IndexModel([("message_id", ASCENDING)], name="message"),
            IndexModel([("conversation_id", ASCENDING)], name="conversation"),
            IndexModel(
                [("owner", ASCENDING), ("fingerprint", ASCENDING), ("created_at", DESCENDING)],
                name="newest_of_request",
            ),
        ]

    @classmethod
    async def add(
        cls,
        owner: str,
        attempt: str,
        conversation_id: str,
        request: str,
        input_ids: tuple[int, int],
        fingerprint: str,
    ) -> None:
        """`insertOne`: one a turn."""
        await cls.of(owner).insert(
            {
                "_id": attempt,
                "message_id": int(attempt.partition(":")[0]),
                "conversation_id": conversation_id,
                "request": request,
                "input_ids": list(input_ids),
                "fingerprint": fingerprint,
                "created_at": utc_now(),
            }
        )

    @classmethod
    async def by_attempt(cls, owner: str, attempt: str) -> Raw | None:
        """Find what a writing of a reply was asked with; None where it came another way."""
        return await cls.of(owner).find_one({"_id": attempt})

    @classmethod
    async def newest_of_request(cls, owner: str, fingerprint: str) -> Raw | None:
        """Find the newest response that the same request began a short while ago."""
        since = utc_now() - timedelta(minutes=RETRY_MINUTES)
        found = await cls.of(owner).find(
            {"fingerprint": fingerprint, "created_at": {"$gt": since}},
            sort=[("created_at", DESCENDING)],
            limit=1,
        )
        return found[0] if found else None

    @classmethod
    async def forget(cls, message_ids: list[int]) -> None:
        """`deleteMany`, with the messages that were deleted."""
        await cls.collection().delete_many({"message_id": {"$in": message_ids}})

    @classmethod
    async def forget_conversation(cls, conversation_id: str) -> None:
        """`deleteMany`, with a conversation that was deleted."""
        await cls.collection().delete_many({"conversation_id": conversation_id})
