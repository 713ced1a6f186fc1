"""What `GET /metrics` answers, of one worker or of all of them added up.

Each of several workers writes its numbers to a file of its own, every second; whoever answers
adds the files up. The counts of a worker that has ended stay, its gauges do not.
"""

import asyncio
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from proxy import __version__
from proxy.metrics import (
    ALL,
    CHECKPOINT_AGE,
    FOLLOWERS,
    MODEL_CHUNK,
    MODEL_DURATION,
    MODEL_FIRST_CHUNK,
    MODEL_TOKENS,
    POINTS,
    REPLIES_ENDED,
    REPLIES_RUNNING,
    Gauge,
    Histogram,
    Metric,
    Series,
    model_label,
    state,
)
from proxy.settings import Settings
from proxy.streaming.completions import Completed
from proxy.streaming.engine import Engine

SAMPLE_SECONDS = 1.0
"""How often gauges are looked at, and the numbers of one of several workers are written."""

ALIVE_SECONDS = 15.0
"""A worker whose file is older than this has ended, or hangs: its gauges are of no moment."""

MAX_KEPT_LABELS = 1_000

FAILED = frozenset({"failed", "interrupted", "truncated"})

_FILE = f"{uuid4().hex}.json"
"""The file of this process."""


class _ModelSeries(NamedTuple):
    """What is counted of the calls of one model that end alike."""

    model: tuple[str]
    points: float
    ended: list[float]
    duration: Series
    first_chunk: Series
    chunk: Series
    input: Series
    output: Series


class Numbers(Collector):
    """Every metric as `prometheus_client` wants it; `directory` is where workers' files are."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def collect(self) -> Iterator[Family]:
        """Yield the families, numbers of all workers added up."""
        states = _states(self._directory)
        for metric in ALL:
            cells: dict[tuple[str, ...], list[float]] = {}
            for numbers, is_alive in states:
                if isinstance(metric, Gauge) and not is_alive:
                    continue
                for labels, cell in numbers.get(metric.name, ()):
                    _merge(metric, cells, tuple(labels), cell)
            yield _family(metric, cells)
        info = GaugeMetricFamily("proxy_build_info", "The version", labels=("version", "python"))
        info.add_metric((__version__, platform.python_version()), 1)
        yield info


def registry(directory: Path | None) -> CollectorRegistry:
    """Return what `prometheus_client` renders."""
    found = CollectorRegistry(auto_describe=False)
    found.register(Numbers(directory))
    return found


def render(directory: Path | None, accept: str) -> tuple[bytes, str]:
    """Return the answer and its media type; takes milliseconds, so call it in a thread."""
    if directory is not None:
        write(directory)
    encoder, media_type = choose_encoder(accept)
    return encoder(registry(directory)), media_type


def write(directory: Path) -> None:
    """Replace this worker's file."""
    part = directory / f"{_FILE}.part"
    part.write_bytes(orjson.dumps(state()))
    os.replace(part, directory / _FILE)


def sample(engine: Engine) -> None:
    """Set the gauges of this worker."""
    running = list(engine.running.values())
    REPLIES_RUNNING.set(len(running))
    now = asyncio.get_running_loop().time()
    FOLLOWERS.set(sum(reply.followers for reply in running))
    CHECKPOINT_AGE.set(max((now - reply.checkpointed_at for reply in running), default=0.0))


async def keep_sampling(engine: Engine, directory: Path | None) -> None:
    """For ever: set the gauges, and write the numbers where others read them."""
    while True:
        sample(engine)
        if directory is not None:
            await asyncio.to_thread(write, directory)
        await asyncio.sleep(SAMPLE_SECONDS)


def reply_counter(settings: Settings) -> Callable[[Completed], None]:
    """Return what counts one call of a model; its names are the conventions'."""
    kept: dict[tuple[str, str, str, str], _ModelSeries] = {}

    def series_of(call: Completed) -> _ModelSeries:
        """Look the numbers of a call up; they are kept for those that come again."""
        error = call.error_type or (call.status if call.status in FAILED else "")
        if len(kept) >= MAX_KEPT_LABELS:
            kept.clear()
        model = model_label(call.model)
        labels = ("chat", call.provider, model, model, error)
        prices = settings.model_settings(f"{call.provider}/{call.model}")
        made = kept[call.provider, call.model, call.status, call.error_type] = _ModelSeries(
            (model,),
            prices.points_per_request or 0,
            REPLIES_ENDED.cell((call.status,)),
            MODEL_DURATION.series(labels),
            MODEL_FIRST_CHUNK.series(labels),
            MODEL_CHUNK.series(labels),
            MODEL_TOKENS.series((*labels, "input")),
            MODEL_TOKENS.series((*labels, "output")),
        )
        return made

    def count(call: Completed) -> None:
        usage, duration, first = call.usage, call.duration_ms, call.first_token_ms
        kind = (call.provider, call.model, call.status, call.error_type)
        series = kept.get(kind) or series_of(call)
        series.ended[0] += 1
        if duration is not None:
            series.duration.observe(duration / 1000)
        if first is not None:
            series.first_chunk.observe(first / 1000)
        if usage is not None:
            tokens = usage.completion_tokens
            series.input.observe(usage.prompt_tokens)
            series.output.observe(tokens)
            if tokens > 1 and duration is not None and first is not None:
                series.chunk.observe((duration - first) / 1000 / (tokens - 1))
        if series.points:
            POINTS.add(series.model, series.points)

    return count


def _states(directory: Path | None) -> list[tuple[dict[str, Any], bool]]:
    if directory is None:
        return [(state(), True)]
    found = []
    for file in sorted(directory.glob("*.json")):
        age = time.time() - file.stat().st_mtime
        found.append((orjson.loads(file.read_bytes()), age < ALIVE_SECONDS))
    return found


def _merge(
    metric: Metric,
    cells: dict[tuple[str, ...], list[float]],
    labels: tuple[str, ...],
    cell: list[float],
) -> None:
    present = cells.get(labels)
    if present is None:
        cells[labels] = list(cell)
    elif isinstance(metric, Gauge):
        present[0] = metric.merge(present[0], cell[0])
    else:
        present[:] = map(float.__add__, present, cell)


def _family(metric: Metric, cells: dict[tuple[str, ...], list[float]]) -> Family:
    if isinstance(metric, Histogram):
        histogram = HistogramMetricFamily(metric.name, metric.text, labels=metric.labels)
        for labels, cell in cells.items():
            total, buckets = 0.0, []
            for bound, count in zip((*metric.bounds, None), cell, strict=False):
                total += count
                buckets.append(("+Inf" if bound is None else str(bound), total))
            histogram.add_metric(labels, buckets, cell[-1])
        return histogram
    if not metric.labels and not cells:
        cells = {(): [0.0]}
    if isinstance(metric, Gauge):
        gauge = GaugeMetricFamily(metric.name, metric.text, labels=metric.labels)
        for labels, cell in cells.items():
            gauge.add_metric(labels, cell[0])
        return gauge
    counter = CounterMetricFamily(metric.name, metric.text, labels=metric.labels)
    for labels, cell in cells.items():
        counter.add_metric(labels, cell[0])
    return counter
