"""The events of one reply in Poe's bot protocol, read as deltas.

Source: https://creator.poe.com/docs/poe-protocol-specification, and fastapi_poe for what it
leaves out (`file`, `json`, `error_type`).
"""

import re
from typing import Any

from proxy.errors import (
    ModelNotFound,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamOutOfCredit,
    UpstreamRejectedKey,
    UpstreamTooLarge,
)
from proxy.providers.base import Delta
from proxy.providers.faults import Faults
from proxy.providers.poe_thinking import Preamble
from proxy.providers.tool_calls import ToolCalls
from proxy.sse import JSONFrames, SSEDecoder

_TICK = re.compile(r"[^\n]{1,80}\(\d+s elapsed\)\s*")
"""`Thinking... (3s elapsed)`: a placeholder that Poe replaces every second, an event of its own."""

MAX_SUGGESTIONS = 10
"""Suggested replies that are kept of one reply."""

MAX_SUGGESTION_CHARACTERS = 500

_PLACEHOLDERS = ("Thinking...", "Thinking…")
"""A placeholder where the next event replaces it, text where it does not."""


class EventReader:
    """Reads the events of one stream, one pass per network read.

    `done` is set by the `done` event. `error` is set by an `error` event; what came before it
    is still given. `ignored` counts events that could not be read.
    """

    def __init__(self, faults: Faults, model: str = "") -> None:
        self.done = False
        self.error: UpstreamError | None = None
        self.ignored = 0
        self._faults = faults
        self._model = model
        self._decoder = SSEDecoder()
        self._frames = JSONFrames()
        self._tool_calls = ToolCalls(self._frames)
        self._finish_reason = ""
        self._files: list[dict[str, Any]] = []
        self._suggested = 0
        # Since the last `replace_response`:
        self._preamble = Preamble()
        self._answer: list[str] = []
        self._placeholder = ""
        self._begun = False
        # Since the beginning:
        self._sent_text = False
        self._sent_calls = False
        self._sent_tick = False
        self._reasoning: list[str] = []
        self._repeated: str | None = None
        # Of this read:
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._suggestions: list[str] = []
        self._replace = False

    def feed(self, data: bytes) -> Delta | None:
        """Return what these bytes amount to; None where they hold nothing of the reply."""
        try:
            events = self._decoder.feed_events(data)
        except ValueError:
            events = []
            self.error = self._faults.unreadable()
        for name, payload in events:
            if name == "done":
                self._check()
                self.done = self.error is None
                break
            if name in _HANDLERS:
                try:
                    event = self._frames.loads(payload)
                    if type(event) is not dict:
                        raise TypeError(name)
                    _HANDLERS[name](self, event)
                except (LookupError, TypeError, ValueError, AttributeError):
                    # One odd event costs one event.
                    self.ignored += 1
                if self.error is not None:
                    break
        if self.done or self.error is not None:
            self._flush()
        return self._delta()

    def end(self) -> Delta | None:
        """Return what was still undecided when the stream ended without `done`."""
        self._check()
        self._flush()
        return self._delta()

    def _check(self) -> None:
        """Refuse an answer of which nothing could be read."""
        said = self._sent_text or self._reasoning or self._texts or self._calls or self._files
        if self.ignored and not said and not self._sent_calls:
            self.error = self._faults.unreadable()

    def _text(self, event: dict[str, Any]) -> None:
        text = event["text"]
        if type(text) is not str:
            raise TypeError(text)
        text = self._frames.text(text)
        if not text:
            return
        if not self._begun:
            if _TICK.fullmatch(text):
                self._tick(text)
                return
            if text in _PLACEHOLDERS and not self._placeholder:
                self._placeholder = text
                return
            if self._placeholder in _PLACEHOLDERS:
                text = self._placeholder + text
            self._placeholder = ""
            self._begun = True
        self._take(text)

    def _replace_response(self, event: dict[str, Any]) -> None:
        if self._placeholder:
            self._tick(self._placeholder)
        self._preamble = Preamble()
        self._placeholder = ""
        self._begun = False
        self._answer.clear()
        self._texts.clear()
        self._replace = self._sent_text
        self._repeated = ""
        self._text(event)

    def _tick(self, text: str) -> None:
        """Keep a placeholder for the case that nothing else comes; tell the first as reasoning."""
        self._placeholder = text
        if not self._sent_tick:
            self._sent_tick = True
            self._thoughts.append(text.split(" (", 1)[0] + "\n")

    def _take(self, text: str) -> None:
        answer, thought = self._preamble.feed(text)
        if answer:
            self._texts.append(answer)
            self._answer.append(answer)
        if thought and (thought := self._new_reasoning(thought)):
            self._thoughts.append(thought)
            self._reasoning.append(thought)

    def _new_reasoning(self, thought: str) -> str:
        """Leave out the reasoning that a replaced response tells once more."""
        if self._repeated is None:
            return thought
        self._repeated += thought
        told = "".join(self._reasoning)
        if told.startswith(self._repeated):
            return ""
        again, self._repeated = self._repeated, None
        return again.removeprefix(told)

    def _json(self, event: dict[str, Any]) -> None:
        """OpenAI's chunk, the way tool calls come."""
        choices = event.get("choices")
        if not isinstance(choices, list) or not choices:
            return
        delta = choices[0].get("delta")
        delta = delta if isinstance(delta, dict) else {}
        self._calls.extend(self._tool_calls.normalize(delta.get("tool_calls")))
        if isinstance(content := delta.get("content"), str):
            self._text({"text": content})
        if isinstance(reason := choices[0].get("finish_reason"), str):
            self._finish_reason = reason

    def _file(self, event: dict[str, Any]) -> None:
        if isinstance(event["url"], str):
            self._files.append(event)

    def _suggested_reply(self, event: dict[str, Any]) -> None:
        text = self._frames.text(event["text"], "suggestion").replace("\x00", "").strip()
        if text and self._suggested < MAX_SUGGESTIONS:
            self._suggested += 1
            self._suggestions.append(text[:MAX_SUGGESTION_CHARACTERS])

    def _error(self, event: dict[str, Any]) -> None:
        self.error = self._fault(event)

    def _fault(self, event: dict[str, Any]) -> UpstreamError:
        kind = event.get("error_type")
        text = event.get("text")
        note = self._faults.safe(text) if isinstance(text, str) else ""
        if kind == "insufficient_fund":
            return UpstreamOutOfCredit()
        if kind == "user_message_too_long":
            return UpstreamTooLarge()
        if kind in ("user_caused_error", "privacy_authorization_error"):
            message = UpstreamBadRequest.message + (f": {note}" if note else "")
            return UpstreamBadRequest(message, code=kind)
        if note == "Access denied":
            return UpstreamRejectedKey()
        if re.search(r"\bbot\b.*\b(not found|does not exist)\b", note, re.I):
            return ModelNotFound(f"Poe has no bot '{self._model[:100]}'", code="model_not_found")
        return UpstreamError(retryable=event.get("allow_retry") is not False)

    def _flush(self) -> None:
        """Give what was held back: the stream has ended."""
        if rest := self._preamble.end() or ("" if self._begun else self._placeholder):
            self._texts.append(rest)
            self._answer.append(rest)
        self._placeholder = ""
        answer = "".join(self._answer) if self._files else ""
        for file in self._files:
            if file["url"] not in answer:
                link = _link(file)
                self._texts.append("\n\n" + link if answer else link)
                answer += link
        self._files.clear()

    def _delta(self) -> Delta | None:
        finish_reason = None
        if self.done and self.error is None:
            finish_reason = self._finish_reason or "stop"
        is_quiet = not (self._texts or self._thoughts or self._calls or self._replace)
        if is_quiet and not (finish_reason or self._suggestions):
            return None
        delta = Delta(
            "".join(self._texts).replace("\x00", ""),
            self._frames.text("".join(self._thoughts), "reasoning"),
            self._replace,
            tuple(self._calls),
            finish_reason,
            suggestions=tuple(self._suggestions),
        )
        self._suggestions.clear()
        if self._calls:
            self._sent_calls = True
            self._finish_reason = self._finish_reason or "tool_calls"
        self._sent_text = bool(delta.text) or (self._sent_text and not delta.replace)
        self._texts.clear()
        self._thoughts.clear()
        self._calls.clear()
        self._replace = False
        return delta


_HANDLERS = {
    "text": EventReader._text,
    "replace_response": EventReader._replace_response,
    "json": EventReader._json,
    "file": EventReader._file,
    "suggested_reply": EventReader._suggested_reply,
    "error": EventReader._error,
}


def _link(file: dict[str, Any]) -> str:
    """Return a file as Markdown: a reference that the text names, an image, or a link."""
    url = file["url"].replace(" ", "%20").replace(")", "%29")
    if isinstance(reference := file.get("inline_ref"), str) and reference:
        return f"[{reference}]: {url}"
    name = str(file.get("name") or "file").replace("[", "(").replace("]", ")")
    is_image = str(file.get("content_type", "")).startswith("image/")
    return f"{'!' if is_image else ''}[{name}]({url})"
