"""A turn: the new message and an empty reply are stored, then the model is asked."""

import asyncio
from dataclasses import replace
from weakref import WeakValueDictionary

from pymongo.errors import PyMongoError

from proxy.documents.base import Raw, is_too_large
from proxy.documents.conversation import Conversation, StoredConversation
from proxy.documents.conversation_fork import (
    conversation_of_message,
    fork_conversation,
    is_newest,
)
from proxy.documents.counter import Counter
from proxy.documents.message import StoredMessage, attempt_name, size_bytes
from proxy.documents.message_location import LocatedMessage, MessageLocation
from proxy.documents.message_page import MessagePage
from proxy.errors import BadRequest, Conflict, Unavailable
from proxy.providers.base import CompletionRequest
from proxy.providers.registry import Registry, Route
from proxy.settings import Settings
from proxy.source_code.digests import Digests
from proxy.streaming.engine import Engine
from proxy.streaming.reply import Reply
from proxy.streaming.sink import MessageSink
from proxy.turns.append import APPEND_ATTEMPTS, check_length, check_size, move_tail
from proxy.turns.attached_source import attach_source
from proxy.turns.continues import ContinueTexts
from proxy.turns.history import composed
from proxy.turns.new_reply import REPLY_FIELDS, new_reply, reply_fields
from proxy.turns.prompt import prompt_of_turn
from proxy.turns.repeated import has_come_to_nothing, reply_of_key, reply_of_retry
from proxy.turns.tails import TailMover
from proxy.turns.turn import (
    NewTurn,
    conversation_id_of,
    first_turn_of,
    message_of,
    new_conversation_id,
    not_stored_yet,
)


