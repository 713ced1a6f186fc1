"""What a model is shown of a conversation: the system prompt, and as much history as fits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxy.documents.chat_message import ChatMessage, text_of
from proxy.documents.conversation import StoredConversation, is_settled
from proxy.documents.document_reference import context_documents
from proxy.documents.message_page import MessagePage
from proxy.documents.plan_document import StoredPlanDocument
from proxy.errors import BadRequest
from proxy.tokenizer.tokens import token_counts
from proxy.turns.attached_source import AttachedSource
from proxy.turns.history import as_history, new_as_history
from proxy.turns.turn import NewTurn

REPLY_SHARE = 8
"""A window is filled to all but 1/8, which is left to the reply."""

MESSAGE_OVERHEAD_TOKENS = 4
"""What a message costs besides its text (role and separators)."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """OpenAI chat messages, and how many messages of the history were left out."""

    messages: list[dict[str, Any]]
    omitted_messages: int = 0


def joined(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Consecutive plain assistant messages as one: a continued reply is one text."""
    result: list[dict[str, Any]] = []
    for message in messages:
        last = result[-1] if result else None
        if last is not None and _is_plain_reply(last) and _is_plain_reply(message):
            result[-1] = {**last, "content": last["content"] + message["content"]}
        else:
            result.append(message)
    return result


def _is_plain_reply(message: dict[str, Any]) -> bool:
    return (
        message["role"] == "assistant"
        and message.keys() == {"role", "content"}
        and isinstance(message["content"], str)
    )


async def build_prompt(
    owner: str,
    conversation: StoredConversation,
    *,
    system_context: str,
    new_messages: list[dict[str, Any]],
    window_tokens: int,
    before: int | None = None,
) -> Prompt:
    """Return the prompt of one call: system prompt, the newest history that fits, the new messages.

    The history is the tail, and older pages only as far as the window reaches back.
    `system_context` extends the system prompt of this call. With `before`, history ends
    below that message id.
    """
    system_id = conversation.get("system_message_id")
    system = "\n\n".join(part for part in (conversation["system_prompt"], system_context) if part)
    head = [{"role": "system", "content": system}] if system else []
    budget = window_tokens - window_tokens // REPLY_SHARE
    tail = [
        as_history(m)
        for m in conversation["messages"]
        if m["id"] != system_id and is_settled(m) and (before is None or m["id"] < before)
    ]
    pages = conversation["page_count"]
    if not pages and _most_tokens([*head, *tail, *new_messages]) <= budget:
        return Prompt(joined([*head, *tail, *new_messages]))
    budget -= sum(await message_tokens([*head, *new_messages]))
    kept, omitted, budget = await _newest_that_fit(tail, budget)
    if before is not None and before > conversation["last_paged_id"]:
        before = None
    if omitted and pages:
        omitted += conversation["paged_messages"]
    elif pages:
        read = 0
        async for page in MessagePage.backward(owner, conversation["_id"], pages, before):
            read += len(page["messages"])
            settled = [as_history(m) for m in page["messages"] if is_settled(m)]
            more, omitted, budget = await _newest_that_fit(settled, budget)
            kept = more + kept
            if omitted:
                # Of the pages before, those of a history that ends early are counted as they
                # were made: what was deleted from them since is not taken off.
                omitted += (
                    conversation["paged_messages"] - read
                    if before is None
                    else page.get("preceding", 0)
                )
                break
    if omitted:
        start = _first_question(kept)
        kept, omitted = kept[start:], omitted + start
    return Prompt(joined([*head, *kept, *new_messages]), omitted)


async def prompt_of_turn(
    owner: str,
    conversation: StoredConversation,
    turn: NewTurn,
    new: Sequence[ChatMessage],
    window_tokens: int,
    *,
    before: int | None = None,
    source: AttachedSource | None = None,
) -> Prompt:
    """Return the prompt of a turn: with its documents, its source and its new messages.

    Raises:
        DocumentNotFound: says which of `documents` are not there.
        BadRequest: the history is too long, and must not be cut.
    """
    if turn.shown is not None:
        return Prompt(turn.shown)
    documents = await context_documents(owner, conversation, turn.documents)
    documents, append = once(conversation["system_prompt"], documents, turn.system_prompt_append)
    # What changes least comes first: providers cache the part that stays the same.
    context = (document_context(documents), source.text if source else "", append)
    prompt = await build_prompt(
        owner,
        conversation,
        system_context="\n\n".join(part for part in context if part),
        new_messages=[new_as_history(message) for message in new],
        window_tokens=window_tokens,
        before=before,
    )
    if prompt.omitted_messages and not turn.truncates:
        raise BadRequest(
            "The conversation is longer than the model's window; send truncation: auto "
            "to leave its beginning out",
            code="context_length_exceeded",
            param="truncation",
        )
    return prompt


def _first_question(history: list[dict[str, Any]]) -> int:
    """Where a cut history may begin: at a question, not in the middle of an answer."""
    questions = (index for index, each in enumerate(history) if each["role"] == "user")
    return next(questions, len(history))


async def _newest_that_fit(
    messages: list[dict[str, Any]], budget: int
) -> tuple[list[dict[str, Any]], int, int]:
    """Return the newest messages within `budget` tokens, how many are left out, what is left."""
    start = len(messages)
    costs = await message_tokens(messages)
    while start and costs[start - 1] <= budget:
        start -= 1
        budget -= costs[start]
    return messages[start:], start, budget


def _most_tokens(messages: list[dict[str, Any]]) -> int:
    """More tokens than messages can have, known without counting: a token is at least a byte."""
    return sum(len(_text_of(m).encode()) + MESSAGE_OVERHEAD_TOKENS for m in messages)


def _text_of(message: dict[str, Any]) -> str:
    calls = message.get("tool_calls")
    return text_of(message.get("content")) + (str(calls) if calls else "")


async def message_tokens(messages: list[dict[str, Any]]) -> list[int]:
    """Count the tokens of each message, its role and separators included."""
    counts = await token_counts(map(_text_of, messages))
    return [MESSAGE_OVERHEAD_TOKENS + count for count in counts]


def once(
    prompt: str, documents: Sequence[StoredPlanDocument], append: str
) -> tuple[list[StoredPlanDocument], str]:
    """Leave out what is in the prompt already, whole; some clients send documents twice."""
    if append and append in prompt:
        append = ""
    there = prompt, append
    left = [
        document
        for document in documents
        if not (text := document["content"].strip()) or not any(text in part for part in there)
    ]
    return left, append


def document_context(documents: Sequence[StoredPlanDocument]) -> str:
    """Return what extends the system prompt of a call that takes documents along.

    Empty without any.

    The same documents give the same bytes, so that providers can cache the prompt. A closing
    tag inside a content does not end the document: its own tag gets a longer name then.
    """
    parts = []
    for document in documents:
        content, tag = document["content"], "document"
        while f"</{tag}" in content:
            tag += "_"
        name = document["filename"].replace("&", "&amp;").replace('"', "&quot;")
        parts.append(f'<{tag} name="{name}" version="{document["version"]}">\n{content}\n</{tag}>')
    if not parts:
        return ""
    return "\n\n".join(["以下是随本次对话提供的参考文档（Reference documents）：", *parts])
