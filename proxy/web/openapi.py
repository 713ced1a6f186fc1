"""The OpenAPI description: tags in the order a newcomer needs, and how each call can fail."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from proxy.errors import (
    AddressTooLong,
    BadRequest,
    Conflict,
    Forbidden,
    HeadTooLarge,
    ModelNotFound,
    NotFound,
    ProxyError,
    RequestTimedOut,
    StorageUnavailable,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unprocessable,
    UnsupportedMediaType,
    UpstreamOutOfCredit,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.schemas.common import ErrorBody

Schema = dict[str, Any]

REF = "#/components/schemas/"

TAGS = {
    "Conversations": "The memory: what was said, kept on the server.",
    "Messages": "Send a message, get or stream the reply; edit, delete, stop, resume.",
    "Chat completions": "OpenAI's API, stateless or with a conversation's memory.",
    "Responses": "OpenAI's present API, on the same conversations.",
    "Items": "OpenAI's Conversations: the same ones, as items.",
    "Pass-through": "OpenAI's other endpoints, as the provider of the model serves them.",
    "Models": "What the configured providers offer.",
    "Export and import": "A conversation as a file, and back.",
    "Projects": "Labels of conversations, with a name and a source directory.",
    "Plan categories": "Prompt templates that plan documents are made with.",
    "Plan documents": "Versioned documents; nothing is overwritten.",
    "References": "Documents that a project's or a conversation's calls take along.",
    "Search": "Words in everything that is stored, right in Chinese.",
    "Usage": "Requests, tokens, points and cost.",
    "Keys": "Who may use this server.",
    "Log-in": "For web clients that send no key.",
    "Service": "Is it there, is it well?",
}
"""Tags and what they say, in the order of the page."""

INTRO = """
Two ways in, one memory:

- **The server remembers.** `POST /v1/chat/conversations` gives a `conversation_id`; each
  `POST /v1/chat/conversations/{id}/messages` sends only what is new and answers with the reply,
  whole or as server-sent events (`"stream": true`).
- **Any OpenAI client.** Point it at `/v1`; with `"conversation": "<id>"` in the body of
  `POST /v1/chat/completions` it has the same memory.

A null or an empty filter counts as absent. Times are UTC; one without a zone is taken for UTC.
Every failure has a sentence for a person in `detail` and OpenAI's object in `error`; the header
`X-Request-Id` names the request in the server's log.
"""
"""What a newcomer reads first."""

ERRORS: dict[str, tuple[str, ProxyError]] = {
    "400": ("The request cannot be read", BadRequest("The request body is not valid JSON")),
    "401": ("No valid key", Unauthorized(code="invalid_api_key")),
    "403": (
        "The key does not allow it, or a page of another origin asks",
        Forbidden("This key lacks the scope 'plan'", code="missing_scope"),
    ),
    "404": ("Not found", NotFound()),
    "409": (
        "Does not fit the present state",
        Conflict(
            "There is already a project named '后端'; choose another name",
            param="name",
        ),
    ),
    "413": ("Too large", TooLarge()),
    "414": ("The address is too long", AddressTooLong()),
    "415": ("The body is not JSON", UnsupportedMediaType()),
    "422": (
        "The request is not valid",
        Unprocessable(
            "content: must not be empty",
            param="content",
            extra={
                "errors": [
                    {"loc": ["body", "content"], "msg": "must not be empty", "type": "value_error"}
                ]
            },
        ),
    ),
    "429": ("Too many requests", TooManyRequests()),
    "431": ("The headers are too large", HeadTooLarge()),
    "503": ("The database or the server is not ready", StorageUnavailable()),
}
"""What every route below `/v1` can answer, with an example. Said here and not as the routes'
`responses`: FastAPI would make ten response models for each of them, at every start."""

OWN_ERRORS: dict[str, ProxyError] = {
    "402": UpstreamOutOfCredit(),
    "408": RequestTimedOut(),
    "502": UpstreamUnreachable(),
    "504": UpstreamTimeout(),
}
"""Examples of what only some routes answer; those say it themselves."""

PASSED_ON = ("completions", "embeddings", "moderations", "images", "audio")

NOT_FOUND: tuple[tuple[str, ProxyError], ...] = (
    ("/v1/chat/completions", ModelNotFound()),
    ("/v1/chat/conversations", NotFound("Conversation not found")),
    ("/v1/chat/stop-stream", NotFound("Stream session not found")),
    ("/v1/chat/messages", NotFound("Message not found")),
    *((f"/v1/{path}", ModelNotFound()) for path in PASSED_ON),
    ("/v1/models", ModelNotFound()),
    ("/v1/projects", NotFound("Project not found")),
    ("/v1/plan/categories", NotFound("Category not found")),
    ("/v1/plan/documents", NotFound("Document not found")),
)
"""The example of a 404 below a path."""


def describe(app: FastAPI) -> None:
    """Give the application its OpenAPI description, made at the first look at it."""

    def openapi() -> Schema:
        if app.openapi_schema is None:
            app.openapi_schema = _description(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _description(app: FastAPI) -> Schema:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=INTRO,
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )
    components = document.setdefault("components", {})
    schemas: dict[str, Schema] = components.get("schemas", {})
    _add_errors(document["paths"], schemas)
    components["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key of PROXY_API_KEYS or of `proxy keys create`; "
            "without any, this machine needs none",
        }
    }
    document["security"] = [{"key": []}, {}]
    return document


def _add_errors(paths: dict[str, Any], schemas: dict[str, Schema]) -> None:
    """Say of every route how it fails; FastAPI's own shape of a 422 is never sent."""
    body = ErrorBody.model_json_schema(ref_template=REF + "{model}")
    schemas |= {**body.pop("$defs"), "ErrorBody": body}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, operations in paths.items():
        if path.startswith("/v1/"):
            examples = {status: example for status, (_, example) in ERRORS.items()} | OWN_ERRORS
            found = (example for below, example in NOT_FOUND if path.startswith(below))
            examples["404"] = next(found, examples["404"])
            for operation in operations.values():
                responses = operation["responses"]
                responses.pop("422", None)
                for status, (text, _) in ERRORS.items():
                    responses.setdefault(status, {"description": text})
                for status in responses.keys() & examples.keys():
                    responses[status]["content"] = {
                        "application/json": {
                            "schema": {"$ref": f"{REF}ErrorBody"},
                            "example": examples[status].body(),
                        }
                    }
                operation["responses"] = dict(sorted(responses.items()))
