"""What Prometheus reads: names, bounded labels, several workers, and who may read it."""

import json
import os
import re
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

import proxy
from proxy import metrics
from proxy.database import Database
from proxy.metrics import MAX_MODELS, Gauge, Histogram, Metric, model_label
from proxy.web.metrics import Numbers, render
from tests.conftest import LiveServer, client_of, make_settings, running_app
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.replies import create, provider, say, streaming

ROOT = Path(proxy.__file__).parent.parent

LABEL = re.compile(r'\w+="(?:[^"\\]|\\.)*"')


async def numbers(client: httpx.AsyncClient) -> dict[str, float]:
    """`name{label="value"}` → number."""
    response = await client.get("/metrics")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain")
    found = {}
    # Prometheus's own parser takes a tenth of a second; a test below reads by it.
    for line in response.text.splitlines():
        if not line.startswith("#"):
            name, _, number = line.rpartition(" ")
            name, _, labels = name.partition("{")
            found[f"{name}{{{','.join(sorted(LABEL.findall(labels)))}}}"] = float(number)
    return found


def risen(before: dict[str, float], after: dict[str, float], name: str, *parts: str) -> float:
    """How much the numbers of this name with all these parts in their labels have risen."""
    keys = [key for key in after if key.startswith(name + "{") and all(p in key for p in parts)]
    assert keys, name
    return sum(after[key] - before.get(key, 0.0) for key in keys)


async def test_a_turn_is_counted_once_wherever_it_can_be(live: LiveServer) -> None:
    async with OpenAIUpstream() as openai:
        openai.play(openai.reply("a", "b"))
        async with live(providers=[provider(openai)]) as client:
            id_ = await create(client)
            before = await numbers(client)
            assert (await say(client, id_)).status_code == 200
            after = await numbers(client)
    route = 'http_route="/v1/chat/conversations/{conversation_id}/messages"'
    rise = [
        risen(before, after, "http_server_request_duration_seconds_count", route, '="POST"'),
        risen(before, after, "proxy_replies_ended_total", 'status="complete"'),
        risen(before, after, "gen_ai_client_operation_duration_seconds_count", "test-model"),
        risen(
            before, after, "gen_ai_client_operation_time_to_first_chunk_seconds_count", "test-model"
        ),
        risen(before, after, "gen_ai_client_token_usage_count", "test-model", '="input"'),
    ]
    assert rise == [1] * 5
    tokens = risen(before, after, "gen_ai_client_token_usage_sum", "test-model", '="output"')
    assert tokens == 7
    assert id_ not in str(after)


async def test_a_running_reply_and_its_readers_are_gauges(live: LiveServer) -> None:
    async with OpenAIUpstream() as openai:
        openai.play(openai.stall_after("a"))
        async with live(providers=[provider(openai)]) as client:
            id_ = await create(client)
            async with streaming(client, id_) as stream:
                await stream.until("a")
                found = await numbers(client)
                assert found["proxy_replies_running{}"] == 1
                assert found["proxy_followers{}"] == 1
                assert 0 <= found["proxy_checkpoint_age_seconds{}"] < 60
                families = text_string_to_metric_families((await client.get("/metrics")).text)
                samples = [sample.name for family in families for sample in family.samples]
                assert {key.partition("{")[0] for key in found} == {*samples}


async def test_database_commands_are_timed(wire: Database, live: LiveServer) -> None:
    async with live() as client:
        before = await numbers(client)
        await create(client)
        after = await numbers(client)
    # The test's own client is passed in; what `connect` makes has the listener.
    inserts = risen(before, after, "proxy_database_command_seconds_count", '"insert"', '"ok"')
    assert inserts == 1


async def test_every_answer_of_the_hot_path_has_its_route(
    client: httpx.AsyncClient,
) -> None:
    before = await numbers(client)
    body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
    assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    await client.get("/nowhere/at/all")
    after = await numbers(client)
    name = "http_server_request_duration_seconds_count"
    assert risen(before, after, name, 'http_route="/v1/chat/completions"', '="200"') == 1
    assert risen(before, after, name, 'http_route="(none)"', '="404"') == 1
    assert "nowhere" not in str(after)


async def test_a_refusal_by_a_limit_names_the_limit(wire: Database) -> None:
    settings = make_settings(key_requests_per_minute=1, api_keys="k" * 40)
    async with (
        running_app(wire, settings) as app,
        client_of(app, headers={"authorization": "Bearer " + "k" * 40}) as client,
    ):
        before = await numbers(client)
        statuses = [(await client.get("/v1/models")).status_code for _ in range(3)]
        after = await numbers(client)
    assert statuses.count(429) == 2
    assert risen(before, after, "proxy_limited_total", '"rate_limit_exceeded"') == 2


