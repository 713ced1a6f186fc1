"""What messages said before they were edited or written again."""

from datetime import datetime
from typing import Any, ClassVar, TypedDict

from pymongo import ASCENDING, IndexModel

from proxy.documents.base import Owned
from proxy.documents.message import StoredMessage


class StoredRevision(TypedDict):
    """A `MessageRevision` as it lies in Mongo."""

    _id: str
    owner: str
    message_id: int
    conversation_id: str
    number: int
    replaced_at: datetime
    message: StoredMessage


class FormerMessage(StoredMessage):
    """A former content of a message, and when another took its place."""

    replaced_at: datetime


class MessageRevision(Owned[StoredRevision]):
    """A former content of a message: `{"_id": "107:0", "message_id": 107, "number": 0, …}`.

    Written before the message changes; one whose number the message has not passed yet
    belongs to a change that never happened.
    """

    id: str  # type: ignore[assignment]
    message_id: int
    conversation_id: str
    number: int
    replaced_at: datetime
    message: dict[str, Any]

    class Settings:
        """Where it is kept and what finds it."""

        name = "message_revisions"
        indexes: ClassVar = [
            IndexModel([("message_id", ASCENDING), ("number", ASCENDING)], name="message"),
            IndexModel([("conversation_id", ASCENDING)], name="conversation"),
        ]


async def list_revisions(owner: str, message: StoredMessage) -> list[FormerMessage]:
    """Return the former contents of a message, oldest first."""
    found = await MessageRevision.of(owner).find_any("message_id", [message["id"]])
    passed = [raw for raw in found if raw["number"] < message.get("revision", 0)]
    passed.sort(key=lambda raw: int(raw["number"]))
    return [{**raw["message"], "replaced_at": raw["replaced_at"]} for raw in passed]
