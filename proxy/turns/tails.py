"""Tails that turns made too large, moved to pages while nobody waits."""

from proxy.settings import Settings
from proxy.streaming.engine import Engine
from proxy.streaming.generation import Generation
from proxy.turns.append import move_tail


class TailMover:
    """Looks at every reply that ends; one move of a conversation at a time."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._moving: set[str] = set()
        engine.on_end.append(self._ended)

    def _ended(self, generation: Generation) -> None:
        if generation.tail_size is None:
            return
        messages, size = generation.tail_size
        settings = self._settings
        too_large = (
            messages > settings.tail_messages or size + len(generation.text) > settings.tail_bytes
        )
        conversation_id = generation.sink.conversation_id
        # Turns that end while a move is under way would only begin the same one again.
        if too_large and conversation_id not in self._moving:
            self._moving.add(conversation_id)
            self._engine.in_background(self._move(conversation_id))

    async def _move(self, conversation_id: str) -> None:
        try:
            await move_tail(conversation_id, self._settings)
        finally:
            self._moving.discard(conversation_id)
