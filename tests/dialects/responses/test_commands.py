"""A stored response asks at most five commands of the database."""

from typing import Any
from uuid import uuid4

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.monitoring import CommandListener

from proxy.database import Database
from tests.conftest import LiveServer
from tests.fakes.openai_upstream import OpenAIUpstream

OF_A_TURN = {"conversations", "counters", "message_pages", "message_revisions", "responses"}


class Recorder(CommandListener):
    """What was sent, by command and collection."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str]] = []

    def started(self, event: Any) -> None:
        collection = str(event.command.get(event.command_name))
        if collection in OF_A_TURN:
            self.commands.append((event.command_name, collection))

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stored_turn_is_at_most_five_commands(
    wire_uri: str, live: LiveServer, stream: bool
) -> None:
    recorder = Recorder()
    client: Any = AsyncIOMotorClient(
        wire_uri, w="majority", journal=True, event_listeners=[recorder]
    )
    name = f"test_{uuid4().hex[:12]}"
    settings = {"lease_seconds": 600, "checkpoint_seconds": 600}
    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.reply("a", "b"))
        async with live(
            database=Database(client[name]),
            openai_base_url=upstream.base_url,
            openai_api_key="k",
            **settings,
        ) as http:
            body: dict[str, Any] = {"model": "test-model", "input": "x", "stream": stream}
            counts = []
            made = (await http.post("/v1/conversations", json={})).json()["id"]
            for further in ({}, {"conversation": made}):
                recorder.commands.clear()
                answer = await http.post("/v1/responses", json={**body, **further})
                assert answer.status_code == 200
                counts.append(sorted(recorder.commands))
            first = (await http.post("/v1/responses", json={**body, "stream": False})).json()
            recorder.commands.clear()
            further = {"previous_response_id": first["id"]}
            assert (await http.post("/v1/responses", json={**body, **further})).status_code == 200
            counts.append(sorted(recorder.commands))
    await client.drop_database(name)
    client.close()
    assert [len(each) for each in counts] == [4, 5, 5], counts
