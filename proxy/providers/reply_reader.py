"""An upstream's answer in OpenAI's protocol, read as deltas: a stream or one JSON body.

Source: https://platform.openai.com/docs/api-reference/chat/streaming, and what servers that
speak it send besides: `reasoning_content` (DeepSeek, vLLM) or `reasoning` (OpenRouter, Ollama),
lists of parts (Mistral), `images` (OpenRouter), `citations` (Perplexity), `x_groq.usage`.

One odd frame costs one frame. The end is judged once, here, for everybody who reads.
"""

from typing import Any

import orjson

from proxy.errors import UpstreamError
from proxy.providers.base import Delta, Usage
from proxy.providers.faults import Faults
from proxy.providers.logprobs import tokens_in
from proxy.providers.message_keys import MessageKeys, texts_of
from proxy.providers.think_tags import ThinkTags
from proxy.providers.token_usage import usage_of
from proxy.providers.tool_calls import ToolCalls
from proxy.sse import JSONFrames, SSEDecoder

MAX_JSON_BYTES = 64 * 1024 * 1024
"""The longest JSON body that is read."""

BENIGN = frozenset(
    {"", "stop", "end", "end_turn", "eos", "eos_token", "length", "max_tokens", "tool_calls"}
    | {"tool_use", "function_call", "stop_sequence", "completed", "complete", "done", "finish"}
    | {"normal", "success"}
)
"""Native finish reasons that are no failure of an empty reply."""

_BESIDE_CHOICES = frozenset(
    {"usage", "x_groq", "usageMetadata", "citations", "search_results", "error"}
)
"""Keys of a frame that say something, and that most frames do not have."""

_BESIDE_DELTA = frozenset({"message", "text", "usage", "native_finish_reason"})
"""The same of a choice."""

_BESIDE_TEXT = _BESIDE_DELTA | {"error"}
"""What a choice says beside a mere text."""


