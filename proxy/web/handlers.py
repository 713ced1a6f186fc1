"""Every failure as `{"detail": "<sentence>", "error": {…}}`."""

import logging
import math
import re
import traceback
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pymongo.errors import PyMongoError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from proxy.documents.base import is_too_large
from proxy.errors import (
    BadRequest,
    ProxyError,
    StorageUnavailable,
    TooLarge,
    TooManyRequests,
    Unprocessable,
    UnsupportedMediaType,
)
from proxy.metrics import LIMITED
from proxy.responses import Json
from proxy.schemas.common import HALF_A_CHARACTER, NOT_UTF8

log = logging.getLogger(__name__)

OPENAIS_OWN = re.compile(r"/v1/(responses|conversations)(/|$)")
"""Paths where a wrong value is a 400, as at OpenAI: SDKs have a class for each status."""

LENGTHS = {"too_long": ("most", "max_length"), "too_short": ("least", "min_length")}

MAX_RETRY_AFTER_SECONDS = 86_400

NO_OBJECT = ("missing", "model_attributes_type", "dict_type")
"""Of a whole body: there is none, or it is a list, a text, a number."""


def error_response(error: ProxyError) -> Json:
    """Return the answer to an error, with `Retry-After` in whole seconds where one is known."""
    headers = {}
    if isinstance(error, TooManyRequests):
        LIMITED.add((error.code or error.type,))
    if error.retry_after_seconds is not None:
        # A provider may say years, or more than a number holds.
        seconds = min(MAX_RETRY_AFTER_SECONDS, error.retry_after_seconds)
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    if "assistant_message_id" in error.extra or getattr(error, "retryable", True) is False:
        # OpenAI's SDKs ask again by themselves; that would store the turn a second time.
        headers["X-Should-Retry"] = "false"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Json(error.body(), error.status, headers=headers)


def validation_error(request: Request, error: RequestValidationError) -> BadRequest:
    """One sentence for a person, the list of fields under `errors`."""
    if any(item["loc"] == ("body",) for item in error.errors()) and not is_json(
        request.headers.get("content-type", "")
    ):
        return UnsupportedMediaType()
    fields = [
        {"loc": list(item["loc"]), "msg": _message(item), "type": item["type"]}
        for item in error.errors()
    ]
    first = fields[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    if first["type"] == "json_invalid":
        sentence = "The request body is not valid JSON"
        where = ""
    elif first["loc"] == ["body"] and first["type"] in NO_OBJECT:
        sentence = "The request body must be a JSON object"
    else:
        sentence = f"{where}: {first['msg']}" if where else f"Request: {first['msg']}"
    if OPENAIS_OWN.search(request.url.path):
        return BadRequest(sentence, param=where or None, code="invalid_value")
    return Unprocessable(sentence, param=where or None, extra={"errors": fields})


def let_go_of_body(error: RequestValidationError) -> None:
    """Drop what an error holds of a body, which the garbage collector would find much later.

    The frames that its traceback names hold the body, and one of them holds the error.
    """
    error.body = None
    failed: BaseException | None = error
    while failed is not None:
        traceback.clear_frames(failed.__traceback__)
        failed = failed.__cause__


def is_json(content_type: str) -> bool:
    """Whether a body says that it is JSON: no web page of another origin can do so unasked."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def _message(item: dict[str, Any]) -> str:
    if isinstance(item.get("input"), str) and item["type"] in LENGTHS:
        # Pydantic counts "items" of a text that has a validator of ours.
        word, name = LENGTHS[item["type"]]
        limit = item["ctx"][name]
        return f"String should have at {word} {limit} character{'' if limit == 1 else 's'}"
    if item["type"] == "string_unicode":
        return HALF_A_CHARACTER
    return str(item["msg"]).removeprefix("Value error, ")


def add_handlers(app: FastAPI) -> None:
    """Map every exception that routes raise."""

    @app.exception_handler(ProxyError)
    async def on_proxy_error(_: Request, error: ProxyError) -> Response:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(request: Request, error: RequestValidationError) -> Response:
        response = error_response(validation_error(request, error))
        let_go_of_body(error)
        return response

    @app.exception_handler(HTTPException)
    async def on_http_exception(_: Request, error: HTTPException) -> Response:
        sentence = {
            400: "The request body is not valid JSON",
            404: "There is nothing at this address; GET / lists what there is",
            405: "This address does not take this method; /docs lists which do",
        }.get(error.status_code, str(error.detail))
        if isinstance(error.__cause__, UnicodeDecodeError):
            sentence = NOT_UTF8
        mapped = BadRequest(sentence)
        body = mapped.body()
        return Json(body, error.status_code, headers=dict(error.headers or {}))

    @app.exception_handler(PyMongoError)
    async def on_database_error(request: Request, error: PyMongoError) -> Response:
        if is_too_large(error):
            return error_response(
                TooLarge("The database cannot hold a document of this size; send less at once")
            )
        log.error(
            "database error %s; request id %s",
            type(error).__name__,
            getattr(request.state, "request_id", "-"),
            exc_info=error,
        )
        return error_response(StorageUnavailable(retry_after_seconds=5))
