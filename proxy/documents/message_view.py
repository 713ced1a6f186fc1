"""The view `messages`: every message as a document of its own, to read in a Mongo shell.

    db.messages.find({conversation_id: "<uuid4>"}).sort({_id: 1})

It joins the tails of conversations and their pages. The server itself never reads or writes
through it. The order across both is not defined: sort. While messages move to a page, one may
be seen twice; a page that a broken move left is seen, although it does not count.
"""

import logging
from typing import Any

from pymongo.errors import OperationFailure

from proxy.documents.base import Raw
from proxy.documents.embedded_server import redefine_view
from proxy.documents.message import INTERNAL, ONLY_ASKED_FOR, Message

log = logging.getLogger(__name__)

NAME = "messages"

_NAMESPACE_EXISTS = 48


def definition() -> Raw:
    """Return what the view is made of: `{"viewOn", "pipeline"}`.

    It ends with a `$project` and not with a new root: MongoDB moves a filter on
    `conversation_id` through renames only, to the indexes of both collections.
    """
    holder: Raw = {"_id": 0, "conversation_id": 1, "owner": 1, "messages": 1}
    fields = {
        name: f"$messages.{name}"
        for name in Message.model_fields
        if name not in {"id", *INTERNAL, *ONLY_ASKED_FOR}
    }
    return {
        "viewOn": "conversations",
        "pipeline": [
            {"$project": {**holder, "conversation_id": "$_id"}},
            {"$unionWith": {"coll": "message_pages", "pipeline": [{"$project": holder}]}},
            {"$unwind": "$messages"},
            {"$project": {"_id": "$messages.id", "conversation_id": 1, "owner": 1, **fields}},
        ],
    }


async def create_message_view(database: Any, *, embedded: bool) -> None:
    """Create the view, or make it anew where its definition differs.

    Nothing depends on it: where a collection has its name, or the right to make views is
    missing, a log line says so.
    """
    try:
        present = await _present(database)
        if present is None:
            await database.command({"create": NAME, **definition()})
        elif present["type"] != "view":
            log.warning("the view %r is not made: a collection has that name", NAME)
        elif present["options"] != definition():
            if embedded:
                await redefine_view(database, NAME, definition())
            else:
                await database.command({"collMod": NAME, **definition()})
    except OperationFailure as error:
        # Another worker was faster, or we may not, or this server knows no views.
        if error.code != _NAMESPACE_EXISTS:
            log.warning("the view %r is not made (code %s)", NAME, error.code)


async def _present(database: Any) -> Raw | None:
    listed = await database.command("listCollections", filter={"name": NAME})
    found: list[Raw] = listed["cursor"]["firstBatch"]
    return found[0] if found else None
