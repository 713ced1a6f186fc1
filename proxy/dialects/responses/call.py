"""A call of `/v1/responses`: what it asks for, as a turn of the engine and as parameters."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from proxy.dialects.responses.ids import PREVIOUS, ResponseId, conversation_key, read_response_id
from proxy.dialects.responses.input import Input, Unseal, read_input
from proxy.dialects.responses.items import LOGPROBS
from proxy.dialects.responses.shapes import ECHOED, Request, kept_of
from proxy.dialects.responses.tools import Tools, read_tools
from proxy.documents.base import Raw
from proxy.documents.storable import check_text
from proxy.errors import ProxyError
from proxy.schemas.completions import wrong

_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty")

_NATIVE_ONLY = (
    "context_management",
    "service_tier",
    "moderation",
    "access_programs",
    "top_logprobs",
    "max_tool_calls",
    "image",
)
"""What a chat upstream is not asked for; it is named to the client, and the call goes on."""

_KNOWN = frozenset(ECHOED) | {
    *("input", "model", "stream", "stream_options", "include", "conversation"),
    *("prompt_cache_retention", "prompt_cache_options"),
}
"""Fields of a call that have a meaning here, or none for the answer."""

_NAME = re.compile(r"[^\w.-]", re.A)
"""What of a name that a client chose does not stand in a header."""

_NOT_NATIVE = frozenset(
    {"input", "instructions", "model", "stream", "stream_options", "store", "background"}
    | {"conversation", "previous_response_id", "metadata", "prompt"}
)
"""What an upstream that speaks Responses gets otherwise, or not at all: the store is here."""

_OWN_NAMES = {
    "messages": "input",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "reasoning_effort": "reasoning.effort",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "logprobs": "include",
}
"""What a client calls the parameters that a chat upstream refuses."""


def in_own_names(error: ProxyError) -> ProxyError:
    """Return an error that names the field that its client sent, not what became of it."""
    name = _OWN_NAMES.get(error.param or "")
    if name is not None:
        error.detail = error.detail.replace(f"'{error.param}'", f"'{name}'")
        error.param = name
    return error


@dataclass(frozen=True, slots=True)
class Call:
    """One call, read and checked; `previous` and `conversation_id` name where it goes on."""

    body: Raw
    input: Input
    tools: Tools
    previous: ResponseId | None = None
    conversation_id: str = ""
    kept: Raw = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    """What no provider of the model knows; the client is told."""

    @property
    def model(self) -> str:
        """The model that it names; empty for the default one."""
        return self.body.get("model") or ""

    @property
    def is_stored(self) -> bool:
        """Whether anything of it is kept."""
        return self.body.get("store") is not False

    @property
    def instructions(self) -> str:
        """System text of this call alone."""
        return self.body.get("instructions") or ""

    @property
    def truncates(self) -> bool:
        """Whether a history that is too long may lose its beginning."""
        return self.body.get("truncation") == "auto"

    @property
    def request(self) -> Request:
        """What its response repeats of it."""
        return Request(self.kept)

    @property
    def ignored(self) -> list[str]:
        """What an upstream that knows chat completions alone does not get, each named once."""
        fields = [name for name in self.body if name in _NATIVE_ONLY or name not in _KNOWN]
        fields = [name for name in fields if self.body[name]]
        if self.wants_logprobs:
            fields = [name for name in fields if name != "top_logprobs"]
        named = (*self.tools.ignored, *self.input.ignored, *fields, *self.left_out)
        return list(dict.fromkeys(_NAME.sub("?", name[:64]) for name in named))

    @property
    def has_verbosity(self) -> bool:
        """Whether it says how much the model should say."""
        return bool((self.body.get("text") or {}).get("verbosity"))

    def without_verbosity(self) -> "Call":
        """Return the same without it: Codex sends it by a model's name, whoever answers for it."""
        text = {key: each for key, each in self.body["text"].items() if key != "verbosity"}
        left_out = (*self.left_out, "text.verbosity")
        return replace(self, body={**self.body, "text": text}, left_out=left_out)

    @property
    def includes(self) -> Sequence[str]:
        """What it wants to get besides what is usual."""
        return self.body.get("include") or ()

    @property
    def wants_logprobs(self) -> bool:
        """Whether it wants the log probabilities of the text's tokens."""
        return LOGPROBS in self.includes

    def without_logprobs(self) -> "Call":
        """Return the same without them: Poe's bots have none."""
        include = [each for each in self.body["include"] if each != LOGPROBS]
        body = {**self.body, "include": include}
        return replace(self, body=body, left_out=(*self.left_out, LOGPROBS))

    def ignored_by(self, *, is_native: bool) -> list[str]:
        """Return what an upstream did not get, each named once."""
        if not is_native:
            return self.ignored
        return list(dict.fromkeys(self.input.ignored))

    def native_parameters(self) -> Raw:
        """Return the parameters as an upstream takes them that speaks Responses."""
        body = self.body
        return {
            key: value
            for key, value in body.items()
            if key not in _NOT_NATIVE and value is not None
        }

    def parameters(self) -> Raw:
        """Return the parameters of a chat completion that ask for the same."""
        body, tools = self.body, self.tools
        asked: Raw = {name: body[name] for name in _SAMPLING if body.get(name) is not None}
        if tools.functions:
            asked["tools"] = tools.functions
            if tools.choice is not None:
                asked["tool_choice"] = tools.choice
            if body.get("parallel_tool_calls") is not None:
                asked["parallel_tool_calls"] = body["parallel_tool_calls"]
        if body.get("max_output_tokens"):
            asked["max_completion_tokens"] = body["max_output_tokens"]
        if effort := (body.get("reasoning") or {}).get("effort"):
            asked["reasoning_effort"] = effort
        text = body.get("text") or {}
        if text.get("verbosity"):
            asked["verbosity"] = text["verbosity"]
        if (format_ := _response_format(text.get("format"))) is not None:
            asked["response_format"] = format_
        if self.wants_logprobs:
            asked["logprobs"] = True
            if body.get("top_logprobs"):
                asked["top_logprobs"] = body["top_logprobs"]
        return asked


