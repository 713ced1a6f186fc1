"""One span a reply at a collector that speaks OTLP over HTTP, and none without one."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from proxy.web.tracing import tracing
from tests.conftest import LiveServer
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.replies import create, provider, say

TRACE = "0af7651916cd43dd8448eb211c80319c"
SECRET = "冒泡 content-that-nobody-traces"


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[Any]]]:
    """An OTLP endpoint, and the spans that it was sent."""
    spans: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        headers = dict(
            line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
        )
        body = await reader.readexactly(int(headers[b"content-length"]))
        if headers.get(b"content-encoding") == b"gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                spans.extend(scope.spans)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", spans
    server.close()
    await server.wait_closed()


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


async def test_a_reply_is_one_span_below_the_callers_own(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with OpenAIUpstream() as openai, collector() as (endpoint, spans):
        openai.play(openai.reply(SECRET), openai.status(500))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        async with live(providers=[provider(openai)]) as client:
            client.headers["traceparent"] = f"00-{TRACE}-b7ad6b7169203331-01"
            id_ = await create(client)
            turn = (await say(client, id_, SECRET)).json()
            await say(client, id_)
        # What is left is sent when the server stops.
        good, bad = spans
    assert good.name == "chat test-model"
    assert good.trace_id.hex() == TRACE
    found = attributes(good)
    assert found["gen_ai.conversation.id"] == id_
    assert found["gen_ai.provider.name"] == "openai"
    assert found["gen_ai.usage.input_tokens"] == 11
    assert found["proxy.message.id"] == turn["assistant_message_id"]
    assert good.end_time_unix_nano >= good.start_time_unix_nano
    assert good.status.code == 0
    assert bad.status.code == 2
    assert attributes(bad)["error.type"]
    assert "冒泡" not in str(spans)
    assert SECRET.encode() not in b"".join(span.SerializeToString() for span in spans)


def test_without_an_endpoint_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert tracing() is None