class ReplyReader:
    """Reads one answer, one pass per network read; raises nothing on what it holds.

    `is_stream` is known after the first bytes, by what they are and not by their label (None
    until then). `done` is set once the answer is over. `error` is set by a frame that says that
    the model failed, or by an answer that is none; what came before it is still given. Only the
    first choice (`index` 0) is read. `ignored` counts frames that could not be read.
    """

    def __init__(
        self, faults: Faults, model: str = "", *, think_tags: bool = False, logprobs: bool = False
    ) -> None:
        self.is_stream: bool | None = None
        self.done = False
        self.error: UpstreamError | None = None
        self.finish_reason: str | None = None
        self.ignored = 0
        self.has_begun = False
        """Whether anything of the reply itself has come."""
        self._faults = faults
        self._model = model
        self._decoder = SSEDecoder()
        self._frames = JSONFrames()
        self._think = ThinkTags() if think_tags else None
        self._calls = ToolCalls(self._frames)
        self._keys = MessageKeys(self._calls)
        self._wants_logprobs = logprobs
        self._logprobs: list[dict[str, Any]] = []
        self._head: list[bytes] = []
        self._head_bytes = 0
        self._after_line = False
        self._whole_text = ""
        self._by_deltas = False
        self._counted: dict[str, Any] = {}
        self._native_reason = ""
        self._read_a_frame = False
        # Of this read:
        self._usage: Usage | None = None
        self._reason: str | None = None

    def feed(self, data: bytes) -> Delta | None:
        """Return what these bytes amount to; None where they hold nothing of the reply."""
        if self.done or self.error is not None:
            return None
        if not self.is_stream:
            data = self._begin(data)
            if not data:
                return None
        if self._after_line and data[:5] == b"data:":
            data = b"\n" + data
        self._after_line = data[-2:] == b"}\n"
        try:
            frames = self._decoder.whole_frames(data)
            if frames is not None:
                for payload in frames:
                    self._take("", payload)
                    if self.done or self.error is not None:
                        break
            else:
                # Some write single line ends between frames; JSON never holds a bare one.
                data = data.replace(b"}\ndata:", b"}\n\ndata:")
                for name, payload in self._decoder.feed_events(data):
                    self._take(name, payload)
                    if self.done or self.error is not None:
                        break
        except ValueError:
            self.error = self._faults.unreadable()
        return self._delta()

    def end(self) -> Delta | None:
        """Return what was still open when the bytes ended, and judge the end."""
        if self.done or self.error is not None:
            return None
        if self.is_stream:
            delta = self.feed(b"\n\n")
            self._judge()
        elif not self._head_bytes:
            return None
        else:
            delta = self._read_body(b"".join(self._head))
        return _sum(delta, self._delta())

    # What it is

    def _begin(self, data: bytes) -> bytes:
        """Tell by the first bytes whether this is a stream; return what to read as one."""
        self._head.append(data)
        self._head_bytes += len(data)
        if self.is_stream is None:
            head = b"".join(self._head)
            start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
            if not start:
                return b""
            if start in b"{[":
                self.is_stream = False
            elif start == b"<":
                self.is_stream = False
                self.error = self._faults.unreadable()
            else:
                self.is_stream = True
                self._head.clear()
                return head
        if self._head_bytes > MAX_JSON_BYTES:
            self.error = self._faults.unreadable()
        return b""

    # Frames

    def _take(self, name: str, payload: bytes) -> None:
        if payload[:6] == b"[DONE]" or (name == "done" and not payload):
            self._judge(is_done=True)
            return
        try:
            frame = orjson.loads(payload)
        except orjson.JSONDecodeError:
            frame = self._odd(name, payload)
            if frame is None:
                return
        if text := _usual_text(frame):
            self._keys.texts.append(text)
            self._by_deltas = self._read_a_frame = True
        elif type(frame) is dict:
            self._frame(frame, name)
        elif type(frame) is list and frame and isinstance(frame[0], dict):
            self._frame(frame[0], name)
        else:
            self.ignored += 1

    def _odd(self, name: str, payload: bytes) -> Any:
        """Read a frame that is not clean JSON; None where nothing is left of it."""
        try:
            return self._frames.loads(payload)
        except ValueError:
            pass
        if b"\n" in payload:
            for line in payload.split(b"\n"):
                if line.strip() and not self.done and self.error is None:
                    self._take(name, line)
            return None
        text = payload.decode("utf-8", "replace").strip()
        if name == "error" or text[:6].lower() in ("error:", "error "):
            self.error = self._faults.in_band(text[6:].strip() or text, self._model)
        elif text:
            self.ignored += 1
        return None

    def _frame(self, frame: dict[str, Any], name: str = "") -> None:
        choices = frame.get("choices")
        choice = choices[0] if type(choices) is list and choices else None
        if type(choice) is dict:
            if not (type(choice.get("index")) is int and choice["index"]):
                self._choice(choice, frame)
        elif choices:
            self.ignored += 1
            return
        elif name == "error" or _is_failure(frame):
            self.error = self._faults.in_band(frame.get("error") or frame, self._model)
            return
        self._read_a_frame = True
        if _BESIDE_CHOICES.isdisjoint(frame):
            return
        if counted := frame.get("usage"):
            self._count(counted)
        elif type(groq := frame.get("x_groq")) is dict:
            self._count(groq.get("usage"))
        elif type(gemini := frame.get("usageMetadata")) is dict:
            self._count(gemini)
        for key in ("citations", "search_results"):
            if value := frame.get(key):
                self._keys.put(key, value)
        if (error := frame.get("error")) and self.error is None:
            self.error = self._faults.in_band(error, self._model)

    def _choice(self, choice: dict[str, Any], frame: dict[str, Any]) -> None:
        delta = choice.get("delta")
        if type(delta) is dict:
            self._keys.take(delta)
        elif type(delta) is str:
            self._keys.texts.append(delta)
        if delta and not self._by_deltas:
            self._by_deltas = self._keys.says_something
        if not _BESIDE_DELTA.isdisjoint(choice):
            self._beside_delta(choice, has_delta=bool(delta))
        if self._wants_logprobs and type(told := choice.get("logprobs")) is dict:
            self._logprobs += tokens_in(told.get("content"))
        reason = choice.get("finish_reason")
        if reason and type(reason) is str:
            if reason.lower() == "error":
                error = choice.get("error") or frame.get("error") or self._native_reason or {}
                self.error = self._faults.in_band(error, self._model)
            else:
                self._reason = self.finish_reason = reason[:100]
        elif "error" in choice and (error := choice["error"]):
            self.error = self._faults.in_band(error, self._model)

    def _beside_delta(self, choice: dict[str, Any], *, has_delta: bool) -> None:
        message = choice.get("message")
        if type(message) is dict:
            self._message(message)
        elif type(text := choice.get("text")) is str and not has_delta:
            self._keys.texts.append(text)
        if counted := choice.get("usage"):
            # Moonshot counts inside the choice.
            self._count(counted)
        if type(native := choice.get("native_finish_reason")) is str:
            self._native_reason = native

    def _message(self, message: dict[str, Any]) -> None:
        """Take a whole message inside a frame: what of it was not told yet."""
        if self._by_deltas:
            return
        text = texts_of(message.get("content"))
        if self._whole_text and text.startswith(self._whole_text):
            message = {**message, "content": text[len(self._whole_text) :]}
            self._whole_text = text
        else:
            self._whole_text += text
        if len(self._calls):
            message = {**message, "tool_calls": None}
        self._keys.take(message)

    def _count(self, counted: Any) -> None:
        """Merge what was counted: some tell the prompt first and the rest at the end."""
        if type(counted) is dict:
            self._counted |= {key: each for key, each in counted.items() if each is not None}
            self._usage = usage_of(self._counted) or self._usage

    def _read_body(self, body: bytes) -> Delta | None:
        """Read one JSON body; whole, it is an end, whatever its finish reason says."""
        try:
            found = self._frames.loads(body)
        except ValueError:
            self.error = self._faults.unreadable()
            return None
        if type(found) is list and found:
            found = found[0]
        if type(found) is not dict:
            self.error = self._faults.unreadable()
            return None
        choices = found.get("choices")
        choice = choices[0] if type(choices) is list and choices else None
        if choice is not None or found.get("error") or _is_failure(found):
            self._frame(found)
        if self.error is None and not (type(choice) is dict and _has_answer(choice)):
            self.error = self._faults.unreadable()
        delta = self._delta()
        self._judge(is_done=True)
        return delta

    # The end

    def _judge(self, *, is_done: bool = False) -> None:
        """Decide how the reply ended; a stream without finish reason or `[DONE]` was cut."""
        if self.error is not None:
            return
        ended = is_done or self.finish_reason is not None
        if self.ignored and not self._read_a_frame:
            self.error = self._faults.unreadable()
        elif ended and self._says_nothing() and self._native_reason.lower() not in BENIGN:
            # Its own reason is a label like MALFORMED_FUNCTION_CALL.
            self.error = self._faults.in_band({"message": self._native_reason}, self._model)
        elif is_done and self.finish_reason is None:
            self._reason = self.finish_reason = "tool_calls" if len(self._calls) else "stop"
        self.done = self.done or ended or self.error is not None

    def _says_nothing(self) -> bool:
        return not (self.has_begun or self._keys.says_something)

    def _delta(self) -> Delta | None:
        keys = self._keys
        text = "".join(keys.texts)
        if "\x00" in text:
            text = text.replace("\x00", "")
        text = self._frames.text(text)
        think = self._think
        if (
            text
            and keys.has_only_texts
            and (think is None or think.is_over)
            and not (self._usage or self._reason or self._logprobs)
        ):
            # By far the most reads.
            keys.texts.clear()
            self.has_begun = True
            return Delta(text)
        reasoning = self._frames.text("".join(keys.thoughts).replace("\x00", ""), "reasoning")
        is_over = self.done or self.error is not None
        if think is not None:
            text, thought = think.feed(text)
            if is_over:
                rest, more = think.end()
                text, thought = text + rest, thought + more
            reasoning += thought
        calls, parts, extra = keys.give()
        if calls or parts or extra:
            calls, parts = self._frames.rest(calls), self._frames.rest(parts)
            extra = self._frames.rest(extra)
        usage, self._usage = self._usage, None
        reason, self._reason = self._reason, None
        logprobs, self._logprobs = self._logprobs, []
        if not (text or reasoning or calls or reason or usage or parts or extra or logprobs):
            return None
        self.has_begun = self.has_begun or bool(text or reasoning or calls or parts)
        return Delta(
            text,
            reasoning,
            False,
            tuple(calls),
            reason,
            usage,
            tuple(parts),
            extra or None,
            keys.names if (reasoning or parts) else None,
            logprobs=tuple(logprobs),
        )


