"""Examples for the OpenAPI description, made from the names and types of fields."""

from typing import Any

Schema = dict[str, Any]

REF = "#/components/schemas/"

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
    "CategoryCreate.name": "评审计划",
    "CategoryOut.name": "评审计划",
    "CategoryUpdate.name": "评审计划",
    "auto_save_category_id": 5,
    "ChatCompletion.choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello!", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "ChatCompletion.id": "chatcmpl-108",
    "ChatCompletion.usage": {"prompt_tokens": 24, "completion_tokens": 7, "total_tokens": 31},
    "ConversationOut.id": UUID,
    "DocumentGenerated.content": "# 方案\n…",
    "DocumentGenerated.source": "chat",
    "DocumentGenerated.status": "complete",
    "DocumentOut.content": "# 方案\n…",
    "DocumentUpdate.content": "# 方案\n…",
    "DocumentsDeleted.deleted": {"document_references": 1, "document_tags": 0, "plan_documents": 3},
    "DocumentsDeleted.message": "Documents deleted",
    "DocumentsMerged.merged": "--- a.md- 版本[1] 开始 ---\n…\n--- a.md- 版本[1] 结束 ---",
    "ErrorDetail.message": "Conversation not found",
    "GroupedConversation.id": UUID,
    "GroupedConversation.project_name": "后端",
    "HistoryMigrate.target_category_id": 3,
    "HistoryMigrated.message": "Migration completed",
    "HistoryMigrated.target_category_id": 3,
    "ImportFailure.message": "mapping: a message has no known author",
    "ProjectCreate.name": "后端",
    "ProjectOut.name": "后端",
    "ProjectUpdate.name": "后端",
    "provenance": {
        "conversation_id": UUID,
        "message_ids": [106, 107],
        "message_revisions": [0, 0],
        "category_id": 2,
        "model": "gpt-4o-mini",
        "provider": "openai",
    },
    "ReferenceOut.conversation_id": None,
    "ReferencesChanged.message": "References updated",
    "related_log_id": None,
    "StreamStopped.message": "Stream stopped",
    "TagAdded.message": "Tag added",
    "TagRemoved.message": "Tag removed",
    "TagsUpdated.added": {"requested": 2, "added": 1, "duplicates": 1},
    "TagsUpdated.message": "Tags updated",
    "TagsUpdated.removed": {"requested": 1, "removed": 1},
    "VersionMigrate.target_category_id": 3,
}
"""What a field of this name looks like in an example, or of one schema only (`Schema.field`)."""


def example_of(name: str, schemas: dict[str, Schema]) -> Any:
    """Return an example of the schema of this name, field by field."""
    return {
        key: EXAMPLES[f"{name}.{key}"]
        if f"{name}.{key}" in EXAMPLES
        else _value(key, field, schemas)
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
        return example_of(schema["$ref"].removeprefix(REF), schemas)
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
