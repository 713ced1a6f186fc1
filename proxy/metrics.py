"""What the server counts: cheap to add to from anywhere, read by `GET /metrics`.

A value is added to a plain list by label: 0.5 µs where `prometheus_client`'s own histograms
take 2.9. That package writes the text of an answer (`web/metrics.py`). Names of `gen_ai.*` are
OpenTelemetry's semantic conventions for generative AI (in development), kept here alone.

Every set of labels is bounded: routes by their templates, models by `MAX_MODELS`. There are no
labels of owners or keys; `GET /v1/usage` has those numbers.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Literal

MAX_MODELS = 200
"""Models that have labels of their own; further ones are `other`."""

Kind = Literal["counter", "gauge", "histogram"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
MODEL_SECONDS = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    *(163.84, 327.68),
)
CHUNK_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
TOKENS = tuple(4.0**power for power in range(14))
COMMAND_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

ALL: list["Metric"] = []
"""Every metric, in the order of the answer."""


class Metric:
    """A number by labels."""

    kind: Kind = "counter"

    def __init__(self, name: str, text: str, labels: tuple[str, ...] = ()) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        self.cells: dict[tuple[str, ...], list[float]] = {}
        """Labels → its number."""
        ALL.append(self)

    def cell(self, labels: tuple[str, ...]) -> list[float]:
        """Return what holds the number of these labels, to add to it without looking it up."""
        cell = self.cells.get(labels)
        if cell is None:
            cell = self.cells[labels] = [0.0]
        return cell

    def add(self, labels: tuple[str, ...] = (), value: float = 1.0) -> None:
        """Count."""
        self.cell(labels)[0] += value


class Gauge(Metric):
    """A number of this moment; of several workers `merge` makes one."""

    kind = "gauge"

    def __init__(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...] = (),
        *,
        merge: Callable[[float, float], float] = float.__add__,
    ) -> None:
        super().__init__(name, text, labels)
        self.merge = merge

    def set(self, value: float, labels: tuple[str, ...] = ()) -> None:
        """Say what it is now."""
        self.cell(labels)[0] = float(value)


class Histogram(Metric):
    """Counts by bucket, and the sum of what was counted."""

    kind = "histogram"

    def __init__(
        self, name: str, text: str, labels: tuple[str, ...], bounds: tuple[float, ...]
    ) -> None:
        super().__init__(name, text, labels)
        self.bounds = bounds
        self._size = len(bounds) + 2

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        """Count a value."""
        cell = self.cells.get(labels)
        if cell is None:
            # One count a bucket, one for what is above, and the sum.
            cell = self.cells[labels] = [0.0] * self._size
        cell[bisect_left(self.bounds, value)] += 1
        cell[-1] += value

    def series(self, labels: tuple[str, ...]) -> "Series":
        """Return what counts values of these labels without looking for them each time."""
        return Series(self, labels)


class Series:
    """A histogram's counts of one set of labels; there are none before the first value."""

    __slots__ = ("_bounds", "_cell", "_histogram", "_labels")

    def __init__(self, histogram: Histogram, labels: tuple[str, ...]) -> None:
        self._histogram = histogram
        self._labels = labels
        self._bounds = histogram.bounds
        self._cell: list[float] | None = None

    def observe(self, value: float) -> None:
        """Count a value."""
        cell = self._cell
        if cell is None:
            self._histogram.observe(self._labels, value)
            self._cell = self._histogram.cells[self._labels]
            return
        cell[bisect_left(self._bounds, value)] += 1
        cell[-1] += value


_MODEL = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_ANSWER = (*_MODEL, "gen_ai_response_model", "error_type")

REQUEST_SECONDS = Histogram(
    "http_server_request_duration_seconds",
    "Duration of HTTP requests, streams to their end",
    ("http_request_method", "http_route", "http_response_status_code"),
    SECONDS,
)
MODEL_DURATION = Histogram(
    "gen_ai_client_operation_duration_seconds", "Duration of model calls", _ANSWER, MODEL_SECONDS
)
MODEL_TOKENS = Histogram(
    "gen_ai_client_token_usage", "Tokens of model calls", (*_ANSWER, "gen_ai_token_type"), TOKENS
)
MODEL_FIRST_CHUNK = Histogram(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "Time from a model call to the first text of its reply",
    _ANSWER,
    MODEL_SECONDS,
)
MODEL_CHUNK = Histogram(
    "gen_ai_client_operation_time_per_output_chunk_seconds",
    "Mean time between the tokens of a reply after its first text, one value a reply",
    _ANSWER,
    CHUNK_SECONDS,
)
REPLIES_RUNNING = Gauge("proxy_replies_running", "Stored replies that are being written")
REPLIES_ENDED = Metric("proxy_replies_ended", "Model calls by how they ended", ("status",))
FOLLOWERS = Gauge("proxy_followers", "Clients that read a running reply")
CHECKPOINT_AGE = Gauge(
    "proxy_checkpoint_age_seconds",
    "Longest time since the text of a running reply was stored",
    merge=max,
)
COMMAND_DURATION = Histogram(
    "proxy_database_command_seconds",
    "Duration of database commands, from the call to its answer",
    ("command", "outcome"),
    COMMAND_SECONDS,
)
LIMITED = Metric("proxy_limited", "Requests refused by a limit", ("limit",))
FALLBACKS = Metric(
    "proxy_fallbacks", "Model calls that went on to another route", ("from", "to", "reason")
)
POINTS = Metric(
    "proxy_points", "Points of model calls, by configured prices or as Poe counted", ("model",)
)
POE_BALANCE = Gauge(
    "proxy_poe_balance", "Points left on a Poe account, as last read", ("provider",), merge=min
)

_known_models: set[str] = set()


def model_label(model: str) -> str:
    """Return a model's name, or `other` once there are `MAX_MODELS` of them."""
    if model in _known_models:
        return model
    if len(_known_models) >= MAX_MODELS:
        return "other"
    _known_models.add(model)
    return model


def state() -> dict[str, Any]:
    """Return every number as `{name: [[labels, cell], …]}`, to be added to other workers'."""
    return {
        metric.name: [[list(labels), list(cell)] for labels, cell in tuple(metric.cells.items())]
        for metric in ALL
    }
