"""Log probabilities of tokens, as a provider tells them."""

from math import isfinite
from typing import Any

MOST_ALTERNATIVES = 20
"""Other likely tokens at one place, as OpenAI has it."""


def tokens_in(content: Any, others: int = MOST_ALTERNATIVES) -> list[dict[str, Any]]:
    """Read a provider's list of tokens; what is no token is left out.

    `others` are the likely tokens that one may have beside itself.
    """
    found = []
    for each in content if isinstance(content, list) else ():
        if not isinstance(each, dict) or not isinstance(token := each.get("token"), str):
            continue
        logprob = each.get("logprob")
        if not isinstance(logprob, int | float) or isinstance(logprob, bool):
            continue
        if not isfinite(logprob):
            continue
        known: dict[str, Any] = {
            "token": token.encode("utf-8", "replace").decode().replace("\x00", ""),
            "bytes": _bytes(each.get("bytes")),
            "logprob": logprob,
        }
        if others:
            known["top_logprobs"] = tokens_in(each.get("top_logprobs"), 0)[:others]
        found.append(known)
    return found


def _bytes(value: Any) -> list[int]:
    """Return the bytes of a token, where a provider told them."""
    if not isinstance(value, list) or any(type(each) is not int for each in value):
        return []
    return [each for each in value if 0 <= each < 256]
