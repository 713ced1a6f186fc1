"""Texts that only say to go on: the model gets them, the history does not."""

from fnmatch import fnmatchcase

from proxy.settings import Settings
from proxy.turns.turn import NewTurn

CONTINUE_CHARACTERS = 2000
"""A longer text says more than to go on."""


class ContinueTexts:
    """Knows them: those of `PROXY_CONTINUE_MESSAGES` and `PROXY_CONTINUE_PATTERNS`."""

    def __init__(self, settings: Settings) -> None:
        self._messages = {text.strip().casefold() for text in settings.continue_messages}
        self._patterns = [text.strip().casefold() for text in settings.continue_patterns]

    def is_one(self, turn: NewTurn) -> bool:
        """Whether the last message of a turn is not stored."""
        last = turn.messages[-1] if turn.messages else None
        if turn.stores_all or last is None or last.role != "user" or last.payload is not None:
            return False
        text = last.content.strip().casefold()
        return text in self._messages or (
            len(text) <= CONTINUE_CHARACTERS
            and any(fnmatchcase(text, pattern) for pattern in self._patterns)
        )
