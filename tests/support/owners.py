"""One owner with one of everything, and the requests that name it."""

from typing import Any

import httpx

from proxy.documents.base import Owned
from tests.support.keys import bearer

MARKER = "belongs-to-mine"


UNKNOWN: dict[str, Any] = {
    "conversation_id": "00000000-0000-4000-8000-000000000000",
    "message_id": 987654321,
    "response_id": "resp_987654321_0",
    "item_id": "msg_987654321",
    "project_id": 987654322,
    "category_id": 987654323,
    "document_id": 987654324,
    "tag_name": f"{MARKER}-tag",
    "key_id": "key_00000000000000000000000000000000",
    "number": 0,
    "user_id": "nobody-of-that-id",
    "model": "no-such-model",
    "filename": f"{MARKER}.md",
}


PASSED = (
    *("embeddings", "completions", "moderations", "images/generations", "images/edits"),
    *("images/variations", "audio/speech", "audio/transcriptions", "audio/translations"),
)
"""What is passed on to a model's provider; as JSON, which the forms' routes take, too."""


def bodies(ids: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """A valid body of every route that takes one, holding these ids wherever it can."""
    conversation, document = "/v1/chat/conversations", "/v1/plan/documents"
    file = {key: ids[key] for key in ("project_id", "category_id", "filename")}
    references = {"document_ids": [ids["document_id"]]}
    return {
        ("POST", conversation): {"project_id": ids["project_id"]},
        ("PUT", conversation + "/{conversation_id}"): {"name": "taken over"},
        ("POST", conversation + "/{conversation_id}/input-tokens"): {"content": "taken over"},
        ("POST", "/v1/users"): {"name": "somebody", "password": "a long sentence"},
        ("PUT", "/v1/users/{user_id}"): {"password": "a long sentence"},
        ("POST", "/v1/search"): {"q": "x"},
        ("POST", "/v1/write-source-code"): {"root_dir": "/nowhere", "files_content": "x"},
        ("POST", conversation + "/{conversation_id}/messages"): {
            "content": "taken over",
            "documents": [ids["document_id"]],
        },
        ("POST", conversation + "/{conversation_id}/document-references"): references,
        ("DELETE", conversation + "/{conversation_id}/document-references"): references,
        ("POST", conversation + "/import"): {
            "format": "poe-openai-proxy.conversation",
            "version": 1,
            "id": ids["conversation_id"],
            "conversation": {
                "project_id": ids["project_id"],
                "created_at": "2026-01-01T00:00:00Z",
                "updated_at": "2026-01-01T00:00:00Z",
            },
            "messages": [
                {
                    "id": ids["message_id"],
                    "role": "user",
                    "content": "taken over",
                    "created_at": "2026-01-01T00:00:00Z",
                    "updated_at": "2026-01-01T00:00:00Z",
                }
            ],
        },
        ("POST", "/v1/chat/stop-stream"): {"session_id": str(ids["message_id"])},
        ("POST", "/v1/chat/messages/delete"): {"message_ids": [ids["message_id"]]},
        ("PUT", "/v1/chat/messages/{message_id}"): {"content": "taken over"},
        ("POST", "/v1/chat/messages/{message_id}/regenerate"): {},
        ("POST", "/v1/chat/completions"): {
            "model": "echo",
            "messages": [{"role": "user", "content": "taken over"}],
            "conversation": ids["conversation_id"],
        },
        **{("POST", f"/v1/{path}"): {"model": "echo", "input": "taken over"} for path in PASSED},
        ("POST", conversation + "/{conversation_id}/fork"): {"message_id": ids["message_id"]},
        ("POST", "/v1/responses"): {
            "model": "echo",
            "input": [
                {"role": "user", "content": "taken over"},
                {"type": "item_reference", "id": ids["item_id"]},
            ],
        },
        ("POST", "/v1/responses/compact"): {
            "model": "test-model",
            "input": [{"type": "item_reference", "id": ids["item_id"]}],
        },
        ("POST", "/v1/responses/input_tokens"): {
            "input": [{"type": "item_reference", "id": ids["item_id"]}]
        },
        ("POST", "/v1/conversations/{conversation_id}"): {"metadata": {"taken": "over"}},
        ("POST", "/v1/conversations/{conversation_id}/items"): {
            "items": [{"role": "user", "content": "taken over"}]
        },
        ("POST", "/v1/conversations/{conversation_id}/items/{item_id}"): {"content": "taken over"},
        ("POST", "/v1/projects"): {"name": "theirs"},
        ("PUT", "/v1/projects/{project_id}"): {"name": "taken over"},
        ("POST", "/v1/projects/{project_id}/document-references"): references,
        ("DELETE", "/v1/projects/{project_id}/document-references"): references,
        ("POST", "/v1/plan/categories"): {"name": "theirs", "prompt_template": "{doc}"},
        ("PUT", "/v1/plan/categories/{category_id}"): {"name": "taken over"},
        ("POST", document): {**file, "content": "taken over"},
        ("PUT", document + "/{document_id}"): {"content": "taken over"},
        ("POST", document + "/{document_id}/tags"): {"tag_name": "taken over"},
        ("POST", document + "/{document_id}/tags:batch"): {"add": ["taken over"], "remove": []},
        ("POST", document + "/merge"): references,
        ("POST", document + "/migrate/all-history"): {
            "project_id": ids["project_id"],
            "source_category_id": ids["category_id"],
            "target_category_id": 1,
            "filename": ids["filename"],
        },
        ("POST", document + "/migrate/from-current"): {
            "document_id": ids["document_id"],
            "target_category_id": 1,
        },
        ("POST", document + "/generate"): {
            **file,
            "conversation_id": ids["conversation_id"],
        },
        ("POST", "/v1/keys"): {"name": "theirs", "owner": "mine"},
    }


def queries(ids: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The query of every route that needs one."""
    file = {key: ids[key] for key in ("project_id", "category_id", "filename")}
    references = {"document_id": ids["document_id"]}
    return {
        ("GET", "/v1/search"): {"q": "x"},
        ("DELETE", "/v1/plan/documents"): file,
        ("GET", "/v1/plan/documents/history"): file,
        ("GET", "/v1/plan/documents/latest"): {"query": MARKER},
        ("GET", "/v1/plan/documents/search-by-tags"): {"tags": ids["tag_name"]},
        ("GET", "/v1/plan/documents/{document_id}/diff"): {"against": ids["document_id"]},
        ("DELETE", "/v1/chat/conversations/{conversation_id}/document-references"): references,
        ("DELETE", "/v1/projects/{project_id}/document-references"): references,
    }


class Things:
    """What an owner has, each made over HTTP; every text says whose it is."""

    def __init__(self, client: httpx.AsyncClient, key: str, marker: str = MARKER) -> None:
        self.client = client
        self.marker = marker
        self.headers = bearer(key)

    async def post(self, path: str, body: Any) -> Any:
        response = await self.client.post(path, json=body, headers=self.headers)
        assert response.status_code == 200, response.text
        return response.json()

    async def make(self) -> dict[str, Any]:
        marker = self.marker
        project = await self.post("/v1/projects", {"name": marker, "llm_url": marker})
        category = await self.post(
            "/v1/plan/categories",
            {"name": marker, "prompt_template": marker, "message_method": "PlanGetRequest"},
        )
        file = {
            "project_id": project["id"],
            "category_id": category["id"],
            "filename": f"{marker}.md",
        }
        for version in range(2):
            document = await self.post(
                "/v1/plan/documents", {**file, "content": f"{marker} {version}"}
            )
        tag = f"{marker}-tag"
        await self.post(f"/v1/plan/documents/{document['id']}/tags", {"tag_name": tag})
        conversation = await self.post(
            "/v1/chat/conversations",
            {"name": marker, "system_prompt": marker, "project_id": project["id"]},
        )
        path = f"/v1/chat/conversations/{conversation['conversation_id']}"
        reply = await self.post(f"{path}/messages", {"content": marker, "model": "echo"})
        references = {"document_ids": [document["id"]]}
        await self.post(f"/v1/projects/{project['id']}/document-references", references)
        key = await self.post("/v1/keys", {"name": marker})
        return {
            **UNKNOWN,
            **file,
            "conversation_id": conversation["conversation_id"],
            "message_id": reply["assistant_message_id"],
            "response_id": f"resp_{reply['assistant_message_id']}_0",
            "item_id": f"msg_{reply['assistant_message_id']}",
            "document_id": document["id"],
            "tag_name": tag,
            "key_id": key["id"],
        }


async def everything_of(owner: str) -> dict[str, Any]:
    """All stored documents of an owner."""
    found = {}
    for document in Owned.__subclasses__():
        if document.__name__ != "Usage":
            cursor = document.collection().find({"owner": owner}).sort("_id", 1)
            found[document.__name__] = [raw async for raw in cursor]
    return found
