"""Every error a client can meet, in one tree.

    ProxyError                          500  server_error
    ├── BadRequest                      400  invalid_request_error
    │   ├── Unauthorized                401  authentication_error
    │   ├── Forbidden                   403  permission_error
    │   ├── NotFound                    404  not_found_error
    │   │   └── ReplyDeleted            404  deleted
    │   ├── RequestTimedOut             408  invalid_request_error
    │   ├── Conflict                    409  conflict_error
    │   ├── TooLarge                    413  invalid_request_error
    │   ├── AddressTooLong              414  invalid_request_error
    │   ├── UnsupportedMediaType        415  invalid_request_error
    │   ├── Unprocessable               422  invalid_request_error
    │   ├── TooManyRequests             429  rate_limit_error
    │   └── HeadTooLarge                431  invalid_request_error
    ├── Unavailable                     503  service_unavailable
    │   ├── StorageUnavailable          503  storage_error
    │   └── ReplyInterrupted            503  interrupted
    └── UpstreamError                   502  upstream_error
        ├── UpstreamUnreachable         502  upstream_unreachable
        ├── UpstreamRejectedKey         502  upstream_authentication_error
        ├── UpstreamForbidden           502  upstream_permission_error
        ├── UpstreamProtocolError       502  upstream_protocol_error
        ├── UpstreamOutOfCredit         402  insufficient_quota
        ├── UpstreamRateLimited         429  rate_limit_error
        ├── UpstreamOverloaded          503  overloaded_error
        ├── UpstreamTimeout             504  upstream_timeout
        ├── UpstreamBadRequest          400  invalid_request_error
        ├── UpstreamTooLarge            413  context_length_exceeded
        ├── ModelNotFound               404  model_not_found
        └── ReplyTruncated              502  truncated

A message is one sentence a person can act on. It never holds a key, a path of the
server, a stack trace or the raw body of an upstream.
"""

from typing import Any, ClassVar


class ProxyError(Exception):
    """The base: a message for a person, a status and a type for a program.

    `usual_code` is what OpenAI's API calls it: clients look at that where one status means
    several things. `retry_after_seconds` becomes the `Retry-After` header. `extra` are further
    keys of the JSON body (for instance the ids of a message that was stored before the failure).
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    usual_code: ClassVar[str | None] = None
    message: ClassVar[str] = "Something went wrong on the server; the log has the request id"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.detail = message or self.message
        self.code = code or self.usual_code
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.extra = extra or {}
        super().__init__(self.detail)

    def error(self) -> dict[str, Any]:
        """OpenAI's error object: `{"message", "type", "code", "param"}`."""
        return {
            "message": self.detail,
            "type": self.type,
            "code": self.code,
            "param": self.param,
        }

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the answer: `{"detail": "…", "message": "…", "error": {…}}`."""
        # Clients differ in where they look for the sentence.
        return {
            "detail": self.detail,
            "message": self.detail,
            "error": self.error(),
            **self.extra,
        }


class BadRequest(ProxyError):
    """The request cannot be served as it was sent."""

    status = 400
    type = "invalid_request_error"
    message = "The request is not valid"


class Unauthorized(BadRequest):
    """No key, or one that does not open this server."""

    status = 401
    type = "authentication_error"
    message = "Send a valid key as 'Authorization: Bearer <key>'"


class Forbidden(BadRequest):
    """The key is known but may not do this."""

    status = 403
    type = "permission_error"
    message = "This key is not allowed to do that"


class NotFound(BadRequest):
    """No such thing for this caller; somebody else's thing looks exactly the same."""

    status = 404
    type = "not_found_error"
    message = "Not found"


class RequestTimedOut(BadRequest):
    """The work exceeded a limit in seconds."""

    status = 408
    message = "The request took longer than allowed"


class Conflict(BadRequest):
    """The request is right, the state of the thing is not."""

    status = 409
    type = "conflict_error"
    message = "The request does not fit the present state"


class TooLarge(BadRequest):
    """A body, message or digest over its named limit."""

    status = 413
    message = "The request is too large"


