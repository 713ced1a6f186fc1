"""What an upstream says it counted, in any of the known shapes, bounded.

OpenAI (`prompt_tokens`), its Responses and Anthropic (`input_tokens`), Gemini
(`promptTokenCount`) and Ollama (`prompt_eval_count`) are read.
"""

import math
from typing import Any

from proxy.providers.base import MAX_COUNT, Usage

MAX_DETAILS = 64
"""Numbers kept on one level of the details."""

_PROMPT = ("prompt_tokens", "input_tokens", "promptTokenCount", "prompt_eval_count")
_COMPLETION = ("completion_tokens", "output_tokens", "candidatesTokenCount", "eval_count")
_TOTAL = ("total_tokens", "totalTokenCount")
_READ = frozenset((*_PROMPT, *_COMPLETION, *_TOTAL))


def usage_of(counted: Any) -> Usage | None:
    """Read a `usage` object; None where it does not say how many tokens went in and out.

    What is above the sum in the upstream's total is reasoning that it does not name.
    """
    if not isinstance(counted, dict):
        return None
    if (usual := _usual(counted)) is not None:
        return usual
    total = _first(counted, _TOTAL)
    prompt = _first(counted, _PROMPT)
    completion = _first(counted, _COMPLETION)
    if prompt is None and completion is not None and total is not None:
        prompt = max(total - completion, 0)
    if completion is None and prompt is not None and total is not None:
        completion = max(total - prompt, 0)
    if prompt is None or completion is None or not (prompt or completion or total):
        return None
    details = {key: each for key, each in counted.items() if key not in _READ}
    return Usage(
        prompt,
        completion,
        "reported",
        counts_of(details),
        min(max(total or 0, prompt + completion), MAX_COUNT),
    )


def _usual(counted: dict[str, Any]) -> Usage | None:
    """Read what most upstreams say; None of anything else, or of numbers that do not add up."""
    if len(counted) != 3:
        return None
    prompt, completion, total = map(counted.get, ("prompt_tokens", "completion_tokens", _TOTAL[0]))
    if not (type(prompt) is type(completion) is type(total) is int):
        return None
    if prompt < 0 or completion < 0 or total == 0 or total != prompt + completion:
        return None
    return Usage(prompt, completion, "reported", {}, total) if total <= MAX_COUNT else None


def bounded(usage: Usage) -> Usage:
    """Return a usage whose every number can be stored, whoever counted."""
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if (
        type(prompt) is type(completion) is type(usage.reported_total) is int
        and 0 <= prompt <= MAX_COUNT
        and 0 <= completion <= MAX_COUNT
        and 0 <= usage.reported_total <= MAX_COUNT
        and not usage.details
    ):
        return usage
    return Usage(
        _count(usage.prompt_tokens) or 0,
        _count(usage.completion_tokens) or 0,
        usage.provenance,
        counts_of(usage.details),
        _count(usage.reported_total) or 0,
    )


def counts_of(details: dict[str, Any], levels: int = 2) -> dict[str, Any]:
    """Return the numbers of an object, two levels deep, each one that can be stored."""
    counts: dict[str, Any] = {}
    for name, value in details.items():
        if not isinstance(name, str) or not 0 < len(name) <= 100 or set(name) & set("$.\x00"):
            continue
        if isinstance(value, dict):
            if levels > 1 and (inner := counts_of(value, levels - 1)):
                counts[name] = inner
        elif _is_finite(value):
            counts[name] = min(max(value, 0), MAX_COUNT)
        if len(counts) == MAX_DETAILS:
            break
    return counts


def _first(counted: dict[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        if (count := _count(counted.get(name))) is not None:
            return count
    return None


def _count(value: Any) -> int | None:
    if isinstance(value, str) and len(value) < 20:
        try:
            value = float(value)
        except ValueError:
            return None
    return int(min(max(value, 0), MAX_COUNT)) if _is_finite(value) else None


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)
