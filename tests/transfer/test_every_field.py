"""A field that is added to a stored document reaches every way out and in.

Each field is filled with a value of its type, stored, and looked for in lists, in a file that is
exported and imported, in a fork, in what a file of ChatGPT's becomes, and in a backup. What stays
behind is named here, with the reason.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from uuid import uuid4

import httpx
import orjson
import pytest
from pydantic import BaseModel

from proxy.commands.backup import export_database, import_database
from proxy.database import Database, connect
from proxy.documents.base import Raw
from proxy.documents.conversation import Conversation
from proxy.documents.counter import Counter
from proxy.documents.message import INTERNAL, ONLY_ASKED_FOR, Message, packed
from proxy.documents.message_revision import MessageRevision
from proxy.documents.plan_document import PlanDocument
from proxy.turns.new_reply import REPLY_FIELDS
from tests.conftest import client_of, make_settings, running_app

CONVERSATIONS = "/v1/chat/conversations"
MESSAGES = "/v1/chat/messages"
DOCUMENTS = "/v1/plan/documents"
JSON = {"content-type": "application/json"}

LAYOUT = {
    *("messages", "page_count", "last_paged_id", "paged_messages"),
    *("changes", "appends", "system_message_id"),
}
"""How the messages of a conversation lie in the database; each copy has its own."""

NOT_LISTED = LAYOUT | {
    "owner",  # It is the caller's.
    "document_references",  # `…/document-references` lists them, with their documents.
}

NOT_EXPORTED = LAYOUT | {
    "id",  # An import is another conversation.
    "owner",  # Of whoever imports it.
    "document_references",  # Ids of documents that are not in the file.
}

NOT_FORKED = LAYOUT | {
    "id",  # A fork is another conversation.
    "status",  # One that goes on is not archived.
    *("created_at", "updated_at"),  # It begins now.
    "forked_from",  # It names what the fork was made of.
}

MESSAGE_NOT_EXPORTED = INTERNAL | {
    "id",  # A file names messages by position.
    "reply_to",  # Likewise; compared apart.
    "revision",  # The number of former contents, which are in the file.
}

NOT_IN_CHATGPT = {
    "project_id",  # ChatGPT's projects have no number.
    *("model", "assistance_role"),  # Each of its messages names a model.
    *("metadata", "forked_from", "document_references"),  # It has none of these.
}
"""Of a conversation: what keeps its default."""

MESSAGE_NOT_IN_CHATGPT = INTERNAL - {"attempt"} | {
    "payload",  # Its tools and pictures become text.
    *("finish_reason", "error", "provider", "usage"),  # Its export does not tell.
    *("started_at", "first_token_ms", "duration_ms"),
    *("omitted_messages", "attached_source"),  # It has none of these.
    *("suggestions", "points", "points_certain"),  # Of Poe's bots.
    *("order", "items", "encrypted_reasoning", "tool_names", "item_type", "logprobs"),
}

DOCUMENT_NOT_LISTED = {
    "owner",  # It is the caller's.
    "size_bytes",  # The content tells.
}

WRITTEN_AGAIN = {"model", "provider", "started_at", "worker", "attempt"}
"""What each writing of a reply sets."""

OF_THE_TURN = {"reply_to", "idempotency", "request", "tool_names", "item_type"}
"""What a reply keeps when it is written again: it belongs to the call, not to the writing."""

PROMPT = "Sei knapp"
TEXT = "Ja"

SAMPLES: dict[str, Any] = {
    "role": "assistant",
    "content": TEXT,
    "status": 1,
    "system_prompt": PROMPT,
    "payload": packed({"role": "assistant", "content": TEXT, "annotations": [{"n": 1}]}),
    "order": [["r", 8], ["t", len(TEXT)]],
    "reasoning": "thinking",
    "items": ['{"type":"web_search_call","id":"ws_1"}'],
    "tool_names": '{"weather":{"name":"weather"}}',
    "item_type": "custom_tool_call_output",
    "logprobs": '{"groups":[[2,[{"token":"Ja","bytes":[74,97],"logprob":-0.5,"top_logprobs":[]}]]],'
    '"left_out":0}',
    "forked_from": {"conversation_id": str(uuid4()), "message_id": 5},
    "error": {"type": "server_error", "message": "It broke"},
    "source": "chat",
    "document_references": [{"id": 3, "document_id": 4, "created_at": datetime(2026, 1, 2)}],
    "idempotency": {"key": "k", "body": "b"},
}
"""Where a value of the right type is not enough."""

BY_TYPE: dict[Any, Any] = {
    str: "a text",
    int: 7,
    float: 0.5,
    bool: True,
    datetime: datetime(2026, 1, 2, 3, 4, 5, 678000),
    dict: {"kept": "value"},
}


def sample(name: str, hint: Any) -> Any:
    """A value of a field: the one of its name, or one of its type."""
    if name in SAMPLES:
        return SAMPLES[name]
    parts = [each for each in get_args(hint) if each is not type(None)]
    kind = get_origin(hint) or hint
    if kind is list:
        return [sample("", parts[0])]
    if kind in BY_TYPE:
        return BY_TYPE[kind]
    # One of several types, or of several values.
    return parts[0] if kind is Literal else sample("", parts[0])


def filled(document: type[BaseModel], *without: str) -> Raw:
    """Every field of a class with a value, none of which is its default."""
    hints = get_type_hints(document)
    fields = {
        name: sample(name, hints[name])
        for name in document.model_fields
        if name not in {"id", "revision_id", "owner", *without}
    }
    for name, value in fields.items():
        assert value != document.model_fields[name].default, f"{name}: give it another sample"
    return fields


@dataclass
class Everything:
    """A client, and a conversation with a message and a document that have every field."""

    client: httpx.AsyncClient
    database: Database
    conversation_id: str
    message_id: int
    document_id: int


@pytest.fixture
async def everything(wire: Database) -> AsyncIterator[Everything]:
    async with running_app(wire, make_settings()) as app, client_of(app) as client:
        first = await Counter.reserve("messages", 3)
        fields = filled(Message, "reply_to", "revision", "status")
        messages = [
            Message(id=first, role="system", content=PROMPT, attempt=f"{first}:0"),
            Message(id=first + 1, role="user", content="Wirklich?", attempt=f"{first + 1}:0"),
            Message(id=first + 2, reply_to=first + 1, revision=1, status="stopped", **fields),
        ]
        conversation = Conversation(
            **filled(Conversation, *LAYOUT), system_message_id=first, messages=messages
        )
        await conversation.create()
        await MessageRevision.of("default").insert(
            {
                "_id": f"{first + 2}:0",
                "message_id": first + 2,
                "conversation_id": conversation.id,
                "number": 0,
                "replaced_at": BY_TYPE[datetime],
                "message": {
                    key: value
                    for key, value in messages[2].raw().items()
                    if key not in INTERNAL | {"revision"}
                }
                | {"revision": 0},
            }
        )
        document = PlanDocument(id=await Counter.reserve("plan_documents"), **filled(PlanDocument))
        file = {"project_id": 7, "category_id": 7, "filename": "a text"}
        await PlanDocument.of("default").insert(document.raw())
        await wire.database["plan_files"].insert_one(
            {
                **file,
                "owner": "default",
                "version": document.version,
                "document_id": document.id,
                "created_at": document.created_at,
                "taken_at": document.created_at,
                "tags": [],
            }
        )
        yield Everything(client, wire, conversation.id, first + 2, document.id)


async def stored(id_: str) -> Raw:
    raw: Raw | None = await Conversation.collection().find_one({"_id": id_})
    assert raw is not None
    return raw


def as_json(value: Any) -> Any:
    """A stored value as it is on the wire."""
    return json.loads(orjson.dumps(value, option=orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z))


def missing(document: type[BaseModel], there: Any) -> set[str]:
    """Fields of a class that are not among others, which are named as they are stored."""
    names = set(document.model_fields) - {"revision_id"}
    return names - {"id" if name == "_id" else name for name in there}


async def imported(everything: Everything, content: bytes) -> tuple[Raw, list[Raw]]:
    """A file as it is stored when it was imported: the conversation and its messages."""
    answer = await everything.client.post(f"{CONVERSATIONS}/import", content=content, headers=JSON)
    assert answer.status_code == 200, answer.text
    raw = await stored(answer.json()["imported"][0]["conversation_id"])
    return raw, raw["messages"]


async def test_a_list_of_conversations_shows_every_field(everything: Everything) -> None:
    raw = await stored(everything.conversation_id)
    assert missing(Conversation, raw) == set()
    listed = (await everything.client.get(CONVERSATIONS)).json()
    grouped = (await everything.client.get(f"{CONVERSATIONS}/grouped")).json()
    one = (await everything.client.get(f"{CONVERSATIONS}/{everything.conversation_id}")).json()
    for shown in (listed[0], next(iter(grouped.values()))[0], one):
        assert missing(Conversation, shown) == NOT_LISTED
        for name in shown.keys() & raw.keys():
            assert shown[name] == as_json(raw[name]), name


async def test_a_list_of_messages_shows_every_field(everything: Everything) -> None:
    raw = (await stored(everything.conversation_id))["messages"][-1]
    assert missing(Message, raw) == set()
    path = f"{CONVERSATIONS}/{everything.conversation_id}/messages"
    listed = (await everything.client.get(path)).json()["messages"][-1]
    paged = (await everything.client.get(f"{path}?limit=1")).json()["messages"][-1]
    one = (await everything.client.get(f"{MESSAGES}/{everything.message_id}")).json()
    for shown in (listed, paged, one, {**one["revisions"][0], "revision": 1}):
        assert missing(Message, shown) == INTERNAL | ONLY_ASKED_FOR
        for name in raw.keys() - INTERNAL - ONLY_ASKED_FOR - {"payload"}:
            assert shown[name] == as_json(raw[name]), name
        assert packed(shown["payload"]) == raw["payload"]


async def test_export_and_import_keep_every_field(everything: Everything) -> None:
    file = await everything.client.get(f"{CONVERSATIONS}/{everything.conversation_id}/export")
    assert file.status_code == 200
    raw = await stored(everything.conversation_id)
    copy, messages = await imported(everything, file.content)
    for name in set(Conversation.model_fields) - {"revision_id"} - NOT_EXPORTED:
        assert copy.get(name) == raw[name], name
    assert copy["system_message_id"] == messages[0]["id"]
    old, new = raw["messages"][-1], messages[-1]
    for name in set(Message.model_fields) - MESSAGE_NOT_EXPORTED:
        assert new.get(name) == old[name], name
    assert new["reply_to"] == messages[1]["id"]
    assert new["revision"] == 1
    revisions = MessageRevision.of("default")
    former = await revisions.find_one({"message_id": old["id"]})
    again = await revisions.find_one({"message_id": new["id"]})
    assert former is not None
    assert again is not None
    for name in set(Message.model_fields) - MESSAGE_NOT_EXPORTED:
        assert again["message"].get(name) == former["message"].get(name), name


async def test_a_fork_takes_every_field_over(everything: Everything) -> None:
    answer = await everything.client.post(
        f"{CONVERSATIONS}/{everything.conversation_id}/fork",
        json={"message_id": everything.message_id},
    )
    raw = await stored(everything.conversation_id)
    copy = await stored(answer.json()["conversation_id"])
    for name in set(Conversation.model_fields) - {"revision_id"} - NOT_FORKED:
        if name == "document_references":
            ids = [[each["document_id"] for each in one.get(name, [])] for one in (raw, copy)]
            assert ids[0] == ids[1]
        else:
            assert copy.get(name) == raw[name], name
    for name in set(Message.model_fields) - MESSAGE_NOT_EXPORTED:
        assert copy["messages"][-1].get(name) == raw["messages"][-1][name], name


async def test_what_a_file_of_chatgpt_tells_is_stored_under_every_field_that_it_has(
    everything: Everything,
) -> None:
    def node(role: str, text: str, parent: str | None, **about: Any) -> Raw:
        content = {"content_type": "text", "parts": [text]}
        message = {"author": {"role": role}, "content": content, "create_time": 1.5, **about}
        return {"parent": parent, "children": [], "message": message}

    thoughts = {"content_type": "thoughts", "thoughts": [{"content": "thinking"}]}
    mapping = {
        "a": node("system", PROMPT, None),
        "b": node("user", "Wirklich?", "a"),
        "c": node("assistant", "", "b", content=thoughts),
        "d": node(
            *("assistant", TEXT, "c"),
            metadata={"model_slug": "gpt-5"},
            update_time=2.5,
            status="in_progress",
        ),
    }
    file = {
        **{"title": "Sorting", "create_time": 1.5, "update_time": 2.5, "is_archived": True},
        **{"current_node": "d", "mapping": mapping},
    }
    raw, messages = await imported(everything, json.dumps(file).encode())
    plain = Conversation().raw()
    same = {name for name, value in plain.items() if raw.get(name) == value}
    untold = (same | missing(Conversation, raw)) - LAYOUT - {"owner"}
    assert untold == NOT_IN_CHATGPT
    told = set(messages[-1])
    assert missing(Message, told) == MESSAGE_NOT_IN_CHATGPT & set(Message.model_fields)
    assert messages[-1]["status"] == "interrupted"


async def test_lists_of_plan_documents_show_every_field(everything: Everything) -> None:
    raw = await everything.database.database["plan_documents"].find_one(
        {"_id": everything.document_id}
    )
    assert missing(PlanDocument, raw) == set()
    query = "project_id=7&category_id=7&filename=a text"
    history = (await everything.client.get(f"{DOCUMENTS}/history?{query}")).json()
    latest = (await everything.client.get(f"{DOCUMENTS}/latest")).json()["items"]
    one = (await everything.client.get(f"{DOCUMENTS}/{everything.document_id}")).json()
    for shown in (history[0], latest[0], one):
        shown["created_at"] = shown.pop("created_time")
        assert missing(PlanDocument, shown) == DOCUMENT_NOT_LISTED
        for name in shown.keys() & raw.keys():
            assert shown[name] == as_json(raw[name]), name


async def test_a_backup_has_every_field(
    everything: Everything, wire_uri: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup.jsonl.gz"
    await export_database(everything.database.database, file)
    other = connect(wire_uri, f"test_{uuid4().hex[:12]}")
    try:
        await import_database(other.database, file)
        for name in ("conversations", "message_revisions", "plan_documents", "plan_files"):
            found = await other.database[name].find({}).to_list(None)
            assert found == await everything.database.database[name].find({}).to_list(None)
            assert found != []
    finally:
        await other.client.drop_database(other.database.name)
        other.close()


def test_a_field_of_a_reply_is_either_written_again_or_goes() -> None:
    """A regeneration takes over nothing of the reply before it that is not named."""
    optional = {name for name, field in Message.model_fields.items() if field.default is None}
    assert optional - set(REPLY_FIELDS) - WRITTEN_AGAIN - OF_THE_TURN == set()