def read_call(body: Raw, unseal: Unseal | None = None) -> Call:
    """Read a checked body.

    Raises:
        BadRequest: names the field that is wrong, or that does not go with another.
        NotFound: `previous_response_id` is none of ours.
    """
    try:
        check_text({key: body[key] for key in body.keys() - {"input", "tools"}})
    except ValueError as error:
        raise wrong("body", str(error)) from None
    conversation_id = _conversation(body.get("conversation"))
    previous = body.get("previous_response_id") or ""
    if previous and conversation_id:
        raise wrong("previous_response_id", "does not go with conversation; leave one of them out")
    if body.get("store") is False:
        for name in ("background", "conversation"):
            if body.get(name):
                raise wrong(name, "needs store, which is false here; leave one of them out")
    if body.get("prompt"):
        raise wrong("prompt", "there are no stored prompts here; send instructions and input")
    _response_format((body.get("text") or {}).get("format"))
    return Call(
        body,
        read_input(body.get("input") or [], unseal),
        read_tools(body),
        read_response_id(previous, param=PREVIOUS) if previous else None,
        conversation_id,
        kept_of(body),
    )


def _conversation(given: Any) -> str:
    if isinstance(given, dict):
        given = given.get("id")
        if not given:
            raise wrong("conversation.id", "must be the id of a conversation")
    if given in (None, ""):
        return ""
    if not isinstance(given, str) or len(given) > 100:
        raise wrong("conversation", "must be the id of a conversation")
    return conversation_key(given)


def _response_format(format_: Any) -> Raw | None:
    """Return `text.format` as chat's `response_format`; None for plain text."""
    if format_ is None:
        return None
    kind = format_.get("type") if isinstance(format_, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "json_object"}
    if kind == "json_schema":
        keys = ("name", "schema", "strict", "description")
        schema = {key: format_[key] for key in keys if format_.get(key) is not None}
        if not isinstance(schema.get("schema"), dict) or not isinstance(schema.get("name"), str):
            raise wrong("text.format", "a json_schema must have a name and a schema")
        return {"type": "json_schema", "json_schema": schema}
    raise wrong("text.format.type", "must be text, json_object or json_schema")
