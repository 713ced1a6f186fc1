"""How a reply ends otherwise than well."""

from typing import Literal

from proxy.errors import NotFound, Unavailable, UpstreamError

EndReason = Literal["stopped", "deleted", "shutdown", "too_long"]
"""Why a reply was ended from this side."""


class ReplyTruncated(UpstreamError):
    """The upstream's stream ended without saying that the reply was complete."""

    type = "truncated"
    message = "The provider ended the reply early; what arrived is stored"


class ReplyInterrupted(Unavailable):
    """The server stops."""

    type = "interrupted"
    message = "The server is stopping; the text so far is stored"


class ReplyDeleted(NotFound):
    """Somebody deleted the conversation or the message while the reply was written."""

    type = "deleted"
    message = "The message was deleted while the reply was being written"
