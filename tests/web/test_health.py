"""What asks how the server is: `/livez`, `/readyz`, `/health`."""

import asyncio

import httpx

from tests.conftest import LiveServer, client_of, make_settings, running_app
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.outage import breakable
from tests.support.replies import create, engine_of, provider, streaming


async def test_a_server_that_may_get_requests_says_so(client: httpx.AsyncClient) -> None:
    response = await client.get("/readyz")
    assert response.status_code == 200
    assert response.json()["status"] == "ready"
    assert response.json()["checks"] == {"database": "ok", "shutdown": "ok"}
    assert (await client.get("/livez")).json()["status"] == "alive"


async def test_an_outage_of_the_database_is_no_reason_for_a_restart(wire_uri: str) -> None:
    async with (
        breakable(wire_uri, selection_milliseconds=1_000) as (line, database),
        running_app(database, make_settings(storage_retry_seconds=0)) as app,
        client_of(app) as client,
    ):
        assert (await client.get("/readyz")).status_code == 200
        line.cut_off()
        # As several probes at once would ask.
        answers = await asyncio.gather(*(client.get("/readyz") for _ in range(3)))
        for answer in answers:
            assert answer.status_code == 503
            assert answer.json()["checks"]["database"] != "ok"
            assert answer.json()["checks"]["shutdown"] == "ok"
            assert "database" in answer.json()["detail"]
        assert (await client.get("/health")).status_code == 503
        assert (await client.get("/livez")).status_code == 200
        line.mend()
        while (await client.get("/readyz")).status_code != 200:
            pass


async def test_a_server_that_drains_is_alive_and_not_ready(live: LiveServer) -> None:
    async with OpenAIUpstream() as openai:
        go_on = asyncio.Event()
        openai.play(openai.reply_when(go_on, "a", "b"))
        async with live(providers=[provider(openai)], shutdown_grace_seconds=30) as client:
            id_ = await create(client)
            async with streaming(client, id_) as stream:
                await stream.until("a")
                stopping = asyncio.create_task(engine_of(client).shutdown())
                while not engine_of(client).is_stopping:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                answer = await client.get("/readyz")
                assert answer.status_code == 503
                assert answer.json()["checks"] == {"database": "ok", "shutdown": "in progress"}
                assert int(answer.headers["retry-after"]) >= 1
                assert (await client.get("/livez")).status_code == 200
                go_on.set()
                await stream.rest()
                await stopping
