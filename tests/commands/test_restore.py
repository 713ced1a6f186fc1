"""Restores, as an operator does them: a whole export, the changes after it, a former release."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from proxy.commands.backup import BackupError, export_database, import_database
from proxy.database import Database, connect
from proxy.documents.base import DEFAULT_OWNER
from proxy.documents.conversation import Conversation
from proxy.documents.conversation_import import drop_imports
from proxy.documents.message_location import remove_conversation
from proxy.documents.message_page import MessagePage
from proxy.documents.worker import Worker
from proxy.settings import Settings
from proxy.streaming.leases import recover_all_workers
from tests.conftest import client_of, make_settings, running_app
from tests.support.stored_documents import documents_of_wrong_type

pytestmark = pytest.mark.slow

RELEASE = Path(__file__).parents[1] / "fixtures" / "release-0.1.0.jsonl.gz"
LISTS = ("/v1/chat/conversations", "/v1/projects", "/v1/plan/documents/latest", "/v1/keys")


@pytest.fixture
async def other(wire_uri: str) -> AsyncIterator[Database]:
    """A second empty database."""
    database = connect(wire_uri, f"test_{uuid4().hex[:12]}")
    yield database
    await database.client.drop_database(database.database.name)
    database.close()


def settings() -> Settings:
    return make_settings(tail_messages=4)


async def say(client: httpx.AsyncClient, id_: str, text: str) -> None:
    response = await client.post(
        f"/v1/chat/conversations/{id_}/messages", json={"content": text, "model": "echo"}
    )
    assert response.status_code == 200, response.text


async def created(client: httpx.AsyncClient, name: str) -> str:
    response = await client.post("/v1/chat/conversations", json={"name": name})
    return str(response.json()["conversation_id"])


async def everything(client: httpx.AsyncClient) -> Any:
    """What a client can read."""
    found: dict[str, Any] = {}
    for path in LISTS:
        response = await client.get(path, params={"page_size": 100})
        assert response.status_code == 200, response.text
        found[path] = response.json()
    for conversation in found["/v1/chat/conversations"]:
        path = f"/v1/chat/conversations/{conversation['id']}/messages"
        response = await client.get(path)
        assert response.status_code == 200, response.text
        found[path] = response.json()
    return found


async def test_a_restored_database_serves_what_was_there(
    wire: Database, other: Database, tmp_path: Path
) -> None:
    async with running_app(wire, settings()) as app, client_of(app) as client:
        id_ = await created(client, "排序")
        for number in range(5):
            await say(client, id_, f"冒泡 {number}")
        before = await everything(client)
    await export_database(wire.database, tmp_path / "all.gz")
    await import_database(other.database, tmp_path / "all.gz")
    async with running_app(other, settings()) as app, client_of(app) as client:
        assert await everything(client) == before
        # And it goes on: no id is given a second time.
        await say(client, id_, "after the restore")
        (path,) = (path for path in before if path.endswith(f"{id_}/messages"))
        known = {message["id"] for message in before[path]["messages"]}
        response = await client.get(path)
        ids = [message["id"] for message in response.json()["messages"]]
        assert len(ids) == len(set(ids)) == len(known) + 2


async def test_changes_go_on_top_of_an_export_however_often(
    wire: Database, other: Database, tmp_path: Path
) -> None:
    async with running_app(wire, settings()) as app, client_of(app) as client:
        old, quiet = await created(client, "old"), await created(client, "quiet")
        for number in range(5):
            await say(client, old, f"first {number}")
            await say(client, quiet, f"quiet {number}")
        began = datetime.now(UTC)
        await export_database(wire.database, tmp_path / "all.gz")
        await asyncio.sleep(0.002)  # times are kept in milliseconds
        new = await created(client, "new")
        for number in range(5):
            await say(client, old, f"second {number}")
            await say(client, new, f"new {number}")
        await client.post("/v1/projects", json={"name": "后端"})
        counts = await export_database(wire.database, tmp_path / "more.gz", since=began)
        wanted = await everything(client)
    assert counts["conversations"] == 2
    assert counts["message_pages"] < await wire.database.message_pages.count_documents({})
    with pytest.raises(BackupError, match="import the whole export before it"):
        await import_database(other.database, tmp_path / "more.gz")
    for _ in range(2):
        await import_database(other.database, tmp_path / "all.gz")
        await import_database(other.database, tmp_path / "more.gz")
    async with running_app(other, settings()) as app, client_of(app) as client:
        assert await everything(client) == wanted


async def test_the_same_file_again_changes_nothing(
    wire: Database, other: Database, tmp_path: Path
) -> None:
    async with running_app(wire, settings()) as app, client_of(app) as client:
        id_ = await created(client, "排序")
        await say(client, id_, "one")
    await export_database(wire.database, tmp_path / "all.gz")
    await import_database(other.database, tmp_path / "all.gz")
    async with running_app(other, settings()) as app, client_of(app) as client:
        await say(client, id_, "two")
        wanted = await everything(client)
    counts = await import_database(other.database, tmp_path / "all.gz")
    assert set(counts.values()) == {0}
    async with running_app(other, settings()) as app, client_of(app) as client:
        assert await everything(client) == wanted


async def test_a_database_of_release_0_1_0_is_read_and_written(new_wire: Database) -> None:
    """Every kind of document that its code wrote, by its export."""
    counts = await import_database(new_wire.database, RELEASE)
    assert len([name for name, count in counts.items() if count]) == 18
    await new_wire.prepare()
    await recover_all_workers()
    async with (
        running_app(new_wire, make_settings(tail_messages=4, api_keys="k" * 40)) as app,
        client_of(app, headers={"authorization": "Bearer " + "k" * 40}) as client,
    ):
        found = await everything(client)
        names = {each["name"] for each in found["/v1/chat/conversations"]}
        assert {"排序", "empty"} <= names
        (id_,) = (each["id"] for each in found["/v1/chat/conversations"] if each["name"] == "排序")
        messages = found[f"/v1/chat/conversations/{id_}/messages"]["messages"]
        assert [message["content"] for message in messages][:3] == ["你是老师", "改过", "冒泡排序"]
        assert len(messages) == 19
        # What it was writing when the export was made.
        assert (messages[-1]["status"], messages[-1]["content"]) == ("interrupted", "half a ")
        (edited,) = (message["id"] for message in messages if message["content"] == "改过")
        revisions = await client.get(f"/v1/chat/messages/{edited}/revisions")
        if revisions.status_code == 200:
            assert "用Python写冒泡排序 0" in revisions.text
        (key,) = found["/v1/keys"]
        assert key["name"] == "laptop"
        (project,) = found["/v1/projects"]
        assert (project["name"], project["ai_work_dir"]) == ("后端", "/srv/backend")
        latest = {each["filename"] for each in found["/v1/plan/documents/latest"]["items"]}
        assert latest == {"新方案设计.md", "b.md", "生成.md"}
        for path in (
            "/v1/plan/categories",
            "/v1/usage",
            f"/v1/projects/{project['id']}/document-references",
            f"/v1/chat/conversations/{id_}/document-references",
            f"/v1/plan/documents/search-by-tags?project_id={project['id']}&tags=重要",
        ):
            response = await client.get(path)
            assert response.status_code == 200, (path, response.text)
            assert response.json(), path
        await say(client, id_, "on the new version")
    assert await documents_of_wrong_type(new_wire) == []


@pytest.mark.parametrize("step", ["conversation", "pages", "revisions"])
async def test_a_delete_that_was_killed_leaves_nothing(wire: Database, step: str) -> None:
    """The dead worker's note names the conversation; whoever recovers the worker ends it."""
    async with running_app(wire, settings()) as app, client_of(app) as client:
        id_, other_id = await created(client, "a"), await created(client, "b")
        for number in range(5):
            await say(client, id_, str(number))
            await say(client, other_id, str(number))
    assert await MessagePage.collection().count_documents({"conversation_id": id_}) > 0
    # The steps of `remove_conversation`, up to where the process dies.
    await Worker.begin_import("dead", id_)
    await Worker.begin_import("dead", other_id)
    if step != "conversation":
        await Conversation.collection().delete_one({"_id": id_})
    if step == "revisions":
        await MessagePage.collection().delete_many({"conversation_id": id_})
    await drop_imports("dead")
    for kept, ids in ((step == "conversation", id_), (True, other_id)):
        pages = await MessagePage.collection().count_documents({"conversation_id": ids})
        assert bool(pages) == kept


async def test_a_delete_leaves_no_note(wire: Database) -> None:
    await wire.prepare()
    conversation = Conversation()
    await conversation.create()
    await Worker.register("w")
    await remove_conversation(DEFAULT_OWNER, conversation.id, worker="w")
    assert (await Worker.collection().find_one({"_id": "w"})).get("imports", []) == []
