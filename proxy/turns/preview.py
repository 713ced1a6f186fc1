"""What a turn would bring to its model, counted before it is sent; nothing is stored."""

from dataclasses import dataclass

from proxy.documents.base import Raw
from proxy.documents.conversation import Conversation
from proxy.documents.document_reference import context_documents
from proxy.providers.registry import Registry
from proxy.settings import Settings
from proxy.source_code.digests import Digests
from proxy.tokenizer.tokens import token_counts
from proxy.turns.attached_source import attach_source
from proxy.turns.prompt import build_prompt, document_context, message_tokens, once
from proxy.turns.turn import NewTurn


@dataclass(frozen=True, slots=True)
class InputTokens:
    """Tokens of a prompt: all of them, and of its parts without the separators between."""

    model: str
    context_tokens: int
    input_tokens: int
    system_prompt: int
    documents: int
    source_code: int
    history: int
    message: int
    omitted_messages: int
    attached_source: Raw | None


async def count_input(
    owner: str,
    conversation_id: str,
    turn: NewTurn,
    *,
    settings: Settings,
    registry: Registry,
    digests: Digests,
) -> InputTokens:
    """Count what the same turn would send, by the tokenizer of this server.

    Raises:
        ConversationNotFound: there is none for this owner.
        DocumentNotFound: says which of `documents` are not there.
        ModelNotFound: nothing answers for the model.
        ProxyError: the source that should be attached cannot be.
    """
    conversation = await Conversation.with_tail(owner, conversation_id)
    model = await registry.wanted(turn.model, conversation["model"])
    routes = await registry.resolve(model)
    source = None
    if turn.source is not None:
        source = await attach_source(digests, owner, conversation, turn.source)
    found = await context_documents(owner, conversation, turn.documents)
    found, append = once(conversation["system_prompt"], found, turn.system_prompt_append)
    documents = document_context(found)
    source_text = source.text if source else ""
    context = (documents, source_text, append)
    window = registry.context_tokens(model, routes[0])
    new = [message.as_chat_message() for message in turn.messages]
    prompt = await build_prompt(
        owner,
        conversation,
        system_context="\n\n".join(part for part in context if part),
        new_messages=new,
        window_tokens=window,
    )
    counts = await message_tokens(prompt.messages)
    parts = await token_counts((conversation["system_prompt"] + append, documents, source_text))
    system = counts[0] if prompt.messages and prompt.messages[0]["role"] == "system" else 0
    message = sum(await message_tokens(new))
    return InputTokens(
        model=model,
        context_tokens=window,
        input_tokens=sum(counts),
        system_prompt=parts[0],
        documents=parts[1],
        source_code=parts[2],
        history=max(0, sum(counts) - system - message),
        message=message,
        omitted_messages=prompt.omitted_messages,
        attached_source=source.record if source else None,
    )
