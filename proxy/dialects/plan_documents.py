"""How a plan document that a model writes looks on the wire."""

from proxy.dialects.messages import ending_frame, progress_frame
from proxy.documents.base import Raw
from proxy.documents.message import MessageFields
from proxy.errors import ProxyError, UpstreamProtocolError
from proxy.plans.generate import document_of
from proxy.responses import dumps
from proxy.schemas.plan import document_out
from proxy.sse import DONE, HEARTBEAT, encode
from proxy.streaming.draft import Progress
from proxy.streaming.reply import Reply


class DocumentFormat:
    """The frames of a turn, and before `[DONE]` the document: `{"content": "", "document": {…}}`.

    No message is written, so the message ids of the first frame are null; its `session_id`
    stops the model.
    """

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def first(self) -> bytes:
        """`{"user_message_id", "assistant_message_id", "conversation_id", "session_id"}`."""
        return encode(
            {
                "user_message_id": None,
                "assistant_message_id": None,
                "conversation_id": self._reply.conversation_id or None,
                "session_id": str(self._reply.message_id),
            }
        )

    def progress(self, progress: Progress) -> bytes:
        """`{"content": "…"}`."""
        return progress_frame(progress)

    def waiting(self) -> bytes:
        """Return a comment: no reader of events sees it."""
        return HEARTBEAT

    def ending(self, error: ProxyError | None, message: MessageFields, *, differs: bool) -> bytes:
        """How it ended, what was stored, `[DONE]`."""
        document = document_of(self._reply, message)
        if document is None:
            error = error or nothing_written()
        ending = ending_frame(error, message.get("finish_reason"), differs=differs)
        if document is not None:
            stored = {"content": "", "document": document_out(document)}
            ending += b"data: " + dumps(stored) + b"\n\n"
        return ending + DONE

    def whole(self, error: ProxyError | None, message: MessageFields) -> Raw:
        """Return the document, with `status` and `finish_reason` of the model's reply.

        Raises:
            ProxyError: how it failed; where a part was stored, the body carries its id.
        """
        document = document_of(self._reply, message)
        if document is None:
            raise error or nothing_written()
        if error is not None and message["status"] != "truncated":
            error.extra = {**error.extra, "document_id": document["_id"]}
            raise error
        ending = {"status": message["status"], "finish_reason": message.get("finish_reason")}
        return {**document_out(document), **ending}

    def ids(self) -> Raw:
        """Nothing: no message is written."""
        return {}


def nothing_written() -> UpstreamProtocolError:
    """Return the failure of a reply that ended well and said nothing."""
    return UpstreamProtocolError("The model answered without any text; no document was stored")
