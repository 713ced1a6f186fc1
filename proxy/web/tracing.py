"""One OpenTelemetry span a reply, where an OTLP endpoint is set: the extra `otel`.

The endpoint and everything else are OpenTelemetry's own variables
(`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME` …). Spans hold no
contents of messages. The names of attributes are the conventions for generative AI, which are in
development; they stand here.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from proxy import __version__
from proxy.streaming.completions import Completed
from proxy.streaming.engine import Engine

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

traceparent: ContextVar[str] = ContextVar("traceparent", default="")
"""The `traceparent` of the request being served; tasks it starts inherit it."""


class Tracing:
    """Spans of replies, sent in the background by a thread of the SDK."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("proxy", __version__)

    def completed(self, call: Completed) -> None:
        """Record the span of one call of a model, which has just ended."""
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        ended = int(call.ended_at * 1e9)
        began = ended - (call.duration_ms or 0) * 1_000_000
        parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent.get()})
        span = self._tracer.start_span(
            f"chat {call.model}",
            context=parent,
            kind=SpanKind.CLIENT,
            attributes=_attributes(call),
            start_time=began,
        )
        if call.first_token_ms is not None:
            span.add_event("first chunk", timestamp=began + call.first_token_ms * 1_000_000)
        if call.error_type:
            span.set_attribute("error.type", call.error_type)
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    def close(self) -> None:
        """Send what is left; takes as long as the collector does, so call it in a thread."""
        self._provider.shutdown()


@asynccontextmanager
async def traced(engine: Engine) -> AsyncIterator[None]:
    """While this is entered, every call of a model is traced, if there is a collector."""
    found = tracing()
    if found is not None:
        engine.completions.listeners.append(found.completed)
    try:
        yield
    finally:
        if found is not None:
            await asyncio.to_thread(found.close)


def tracing() -> Tracing | None:
    """Return what records spans, or None where no endpoint is set or the extra is not installed."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        log.warning("an OTLP endpoint is set, but the extra 'otel' is not installed: no traces")
        return None
    name = os.environ.get("OTEL_SERVICE_NAME", "poe-openai-proxy")
    provider = TracerProvider(
        resource=Resource.create({"service.name": name, "service.version": __version__}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


def _attributes(call: Completed) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": call.provider,
        "gen_ai.request.model": call.model,
        "gen_ai.response.model": call.model,
        "proxy.reply.status": call.status,
    }
    if call.conversation_id:
        found["gen_ai.conversation.id"] = call.conversation_id
    if call.message_id is not None:
        found["proxy.message.id"] = call.message_id
    if call.usage is not None:
        found["gen_ai.usage.input_tokens"] = call.usage.prompt_tokens
        found["gen_ai.usage.output_tokens"] = call.usage.completion_tokens
    return found
