"""What a provider's own list says of a model: its window, its prices, what it takes.

Poe, OpenRouter, Groq and vLLM say it beside `id` and `created`; OpenAI says nothing. Source:
https://creator.poe.com/api-reference/listModels and the models pages of the others.
"""

import math
from dataclasses import dataclass
from typing import Any

from proxy.providers.base import MAX_COUNT

MILLISECONDS_FROM = 10**11
"""A `created` from here on is no number of seconds: it would be after the year 5000."""

MIN_CONTEXT_TOKENS = 256
"""A smaller window is a mistake of the list."""

PRICES = ("input_price_per_million_tokens", "output_price_per_million_tokens")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is listed of a model; None is not said. Prices are in the list's currency, USD.

    `images` and `tools` say whether it takes pictures and function tools. `parameters` are the
    JSON schemas of its own parameters by their names.
    """

    context_tokens: int | None = None
    input_price_per_million_tokens: float | None = None
    output_price_per_million_tokens: float | None = None
    price_per_request: float | None = None
    images: bool | None = None
    tools: bool | None = None
    reasoning_effort: bool | None = None
    parameters: dict[str, dict[str, Any]] | None = None

    def shown(self) -> dict[str, Any]:
        """Return what `GET /v1/models` shows under the names that `proxy.toml` has, too."""
        names = ("context_tokens", *PRICES)
        return {name: value for name in names if (value := getattr(self, name)) is not None}


NOTHING_LISTED = ModelFacts()


def facts_of(entry: dict[str, Any]) -> ModelFacts:
    """Read a listed model; what is not of the expected type says nothing."""
    pricing = _object(entry.get("pricing"))
    architecture = _object(entry.get("architecture"))
    modalities = architecture.get("input_modalities", entry.get("input_modalities"))
    features = entry.get("supported_features")
    effort = _object(entry.get("reasoning")).get("supports_reasoning_effort")
    return ModelFacts(
        context_tokens=_window(entry),
        input_price_per_million_tokens=_price(pricing.get("prompt"), 1e6),
        output_price_per_million_tokens=_price(pricing.get("completion"), 1e6),
        price_per_request=_price(pricing.get("request"), 1),
        images="image" in modalities if isinstance(modalities, list) and modalities else None,
        tools="tools" in features if isinstance(features, list) else None,
        reasoning_effort=effort if isinstance(effort, bool) else None,
        parameters=_parameters(entry.get("parameters")),
    )


def in_seconds(created: Any) -> int:
    """Return a `created` in seconds, whatever unit a list has it in; 0 for what is none."""
    if isinstance(created, bool) or not isinstance(created, int | float):
        return 0
    if not math.isfinite(created) or not 0 <= created < MAX_COUNT:
        return 0
    while created >= MILLISECONDS_FROM:
        created /= 1000
    return int(created)


def _window(entry: dict[str, Any]) -> int | None:
    window = entry.get("context_window")
    told = (
        _object(window).get("context_length"),
        window,
        entry.get("context_length"),
        entry.get("max_model_len"),
    )
    for tokens in told:
        if isinstance(tokens, int) and not isinstance(tokens, bool):
            return tokens if MIN_CONTEXT_TOKENS <= tokens <= MAX_COUNT else None
    return None


def _price(value: Any, factor: float) -> float | None:
    """Return a price that may be a text (`"0.0000026"`), times a factor; negative ones are none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        price = float(value) * factor
    except (ValueError, OverflowError):
        return None
    return round(price, 9) if math.isfinite(price) and price >= 0 else None


def _parameters(listed: Any) -> dict[str, dict[str, Any]] | None:
    if not isinstance(listed, list):
        return None
    found = {}
    for parameter in map(_object, listed):
        name = parameter.get("name")
        if isinstance(name, str) and name:
            found[name] = _object(parameter.get("schema"))
    return found


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
