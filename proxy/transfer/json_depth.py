"""How deep JSON nests, told from its bytes as they arrive.

A streaming parser keeps the path to where it is: the memory it takes for `[` times a hundred
thousand grows with the square of that. Whoever parses a stranger's stream looks here first.
"""

import re
from itertools import accumulate

ESCAPE = re.compile(rb"\\.", re.DOTALL)
NO_STRUCTURE = bytes(set(range(256)) - set(b'"[]{},'))
STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class DepthGuard:
    """Follows the nesting over chunks of one JSON text, and counts its values.

    `nodes` is about how many values there were: one for each comma, list and object.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._depth = 0
        self._in_string = False
        self._held = b""
        self.nodes = 0

    def exceeds(self, chunk: bytes) -> bool:
        """Whether the text nests deeper than the limit within this chunk."""
        chunk = self._held + chunk
        # A backslash at the end belongs to what comes next.
        backslashes = len(chunk) - len(chunk.rstrip(b"\\"))
        self._held = b"\\" if backslashes % 2 else b""
        if self._held:
            chunk = chunk[:-1]
        parts = ESCAPE.sub(b"", chunk).translate(None, NO_STRUCTURE).split(b'"')
        outside = b"".join(parts[int(self._in_string) :: 2])
        self._in_string ^= len(parts) % 2 == 0
        commas = outside.count(b",")
        outside = outside.translate(None, b",")
        self.nodes += commas + outside.count(b"[") + outside.count(b"{")
        deepest = self._depth
        for depth in accumulate(map(STEP.__getitem__, outside), initial=self._depth):
            deepest = max(deepest, depth)
            self._depth = depth
        return deepest > self._limit
