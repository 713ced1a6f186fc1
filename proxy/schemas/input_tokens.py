"""The body of `POST /v1/chat/conversations/{id}/input-tokens`."""

from pydantic import BaseModel, Field

from proxy.schemas.common import AttachedSource, ModelName


class InputTokenParts(BaseModel):
    """Tokens by where they come from; separators between parts are in the total only."""

    system_prompt: int = Field(examples=[6])
    documents: int = Field(examples=[850])
    source_code: int = Field(examples=[8431])
    history: int = Field(examples=[1200])
    message: int = Field(examples=[9])


class InputTokensOut(BaseModel):
    """What a message would bring to its model.

    Counted by the server's tokenizer; a provider with another one counts a little differently.
    """

    model: ModelName
    context_tokens: int = Field(examples=[128_000])
    input_tokens: int = Field(examples=[10_500])
    tokens: InputTokenParts
    omitted_messages: int
    attached_source: AttachedSource | None = None
