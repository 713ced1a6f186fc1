"""Where a reply is written: to its message, to the draft of a document, or nowhere."""

from dataclasses import dataclass
from typing import Protocol

from pymongo.errors import PyMongoError

from proxy.documents.base import Raw
from proxy.documents.conversation import Conversation
from proxy.documents.message_location import LocatedMessage, MessageLocation
from proxy.errors import NotFound
from proxy.settings import Settings

WRITE_ATTEMPTS = 8
"""How often a message that moved meanwhile is looked for in one write."""


class ReplySink(Protocol):
    """What a reply is written to while it arrives, and when it has ended."""

    @property
    def owner(self) -> str:
        """Whose reply it is."""
        ...

    @property
    def conversation_id(self) -> str:
        """The conversation that it is part of; empty for a reply of none."""
        ...

    async def write(self, fields: Raw, *, is_final: bool) -> bool:
        """Set fields of the reply; False when it was deleted meanwhile.

        Raises:
            PyMongoError: the database does not answer, or the document would be too large.
        """
        ...

    async def make_room(self) -> bool:
        """Make room for a reply that does not fit; False where none can be made."""
        ...


@dataclass(slots=True)
class MessageSink:
    """One writing (`attempt`) of a message, wherever the message moves meanwhile."""

    location: MessageLocation
    message_id: int
    attempt: str
    settings: Settings

    @property
    def owner(self) -> str:
        """Whose message it is."""
        return self.location.owner

    @property
    def conversation_id(self) -> str:
        """The conversation of the message."""
        return self.location.conversation_id

    async def write(self, fields: Raw, *, is_final: bool) -> bool:
        """`$set` on the message's element; the end of a reply also takes its worker's name off."""
        for _ in range(WRITE_ATTEMPTS):
            if await self.location.write(
                self.attempt,
                fields,
                unset=("worker",) if is_final else (),
                touch=is_final,
            ):
                return True
            try:
                located = await LocatedMessage.find(self.owner, self.message_id)
            except NotFound:
                return False
            if located.message.get("attempt") != self.attempt:
                return False
            self.location = located.location
        raise PyMongoError("the message is there, and cannot be written")

    async def make_room(self) -> bool:
        """Move older messages out of a full tail; a page cannot be emptied."""
        if self.location.in_page:
            return False
        await Conversation.move_tail(
            self.conversation_id,
            max_messages=self.settings.tail_messages,
            max_bytes=self.settings.tail_bytes,
        )
        return True


@dataclass(frozen=True, slots=True)
class NoSink:
    """A reply that nobody keeps."""

    owner: str
    conversation_id: str = ""

    async def write(self, fields: Raw, *, is_final: bool) -> bool:
        """Write nothing."""
        del fields, is_final
        return True

    async def make_room(self) -> bool:
        """Say that there is none."""
        return False