class AddressTooLong(BadRequest):
    """An address (path and query) over its named limit."""

    status = 414
    message = "The address is too long; send long texts in the body of a POST"


class UnsupportedMediaType(BadRequest):
    """A body that is not JSON where JSON is required."""

    status = 415
    message = "Send the body as JSON with 'Content-Type: application/json'"


class Unprocessable(BadRequest):
    """A payload that fails validation."""

    status = 422
    message = "The request body is not valid"


class TooManyRequests(BadRequest):
    """A limit of this server (not of an upstream) was reached."""

    status = 429
    type = "rate_limit_error"
    usual_code = "rate_limit_exceeded"
    message = "Too many requests; wait and try again"


class HeadTooLarge(BadRequest):
    """A request's headers over their named limits."""

    status = 431
    message = "The request's headers are too large; send fewer or shorter ones"


class Unavailable(ProxyError):
    """The server cannot take the request now."""

    status = 503
    type = "service_unavailable"
    message = "The server cannot take the request now; try again shortly"


class StorageUnavailable(Unavailable):
    """The database did not answer."""

    type = "storage_error"
    message = "The database does not answer; try again shortly"


class UpstreamError(ProxyError):
    """A model's provider failed.

    `retryable` says whether asking again (or asking a fallback) may help.
    """

    status = 502
    type = "upstream_error"
    message = "The model's provider failed to answer"
    retryable: bool = True

    def __init__(
        self, message: str | None = None, *, retryable: bool | None = None, **kwargs: Any
    ) -> None:
        super().__init__(message, **kwargs)
        if retryable is not None:
            self.retryable = retryable


class UpstreamUnreachable(UpstreamError):
    """No connection, or one that broke before or during the answer."""

    type = "upstream_unreachable"
    message = "The model's provider cannot be reached"


class UpstreamRejectedKey(UpstreamError):
    """401 or 403: the key that the operator configured is wrong."""

    type = "upstream_authentication_error"
    message = "The model's provider rejected this server's key; check its API key setting"
    retryable = False


class UpstreamForbidden(UpstreamError):
    """403 for a reason that is not the key: a country, a policy."""

    type = "upstream_permission_error"
    message = "The model's provider refused"
    retryable = False


class UpstreamProtocolError(UpstreamError):
    """The provider answered something that is not its protocol."""

    type = "upstream_protocol_error"
    message = "The model's provider sent an answer that cannot be read"


class UpstreamOutOfCredit(UpstreamError):
    """402: the operator's account has nothing left."""

    status = 402
    type = "insufficient_quota"
    usual_code = "insufficient_quota"
    message = "The account at the model's provider has no credit left"
    retryable = False


class UpstreamRateLimited(UpstreamError):
    """429, with the provider's `Retry-After` where it sent one."""

    status = 429
    type = "rate_limit_error"
    usual_code = "rate_limit_exceeded"
    message = "The model's provider limits the rate of requests; wait and try again"


class UpstreamOverloaded(UpstreamError):
    """529: more is asked of the provider than it can answer now."""

    status = 503
    type = "overloaded_error"
    message = "The model's provider is overloaded; wait and try again"


class UpstreamTimeout(UpstreamError):
    """Nothing arrived within the time-out in seconds."""

    status = 504
    type = "upstream_timeout"
    message = "The model's provider did not answer in time"


class UpstreamBadRequest(UpstreamError):
    """400 or 422: the provider refuses the request itself."""

    status = 400
    type = "invalid_request_error"
    message = "The model's provider refused the request"
    retryable = False


class UpstreamTooLarge(UpstreamError):
    """The prompt exceeds the model's window."""

    status = 413
    type = "context_length_exceeded"
    usual_code = "context_length_exceeded"
    message = "The conversation is longer than the model accepts"
    retryable = False


class ModelNotFound(UpstreamError):
    """No provider offers this model."""

    status = 404
    type = "model_not_found"
    usual_code = "model_not_found"
    message = "No configured provider offers this model; GET /v1/models lists what there is"
    retryable = False


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
