"""Bodies of export and import."""

from typing import Any

from pydantic import BaseModel, Field

from proxy.schemas.common import ConversationId, ConversationName

CONVERSATION_FILE: dict[str, Any] = {
    "application/json": {
        "schema": {
            "title": "ConversationFile",
            "description": "One conversation, a list of them, or ChatGPT's conversations.json",
            "anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}],
            "examples": [
                {
                    "format": "poe-openai-proxy.conversation",
                    "version": 1,
                    "conversation": {
                        "name": "Sorting",
                        "created_at": "2026-01-31T12:00:00Z",
                        "updated_at": "2026-01-31T12:00:05Z",
                    },
                    "messages": [
                        {
                            "role": "user",
                            "content": "请用Java写冒泡排序",
                            "created_at": "2026-01-31T12:00:00Z",
                            "updated_at": "2026-01-31T12:00:00Z",
                        }
                    ],
                }
            ],
        }
    }
}
"""Read while it arrives, so there is no model that holds it."""


class ImportedOut(BaseModel):
    """A conversation that is there now; `index` is its place in the file."""

    index: int
    conversation_id: ConversationId
    name: ConversationName
    messages: int = Field(examples=[12])


class ImportFailure(BaseModel):
    """A conversation that could not be read."""

    index: int = Field(examples=[1])
    message: str = Field(examples=["mapping: a message has no known author"])


class ConversationsImported(BaseModel):
    """What became of each conversation of the file."""

    imported: list[ImportedOut]
    errors: list[ImportFailure]
