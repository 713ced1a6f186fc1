"""The OpenAPI description: tags in the order a newcomer needs, an example for every body."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from proxy.schemas.common import ErrorBody

Schema = dict[str, Any]

REF = "#/components/schemas/"

TAGS = {
    "Conversations": "The memory: what was said, kept on the server.",
    "Messages": "Send a message, get or stream the reply; edit, delete, stop, resume.",
    "Chat completions": "OpenAI's API, stateless or with a conversation's memory.",
    "Models": "What the configured providers offer.",
    "Export and import": "A conversation as a file, and back.",
    "Projects": "Labels of conversations, with a name and a source directory.",
    "Plan categories": "Prompt templates that plan documents are made with.",
    "Plan documents": "Versioned documents; nothing is overwritten.",
    "References": "Documents that a project's or a conversation's calls take along.",
    "Usage": "Requests, tokens, points and cost.",
    "Keys": "Who may use this server.",
    "Log-in": "For web clients that send no key.",
    "Service": "Is it there, is it well?",
}
"""Tags and what they say, in the order of the page."""

ERRORS = {
    "400": "The request cannot be read",
    "401": "No valid key",
    "403": "The key does not allow it, or a page of another origin asks",
    "404": "Not found",
    "409": "Does not fit the present state",
    "413": "Too large",
    "415": "The body is not JSON",
    "422": "The request is not valid",
    "429": "Too many requests",
    "503": "The database or the server is not ready",
}
"""What every route below `/v1` can answer. Said here and not as the routes' `responses`:
FastAPI would make ten response models for each of them, at every start."""

UUID = "7f9f2b1c-6a53-4c8e-9a55-0d8f0c1f5a4e"
TIME = "2026-01-31T12:00:00Z"

EXAMPLES: dict[str, Any] = {
    "add": ["设计"],
    "added": ["设计"],
    "ai_work_dir": "/srv/app",
    "assistant_message_id": 108,
    "assistance_role": "架构师",
    "by": "key",
    "category_id": 2,
    "code": None,
    "completeSourceCode": "--- main.py ---\nprint('hello')\n",
    "content": "请用Java写冒泡排序",
    "conversation_id": UUID,
    "current_references": [205],
    "detail": "Conversation not found",
    "dev_environment": "Java 21, Spring Boot 3",
    "completion_tokens": 7,
    "created": 1769860800,
    "document_content": "文档内容",
    "document_filename": "新方案设计.md",
    "document_id": 205,
    "diff": "--- v1\n+++ v2\n@@ -1 +1 @@\n-draft\n+final\n",
    "document_ids": [205, 206],
    "encoding": "utf-8",
    "error": None,
    "errors": None,
    "exclude": ["*.min.js"],
    "first_token_ms": 420,
    "etag": "9f86d081",
    "filename": "新方案设计.md",
    "finish_reason": "stop",
    "git_work_dir": "/srv/git/app",
    "group_by": "day",
    "grpc_server_address": "127.0.0.1:50051",
    "id": 107,
    "include": ["src/**"],
    "last4": "x7Qm",
    "llm_url": "http://127.0.0.1:8000/v1",
    "max_tokens": 100_000,
    "message": "Conversation updated",
    "message_ids": [106, 107],
    "message_method": "PlanGetRequest",
    "model": "gpt-4o-mini",
    "llm_model": "gpt-4o-mini",
    "summary_model": "gpt-4o-mini",
    "name": "Sorting",
    "new_filename": "新方案设计-2.md",
    "omitted_messages": None,
    "owner": "default",
    "param": None,
    "password": "correct horse battery staple",
    "path": "src/main.py",
    "prompt_template": "Write a plan for:\n{doc}\n\nEnvironment: {env}",
    "prompt_tokens": 24,
    "provider": "openai",
    "reasoning": None,
    "reference_type": "project",
    "reply": "public class BubbleSort { … }",
    "remove": ["草稿"],
    "revoked_at": None,
    "role": "user",
    "scopes": ["chat", "plan", "project"],
    "session_id": "108",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "source": "user",
    "status": 0,
    "system_prompt": "You are a helpful assistant.",
    "tag": {"id": 1, "document_id": 205, "tag_name": "设计", "created_time": TIME},
    "tag_name": "设计",
    "tags": ["设计"],
    "tokenizer": "o200k_base",
    "total_tokens": 31,
    "type": "not_found_error",
    "user": "admin",
    "userName": "admin",
    "user_message_id": 107,
}
"""What a field of this name looks like in an example."""


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
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )
    components = document.setdefault("components", {})
    schemas: dict[str, Schema] = components.get("schemas", {})
    _add_errors(document["paths"], schemas)
    for name, schema in schemas.items():
        if schema.get("type") == "object" and "examples" not in schema:
            schema["examples"] = [_example_of(name, schemas)]
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
    content = {"application/json": {"schema": {"$ref": f"{REF}ErrorBody"}}}
    for path, operations in paths.items():
        if path.startswith("/v1/"):
            for operation in operations.values():
                responses = operation["responses"]
                responses.pop("422", None)
                for status, text in ERRORS.items():
                    responses.setdefault(status, {"description": text})
                for status, response in responses.items():
                    if status >= "400":
                        response["content"] = content


def _example_of(name: str, schemas: dict[str, Schema]) -> Any:
    return {
        key: _value(key, field, schemas)
        for key, field in schemas[name].get("properties", {}).items()
    }


def _value(name: str, schema: Schema, schemas: dict[str, Schema]) -> Any:  # noqa: PLR0911
    if schema.get("examples"):
        return schema["examples"][0]
    options = [o for o in schema.get("anyOf", ()) if o.get("type") != "null"]
    if options:
        if len(options) < len(schema["anyOf"]) and EXAMPLES.get(name, name) is None:
            return None
        return _value(name, options[0], schemas)
    if "$ref" in schema:
        referred = schemas[schema["$ref"].removeprefix(REF)]
        if referred.get("examples"):
            return referred["examples"][0]
        return _example_of(schema["$ref"].removeprefix(REF), schemas)
    kind = schema.get("type")
    if kind == "array":
        known = EXAMPLES.get(name)
        if isinstance(known, list) and "$ref" not in schema["items"]:
            return known
        return [_value(name, schema["items"], schemas)]
    if "const" in schema or "enum" in schema:
        choices = schema.get("enum") or [schema["const"]]
        known = schema.get("default", EXAMPLES.get(name))
        return known if known in choices else choices[0]
    if schema.get("format") == "date-time":
        return TIME
    known = EXAMPLES.get(name)
    fitting = {"string": str, "integer": int, "object": dict, "boolean": bool, "number": float}
    if kind in fitting and isinstance(known, fitting[kind]):
        return known
    if "default" in schema and schema["default"] is not None:
        return schema["default"]
    return {"string": "…", "integer": 1, "number": 0.5, "boolean": False, "object": {}}.get(
        str(kind)
    )