def _usual_text(frame: Any) -> str | None:
    """Return the text of a frame that says nothing else; None of one that has to be read."""
    try:
        (choice,) = frame["choices"]
        delta = choice["delta"]
        text = delta["content"]
        if (
            type(text) is str
            and len(delta) == 1
            and not choice.get("finish_reason")
            and not choice.get("logprobs")
            and choice.get("index", 0) == 0
            and _BESIDE_TEXT.isdisjoint(choice)
            and _BESIDE_CHOICES.isdisjoint(frame)
        ):
            return text
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    return None


def usual_body(raw: bytes) -> Usage | None:
    """Return the usage of a JSON body that is a plain answer; None of one that has to be read."""
    try:
        body = orjson.loads(raw)
        (choice,) = body["choices"]
        said = choice["message"]["content"] if "message" in choice else choice["text"]
        reason = choice["finish_reason"]
        is_plain = type(said) is str and said and type(reason) is str and reason.lower() != "error"
        if not is_plain or "error" in body or "error" in choice or choice.get("index"):
            return None
        return usage_of(body["usage"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _is_failure(frame: dict[str, Any]) -> bool:
    """Whether a frame without choices says that something failed: in any of the usual shapes."""
    if frame.get("object") == "error" or frame.get("type") == "error" or frame.get("detail"):
        return True
    return isinstance(frame.get("message"), str) and bool(frame.get("code") or frame.get("type"))


def _has_answer(choice: dict[str, Any]) -> bool:
    return any(type(choice.get(key)) in (dict, str) for key in ("message", "delta", "text"))


def _sum(first: Delta | None, second: Delta | None) -> Delta | None:
    if first is None or second is None:
        return first or second
    return Delta(
        first.text + second.text,
        first.reasoning + second.reasoning,
        False,
        first.tool_calls + second.tool_calls,
        second.finish_reason or first.finish_reason,
        second.usage or first.usage,
        first.parts + second.parts,
        second.extra or first.extra,
        second.names or first.names,
        logprobs=first.logprobs + second.logprobs,
    )