def test_models_beyond_a_number_share_one_label() -> None:
    labels = {model_label(f"made-up {number}") for number in range(MAX_MODELS + 50)}
    assert "other" in labels
    assert len(labels) <= MAX_MODELS + 1


def test_no_label_is_of_an_owner_or_a_key() -> None:
    assert not {"owner", "key", "key_id", "user"} & {
        label for metric in metrics.ALL for label in metric.labels
    }


def test_the_numbers_of_workers_are_added_up(tmp_path: Path) -> None:
    counted = {"proxy_replies_ended": [[["complete"], [3.0]]]}
    buckets = [1.0] * (len(metrics.COMMAND_SECONDS) + 1)
    timed = {"proxy_database_command_seconds": [[["find", "ok"], [*buckets, 2.5]]]}
    running = {"proxy_replies_running": [[[], [2.0]]]}
    age = {"proxy_checkpoint_age_seconds": [[[], [4.0]]]}
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_bytes(orjson.dumps(counted | timed | running | age))
    # One that ended long ago: what it counted stays, what it was doing does not.
    (tmp_path / "dead.json").write_bytes(orjson.dumps(counted | running))
    os.utime(tmp_path / "dead.json", (0, 0))
    (tmp_path / "half.json.part").write_bytes(b"{")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in Numbers(tmp_path).collect()
        for sample in family.samples
    }
    assert samples["proxy_replies_ended_total", "complete"] == 9
    assert samples["proxy_replies_running",] == 4
    assert samples["proxy_checkpoint_age_seconds",] == 4
    assert samples["proxy_database_command_seconds_sum", "find", "ok"] == 5
    assert samples["proxy_database_command_seconds_bucket", "find", "ok", "+Inf"] == 2 * len(
        buckets
    )


def test_a_worker_writes_what_others_read(tmp_path: Path) -> None:
    text, media_type = render(tmp_path, "")
    assert b"proxy_build_info" in text
    assert media_type.startswith("text/plain")
    (file,) = tmp_path.glob("*.json")
    assert set(json.loads(file.read_text())) == {metric.name for metric in metrics.ALL}


@pytest.mark.parametrize(
    ("headers", "address", "status"),
    [
        ({"authorization": "Bearer " + "k" * 40}, "192.0.2.1", 200),
        ({}, "127.0.0.1", 200),
        ({}, "192.0.2.1", 401),
        ({"x-forwarded-for": "192.0.2.1"}, "127.0.0.1", 401),
        ({"cf-connecting-ip": "192.0.2.1"}, "127.0.0.1", 401),
        ({"via": "1.1 gateway"}, "127.0.0.1", 401),
        ({"host": "rebound.example"}, "127.0.0.1", 401),
        ({"authorization": "Bearer wrong"}, "192.0.2.1", 401),
    ],
)
async def test_only_an_operator_or_this_machine_reads_them(
    mock: Database, headers: dict[str, str], address: str, status: int
) -> None:
    async with running_app(mock, make_settings(api_keys="k" * 40)) as app:
        transport = httpx.ASGITransport(app, client=(address, 1234))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8000"
        ) as client:
            response = await client.get("/metrics", headers=headers)
    assert response.status_code == status


def names_of(metric: Metric) -> set[str]:
    if isinstance(metric, Histogram):
        return {metric.name + suffix for suffix in ("_bucket", "_count", "_sum")}
    return {metric.name if isinstance(metric, Gauge) else metric.name + "_total"}


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    text = (ROOT / "deploy" / "grafana" / "dashboard.json").read_text(encoding="utf-8")
    dashboard: Any = json.loads(text)
    known = {name for metric in metrics.ALL for name in names_of(metric)} | {"proxy_build_info"}
    labels = {label for metric in metrics.ALL for label in metric.labels}
    labels |= {"le", "version", "python", "job", "instance"}
    assert len(dashboard["panels"]) >= 12
    for panel in dashboard["panels"]:
        assert panel["title"]
        for target in panel["targets"]:
            query = target["expr"]
            asked = set(re.findall(r"\b(?:proxy|gen_ai|http_server)_\w+", query))
            by = {
                label
                for group in re.findall(r"by \(([^)]*)\)", query)
                for label in re.split(r",\s*", group)
            }
            assert asked - labels, panel["title"]
            assert asked - labels <= known, panel["title"]
            assert by <= labels, panel["title"]
    assert set(re.findall(r'"uid": "([^"]*)"', text)) <= {"${datasource}", "poe-openai-proxy"}
