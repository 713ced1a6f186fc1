"""The body of `/v1/usage`."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from proxy.documents.usage import percentile
from proxy.schemas.common import Time

GroupBy = Literal["day", "model", "project", "key"]

COUNTS = ("requests", "errors", "prompt_tokens", "completion_tokens", "cost", "points")
LATENCIES = ("first_token_ms", "duration_ms")
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


class Latency(BaseModel):
    """Percentiles in milliseconds, interpolated in buckets; null without any reply."""

    p50: int | None = Field(examples=[420])
    p90: int | None = Field(examples=[1300])
    p99: int | None = Field(examples=[4100])


class UsageCounts(BaseModel):
    """What was used; `cost` in the currency of the prices in `proxy.toml`, `points` of Poe."""

    requests: int = Field(examples=[12])
    errors: int
    prompt_tokens: int = Field(examples=[2400])
    completion_tokens: int = Field(examples=[700])
    total_tokens: int = Field(examples=[3100])
    cost: float = Field(examples=[0.0125])
    points: float
    first_token_ms: Latency
    duration_ms: Latency


class UsageGroup(UsageCounts):
    """One day, model, project or key; a key has its name and last characters too."""

    group: str | int = Field(examples=["2026-11-22"])
    name: str | None = Field(default=None, examples=[None])
    last4: str | None = Field(default=None, examples=[None])


class PoeBalance(BaseModel):
    """Points left on the account of a provider that is Poe."""

    provider: str = Field(examples=["poe"])
    points: float = Field(examples=[812_500.0])
    read_at: Time


class UsageOut(BaseModel):
    """Days are in UTC, both included; `balance` is for operators and keys of the scope admin."""

    from_: str = Field(alias="from", examples=["2026-11-01"])
    to: str = Field(examples=["2026-11-30"])
    group_by: GroupBy
    groups: list[UsageGroup]
    total: UsageCounts
    # A default of [] would be the example, which is to show a balance.
    balance: list[PoeBalance] = Field(default_factory=list)


class Tally:
    """Sums of roll-ups."""

    def __init__(self) -> None:
        self.counts: dict[str, float] = dict.fromkeys(COUNTS, 0)
        self.buckets: dict[str, dict[str, int]] = {name: {} for name in LATENCIES}

    def add(self, raw: Mapping[str, Any]) -> None:
        """Add one roll-up."""
        for name in COUNTS:
            self.counts[name] += raw.get(name, 0)
        for name, buckets in self.buckets.items():
            for bucket, count in raw.get(name, {}).items():
                buckets[bucket] = buckets.get(bucket, 0) + count

    def out(self) -> dict[str, Any]:
        """Under the wire names."""
        tokens = self.counts["prompt_tokens"] + self.counts["completion_tokens"]
        return {
            **self.counts,
            "cost": round(self.counts["cost"], 6),
            "total_tokens": tokens,
            **{
                name: {label: percentile(buckets, share) for label, share in PERCENTILES.items()}
                for name, buckets in self.buckets.items()
            },
        }
