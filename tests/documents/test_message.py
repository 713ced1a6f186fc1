"""What outsiders shape stays text in the database."""

import pytest

from proxy.database import Database
from tests.conftest import client_of, make_settings, running_app

HOSTILE = [{"$date": 0}, {"$oid": "no"}, {"$numberLong": "7"}, {"$gt": ""}, {"a.b": {"": None}}]


@pytest.mark.parametrize("value", HOSTILE, ids=str)
async def test_keys_that_mean_something_to_a_database_come_back_as_they_were(
    database: Database, value: object
) -> None:
    async with running_app(database, make_settings()) as app, client_of(app) as client:
        created = (await client.post("/v1/chat/conversations", json={})).json()
        id_ = created["conversation_id"]
        message = {"role": "user", "content": [{"type": "text", "text": "hi", "extra": value}]}
        response = await client.post(
            "/v1/chat/completions",
            json={"model": "echo", "conversation": id_, "messages": [message]},
        )
        assert response.status_code == 200, response.text
        stored = (await client.get(f"/v1/chat/conversations/{id_}/messages")).json()["messages"]
        assert stored[0]["payload"] == message
