"""How the reply to a turn looks: the frames of `POST …/messages`, and its whole answer."""

from typing import Any

from proxy.documents.base import Raw
from proxy.documents.message import MessageFields
from proxy.errors import ProxyError
from proxy.sse import DONE, HEARTBEAT, encode
from proxy.streaming.draft import Progress
from proxy.streaming.reply import Reply, ids_of, stored_ids

FURTHER = ("omitted_messages", "suggestions")
"""Fields of a reply that its whole answer has where there is something to say."""


class MessageFormat:
    """The answer of `POST …/messages`: ids, `{"content"}`, `{"finish_reason"}`, `[DONE]`."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def first(self) -> bytes:
        """`{"user_message_id", "assistant_message_id", "conversation_id", "session_id"}`."""
        return encode(ids_of(self._reply))

    def progress(self, progress: Progress) -> bytes:
        """`{"content": "…"}`."""
        return progress_frame(progress)

    def waiting(self) -> bytes:
        """Return a comment: no reader of events sees it."""
        return HEARTBEAT

    def ending(self, error: ProxyError | None, message: MessageFields, *, differs: bool) -> bytes:
        """`{"content": "", "finish_reason": "stop"}` or `{"error": {…}}`, then `[DONE]`."""
        frame = ending_frame(
            error,
            message.get("finish_reason"),
            differs=differs,
            omitted_messages=message.get("omitted_messages", 0),
            suggestions=message.get("suggestions"),
        )
        return frame + DONE

    def whole(self, error: ProxyError | None, message: MessageFields) -> Raw:
        """`{"conversation_id", "reply", "status", …}`; a truncated reply says so in `status`.

        Raises:
            ProxyError: how it failed otherwise.
        """
        if error is not None and message.get("status") != "truncated":
            raise error
        return {
            **self.ids(),
            "reply": message["content"],
            "status": message.get("status", "complete"),
            "finish_reason": message.get("finish_reason"),
            "model": message.get("model"),
            **{key: message[key] for key in FURTHER if message.get(key)},
        }

    def ids(self) -> Raw:
        """`{"conversation_id", "user_message_id", "assistant_message_id"}`."""
        return stored_ids(self._reply)


def progress_frame(progress: Progress) -> bytes:
    """One frame: `{"content": "…"}`, with `reasoning` and `replace` where there are any."""
    frame: dict[str, Any] = {"content": progress.text}
    if progress.reasoning:
        frame["reasoning"] = progress.reasoning
    if progress.replace:
        frame["replace"] = True
    return encode(frame)


def ending_frame(
    error: ProxyError | None,
    finish_reason: str | None,
    *,
    differs: bool = False,
    omitted_messages: int = 0,
    suggestions: list[str] | None = None,
) -> bytes:
    """Return the last frame before `[DONE]`: a finish reason, or an error that is never content."""
    if error is not None:
        body = error.error()
        return encode({"error": {key: body[key] for key in ("message", "type", "code")}})
    frame: dict[str, Any] = {"content": "", "finish_reason": finish_reason or "stop"}
    if differs:
        frame["stored_text_differs"] = True
    if omitted_messages:
        frame["omitted_messages"] = omitted_messages
    if suggestions:
        frame["suggestions"] = suggestions
    return encode(frame)
