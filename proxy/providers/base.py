"""What every model provider is: messages in, a stream of deltas out."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

MAX_COUNT = 2**53
"""No count is larger: every JSON reader and the database can hold it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply; `provenance` says who counted: `reported | estimated | unknown`.

    `reported_total` is the upstream's own; what it has above the sum is reasoning.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    provenance: str = "unknown"
    details: dict[str, Any] = field(default_factory=dict)
    reported_total: int = 0

    @property
    def total_tokens(self) -> int:
        """All tokens of the reply."""
        total = max(self.reported_total, self.prompt_tokens + self.completion_tokens)
        return min(total, MAX_COUNT)


class Delta(NamedTuple):
    """What one network read of an upstream's stream amounts to.

    The first delta of a stream is empty: it says that the provider accepted the request.
    `text` is appended to the reply, or is the whole reply so far when `replace` is set.
    `reasoning` is appended to the reply's reasoning (and is that read's only, also with
    `replace`). `tool_calls` are OpenAI's tool call fragments, each with its call's own index.
    `parts` are pictures and whatever else is no text, as OpenAI's content parts; `extra` are
    further keys of the message (`annotations`, `audio`, …), whole: each replaces what was
    there; `names` says what the upstream calls its `reasoning` and its `parts`.
    `suggestions` are texts that a person might say next. `items` are what the upstream's own
    tools made, items of Responses; `encrypted` ends a stretch of reasoning with what its
    provider wants back (`<provider>:<content>`). `logprobs` are the log probabilities of the text's
    tokens, where they were asked for. Within one delta the order is reasoning,
    `encrypted`, items, text, tool calls.
    `finish_reason` and `usage` arrive at the end; a stream that ends without a finish reason
    was cut.

    A tuple, because one is made per network read: a frozen dataclass costs three times as much.
    """

    text: str = ""
    reasoning: str = ""
    replace: bool = False
    tool_calls: tuple[dict[str, Any], ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    parts: tuple[dict[str, Any], ...] = ()
    extra: dict[str, Any] | None = None
    names: dict[str, str] | None = None
    suggestions: tuple[str, ...] = ()
    items: tuple[dict[str, Any], ...] = ()
    encrypted: str = ""
    logprobs: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Accepts:
    """What a history may hold for a provider.

    `parts` are the types of content parts besides text; None is all. `alternates`: neighbours
    of one role are joined, and a question comes first.
    """

    developer_role: bool = True
    alternates: bool = False
    parts: frozenset[str] | None = None
    data_urls: bool = True
    verbosity: bool = True
    """Whether it knows the parameter, which says nothing of the task itself."""
    logprobs: bool = True
    """Whether it can be asked for log probabilities."""
    pictures_before: bool = True
    """False: pictures before the newest question are named in a line of text, those of that
    question stay, so that the provider can refuse them."""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One question to a model.

    `messages` are OpenAI chat messages (`{"role", "content", …}`), system prompt first.
    `parameters` are further parameters of OpenAI's chat completion call, passed through.
    `conversation_id`, `message_id` and `user` label the call where a protocol wants it.
    `responses` are the parameters of a call of Responses, for an upstream that speaks that.
    """

    model: str
    messages: list[dict[str, Any]]
    parameters: dict[str, Any] = field(default_factory=dict)
    conversation_id: str = ""
    message_id: str = ""
    user: str = ""
    responses: dict[str, Any] | None = None


OUTPUT = "@output"
"""In a message of a history: the reply as the items of the provider that made it."""


class Provider(Protocol):
    """A source of models. Adding one is writing this class and naming its kind in the registry."""

    name: str
    """The prefix of its models and what is stored as a message's `provider`."""

    def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        """Ask the model and yield deltas as they arrive, coalesced per network read.

        One call is one request to the upstream: no retries here. Closing the iterator
        closes the upstream connection.

        Raises:
            UpstreamError: any failure, before or after the first delta.
        """
        ...

    async def list_models(self) -> list[dict[str, Any]]:
        """Return the models as OpenAI objects: `{"id", "object": "model", "created", "owned_by"}`.

        Raises:
            UpstreamError: the upstream does not answer.
        """
        ...

    async def close(self) -> None:
        """Close the connection pool."""
        ...
