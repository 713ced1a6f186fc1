"""Messages deleted by their ids, wherever they lie, while others are written and moved."""

from proxy.documents.base import Raw, utc_now
from proxy.documents.conversation import Conversation, StoredConversation
from proxy.documents.message import StoredMessage
from proxy.documents.message_location import is_counted
from proxy.documents.message_page import MESSAGE_OF_OWNER, MessagePage
from proxy.documents.message_revision import MessageRevision
from proxy.documents.response import StoredResponse


async def delete_messages(owner: str, message_ids: list[int]) -> int:
    """`$pull` messages wherever they are; how many this caller deleted, however many race."""
    if not message_ids:
        return 0
    # Ids of other owners are among those that were asked for, never among the deleted.
    deleted = await _delete_from_tails(owner, message_ids)
    deleted += await _delete_from_pages(owner, message_ids)
    if deleted:
        await MessageRevision.collection().delete_many({"message_id": {"$in": deleted}})
        await StoredResponse.forget(deleted)
    return len(deleted)


async def _delete_from_tails(owner: str, message_ids: list[int]) -> list[int]:
    mine, wanted, deleted = Conversation.of(owner), set(message_ids), list[int]()
    fields = {"messages.id": 1, "messages.attempt": 1, "system_message_id": 1, "changes": 1}
    wanted_ids = {"messages.id": {"$in": message_ids}}
    # What changed meanwhile is found again.
    while tails := await mine.find(wanted_ids, fields, hint=MESSAGE_OF_OWNER):
        for tail in tails:
            doomed = [message for message in tail["messages"] if message["id"] in wanted]
            if await _pull(tail, doomed, {"changes": tail["changes"]}):
                deleted += [message["id"] for message in doomed]
                continue
            # In a conversation of many tabs something always changes, but not each message.
            for message in doomed:
                if await _pull(tail, [message], {"messages.attempt": message["attempt"]}):
                    deleted.append(message["id"])
    return deleted


async def _pull(tail: StoredConversation, doomed: list[StoredMessage], unchanged: Raw) -> bool:
    ids = [message["id"] for message in doomed]
    update: Raw = {
        "$pull": {"messages": {"id": {"$in": ids}}},
        "$inc": {"changes": 1},
        "$set": {"updated_at": utc_now()},
    }
    if tail.get("system_message_id") in ids:
        update["$set"].update(system_prompt="", system_message_id=None)
    result = await Conversation.collection().update_one({"_id": tail["_id"], **unchanged}, update)
    return bool(result.matched_count)


async def _delete_from_pages(owner: str, message_ids: list[int]) -> list[int]:
    mine, wanted, deleted = MessagePage.of(owner), set(message_ids), list[int]()
    fields = {"conversation_id": 1, "number": 1, "changes": 1, "messages.id": 1}
    wanted_ids = {"messages.id": {"$in": message_ids}}
    remaining = True
    while remaining:
        remaining = False
        for page in await mine.find(wanted_ids, fields, hint=MESSAGE_OF_OWNER):
            if not await is_counted(owner, page):
                continue
            result = await MessagePage.collection().update_one(
                {"_id": page["_id"], "changes": page["changes"]},
                {"$pull": {"messages": {"id": {"$in": message_ids}}}, "$inc": {"changes": 1}},
            )
            if not result.matched_count:
                remaining = True
                continue
            found = wanted.intersection(m["id"] for m in page["messages"])
            deleted += found
            await Conversation.touch(owner, page["conversation_id"], paged_messages=-len(found))
    return deleted
