"""Log probabilities of a reply's tokens, kept beside its text and bounded.

They are stored as JSON text, `{"groups": [[12, [{"token", "bytes", "logprob", "top_logprobs"}]]],
"left_out": 0}`: each group stands at the end of the text that it came with, in characters, as
the texts of tokens need not add up to the reply (half a character is a token, too).
"""

import orjson

from proxy.documents.base import Raw
from proxy.documents.message import MessageFields

Group = tuple[int, list[Raw]]
"""Where in the text its tokens end, and what is known of them."""


class Logprobs:
    """What has come so far; tokens above `most_bytes` of JSON are left out and counted."""

    def __init__(self, most_bytes: int) -> None:
        self.groups: list[Group] = []
        self.left_out = 0
        self._bytes_left = most_bytes

    def add(self, end: int, tokens: list[Raw]) -> None:
        """Add the tokens of the text that ends at a character."""
        size = len(orjson.dumps(tokens))
        # Of a reply, what is known is a beginning.
        if self.left_out or size > self._bytes_left:
            self.left_out += len(tokens)
            return
        self._bytes_left -= size
        self.groups.append((end, tokens))

    def packed(self) -> str | None:
        """Return them as they are stored; None where there are none."""
        if not (self.groups or self.left_out):
            return None
        return orjson.dumps({"groups": self.groups, "left_out": self.left_out}).decode()


def groups_of(message: MessageFields) -> list[Group]:
    """Return the log probabilities of a stored message."""
    return [(end, tokens) for end, tokens in _stored(message).get("groups", ())]


def tokens_between(groups: list[Group], start: int, end: int) -> list[Raw]:
    """Return the tokens of a stretch of the text; those before any text belong to the first."""
    first = start if start else -1
    return [token for at, tokens in groups if first < at <= end for token in tokens]


def left_out_of(message: MessageFields) -> int:
    """Return of how many tokens a message has no log probability any more."""
    return int(_stored(message).get("left_out", 0))


def _stored(message: MessageFields) -> Raw:
    text = message.get("logprobs")
    found: Raw = orjson.loads(text) if text else {}
    return found