class Turns:
    """Begins replies; the engine runs them."""

    def __init__(
        self, settings: Settings, registry: Registry, engine: Engine, digests: Digests
    ) -> None:
        self._settings = settings
        self._digests = digests
        self._registry = registry
        self._engine = engine
        self._continues = ContinueTexts(settings)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        TailMover(settings, engine)

    async def begin(self, owner: str, conversation_id: str, turn: NewTurn) -> Reply:
        """Store the messages and an empty reply with one push, and start the generation.

        Without a `conversation_id` a new conversation is made, or the one of `turn.previous`
        goes on.

        Raises:
            ConversationNotFound: there is none for this owner.
            DocumentNotFound: says which of `documents` are not there; nothing is stored.
            ModelNotFound: nothing answers for the model; nothing is stored.
            ProxyError: the source that should be attached cannot be; nothing is stored.
            TooLarge: the message exceeds `message_bytes`, or the conversation
                `conversation_messages`.
            KeyReused: the idempotency key was used with another body.
            MessageNotFound: `previous` names no reply of this owner.
            Conflict: `previous` is still being written.
            BadRequest: the history is too long, and must not be cut.
        """
        if turn.idempotency_key is None:
            return await self._begin(owner, conversation_id, turn)
        # Copies of a request come in crowds; within this worker they take turns.
        where = conversation_id or f"{owner} {turn.idempotency_key}"
        lock = self._locks.setdefault(where, asyncio.Lock())
        async with lock:
            return await self._begin(owner, conversation_id, turn)

    async def _begin(self, owner: str, conversation_id: str, turn: NewTurn) -> Reply:
        self._engine.check_open()
        check_size(turn.messages, self._settings)
        stores_last = not self._continues.is_one(turn)
        is_new = not conversation_id and turn.previous is None
        if is_new and turn.thread:
            conversation_id = conversation_id_of(owner, turn.thread)
        elif is_new:
            conversation_id = new_conversation_id(owner, turn.idempotency_key)
        for _ in range(APPEND_ATTEMPTS):
            conversation, first_id = await asyncio.gather(
                self._conversation(owner, conversation_id, turn, is_new=is_new),
                Counter.reserve("messages", len(turn.messages) + 1),
            )
            conversation_id = conversation["_id"]
            if (begun := await self._begun_before(owner, conversation, turn)) is not None:
                return begun
            if turn.previous is not None and not is_newest(conversation, *turn.previous):
                conversation_id = await self.fork(owner, *turn.previous)
                turn = replace(turn, previous=None)
                continue
            check_length(conversation, self._settings)
            model = await self._registry.wanted(turn.model, conversation["model"])
            routes = await self._registry.resolve(model)
            if turn.responses is not None and not any(route.is_native for route in routes):
                turn = replace(turn, responses=None)
            new = not_stored_yet(turn.messages, conversation["messages"])
            source = None
            if turn.source is not None:
                source = await attach_source(self._digests, owner, conversation, turn.source)
            window = self._registry.context_tokens(model, routes[0])
            prompt = await prompt_of_turn(owner, conversation, turn, new, window, source=source)
            stored = new if stores_last else new[:-1]
            reply_id = first_id + len(stored)
            user_id = reply_id - 1 if stores_last and stored else None
            messages = [message_of(id_, message) for id_, message in enumerate(stored, first_id)]
            messages.append(
                new_reply(reply_id, user_id, self._engine.worker_id, routes[0], prompt, turn)
            )
            if source is not None:
                messages[-1]["attached_source"] = source.record
            if not await self._append(conversation, messages, turn, is_new=is_new):
                is_new = False
                continue
            if source is not None:
                await source.save_manifest(owner, conversation_id)
            attempt = attempt_name(reply_id, 0)
            location = MessageLocation(owner, conversation_id, conversation_id)
            generation = self._engine.begin(
                sink=MessageSink(location, reply_id, attempt, self._settings),
                message_id=reply_id,
                attempt=attempt,
                routes=routes,
                request=CompletionRequest(
                    model=routes[0].model,
                    messages=prompt.messages,
                    parameters=turn.parameters,
                    responses=turn.responses,
                    conversation_id=conversation_id,
                    message_id=str(reply_id),
                ),
                project_id=conversation["project_id"],
                omitted_messages=prompt.omitted_messages,
                compose=self.compose,
                tail_size=(
                    len(conversation["messages"]) + len(messages),
                    sum(map(size_bytes, conversation["messages"])) + sum(map(size_bytes, messages)),
                ),
            )
            return Reply(
                conversation_id,
                user_id,
                reply_id,
                generation,
                message=messages[-1],
                first_message_id=first_id,
            )
        raise Unavailable("This conversation is very busy; try again", retry_after_seconds=1)

    async def _conversation(
        self, owner: str, conversation_id: str, turn: NewTurn, *, is_new: bool
    ) -> StoredConversation:
        """Load the conversation of a turn; one that is new is not stored yet."""
        if is_new:
            metadata = {"thread_id": turn.thread} if turn.thread else None
            return Conversation(id=conversation_id, owner=owner, metadata=metadata).raw()
        if turn.previous is not None:
            return await conversation_of_message(owner, turn.previous[0])
        return await Conversation.with_tail(owner, conversation_id)

    async def _append(
        self,
        conversation: StoredConversation,
        messages: list[StoredMessage],
        turn: NewTurn,
        *,
        is_new: bool,
    ) -> bool:
        """Store the messages of a turn; False when it must look at the conversation again."""
        if is_new:
            return await Conversation.insert_with(conversation, messages)
        # Whoever goes on from the newest reply must still find it the newest.
        is_guarded = bool(turn.idempotency_key or turn.previous)
        try:
            return await Conversation.append(
                conversation["owner"],
                conversation["_id"],
                messages,
                appends=conversation["appends"] if is_guarded else None,
            )
        except PyMongoError as error:
            if not is_too_large(error):
                raise
            # Large messages came faster than they could move to pages.
            await move_tail(conversation["_id"], self._settings)
            return False

    async def fork(self, owner: str, message_id: int, revision: int | None = None) -> str:
        """Copy a conversation up to a message into a new one; the id of that.

        Raises:
            MessageNotFound: there is none for this owner.
            Conflict: it is still being written.
        """
        return await fork_conversation(
            owner,
            message_id,
            revision,
            worker=self._engine.worker_id,
            tail_messages=self._settings.tail_messages,
            tail_bytes=self._settings.tail_bytes,
        )

    async def regenerate(self, owner: str, message_id: int, model: str = "") -> Reply:
        """Write a reply again; the former one becomes a revision of the message.

        Raises:
            MessageNotFound: there is none for this owner.
            BadRequest: it is not a reply.
            Conflict: it is still being written, or too many beside it are.
            TooLarge: the messages beside it leave no room.
            ModelNotFound: nothing answers for the model; nothing changes.
        """
        self._engine.check_open()
        while True:
            located = await LocatedMessage.find(owner, message_id)
            message, location = located.message, located.location
            if message["role"] != "assistant":
                raise BadRequest("Only a reply of the assistant can be regenerated")
            if message.get("status") == "streaming":
                raise Conflict("This reply is still being written; stop it first")
            if location.in_page:
                await MessagePage.check_room(location.document_id)
            conversation = await Conversation.with_tail(owner, location.conversation_id)
            name = await self._registry.wanted(model, _model_of(message), conversation["model"])
            routes = await self._registry.resolve(name)
            window = self._registry.context_tokens(name, routes[0])
            first = first_turn_of(message)
            source = None
            if first.source is not None:
                source = await attach_source(self._digests, owner, conversation, first.source)
            prompt = await prompt_of_turn(
                owner, conversation, first, [], window, before=message_id, source=source
            )
            fields = reply_fields(self._engine.worker_id, routes[0], prompt)
            if source is not None:
                fields["attached_source"] = source.record
            unset = tuple(key for key in REPLY_FIELDS if key not in fields)
            attempt = await located.replace({"content": "", **fields}, unset)
            if attempt is None:
                continue
            generation = self._engine.begin(
                sink=MessageSink(location, message_id, attempt, self._settings),
                message_id=message_id,
                attempt=attempt,
                routes=routes,
                request=CompletionRequest(
                    model=routes[0].model,
                    messages=prompt.messages,
                    parameters=first.parameters,
                    responses=first.responses,
                    conversation_id=location.conversation_id,
                    message_id=str(message_id),
                ),
                project_id=conversation["project_id"],
                omitted_messages=prompt.omitted_messages,
                compose=self.compose,
            )
            return Reply(location.conversation_id, message.get("reply_to"), message_id, generation)

    def compose(self, messages: list[Raw], route: Route) -> list[Raw]:
        """Return a history as the model of a route takes it."""
        name = f"{route.provider.name}/{route.model}"
        accepts = route.accepts(self._settings.model_settings(name))
        return composed(messages, accepts, route.provider.name)

    async def _begun_before(
        self, owner: str, conversation: StoredConversation, turn: NewTurn
    ) -> Reply | None:
        """Return the reply that the same call began before, running here or not."""
        message, by_key = None, False
        if turn.idempotency_key is not None:
            message = await reply_of_key(conversation, turn)
            by_key = message is not None
        if message is None and turn.is_retry:
            message = reply_of_retry(conversation, turn)
            if message is not None and has_come_to_nothing(message):
                return await self.regenerate(owner, message["id"], turn.model)
        if message is None:
            return None
        return Reply(
            conversation["_id"],
            message.get("reply_to"),
            message["id"],
            self._engine.running.get(message["id"]),
            message=message if by_key else {},
            joined=by_key,
        )


def _model_of(message: StoredMessage) -> str:
    provider, model = message.get("provider"), message.get("model")
    return f"{provider}/{model}" if provider and model else ""
