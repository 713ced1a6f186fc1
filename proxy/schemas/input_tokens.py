"""The body of `POST /v1/chat/conversations/{id}/input-tokens`."""

from typing import Any

from pydantic import BaseModel


class InputTokenParts(BaseModel):
    """Tokens by where they come from; separators between parts are in the total only."""

    system_prompt: int
    documents: int
    source_code: int
    history: int
    message: int


class InputTokensOut(BaseModel):
    """What a message would bring to its model.

    Counted by the server's tokenizer; a provider with another one counts a little differently.
    """

    model: str
    context_tokens: int
    input_tokens: int
    tokens: InputTokenParts
    omitted_messages: int
    attached_source: dict[str, Any] | None = None
