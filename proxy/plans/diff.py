"""A unified diff of two texts, in time that grows with their size and not with its square.

Lines that are the same and occur once on both sides are anchors (Bram Cohen's "patience"
diff); only short stretches between anchors are compared line by line.
"""

import difflib
import math
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

CONTEXT_LINES = 3

DENSE_LINES = 400
"""A stretch without anchors up to this size is compared line by line, a longer one replaced."""

MAX_DEPTH = 40
"""How often a stretch is searched for anchors that were not unique around it."""

Stretch = tuple[int, int, int, int]
"""Lines `a[i:j]` and lines `b[k:m]`."""


def unified_diff(a: str, b: str, a_name: str, b_name: str, *, seconds: float = math.inf) -> str:
    """Return what turns `a` into `b`, in the format of `diff -u`; empty when they are equal.

    Lines end at LF only; a last line without one is marked as `diff` does. What is not compared
    within `seconds` is shown as replaced: it is a diff still, and a longer one.
    """
    deadline = time.monotonic() + seconds
    if a == b:
        return ""
    a_lines, b_lines = _lines(a), _lines(b)
    out = [f"--- {a_name}\n", f"+++ {b_name}\n"]
    for hunk in _hunks(_changes(a_lines, b_lines, deadline)):
        out += _render(hunk, a_lines, b_lines)
    return "".join(out)


def _lines(text: str) -> list[str]:
    *ended, last = text.split("\n")
    lines = [f"{line}\n" for line in ended]
    return [*lines, last] if last else lines


def _changes(a: list[str], b: list[str], deadline: float) -> list[Stretch]:
    """Return the stretches that differ, in order."""
    changes: list[Stretch] = []
    stack = [((0, len(a), 0, len(b)), 0)]
    while stack:
        stretch, depth = stack.pop()
        i, j, k, m = _trimmed(a, b, stretch)
        if i == j and k == m:
            continue
        if i == j or k == m:
            changes.append((i, j, k, m))
            continue
        if time.monotonic() > deadline:
            changes.append((i, j, k, m))
            continue
        anchors = _anchors(a, b, (i, j, k, m)) if depth < MAX_DEPTH else []
        if anchors:
            between = []
            for x, y in anchors:
                between.append(((i, x, k, y), depth + 1))
                i, k = x + 1, y + 1
            stack += reversed([*between, ((i, j, k, m), depth + 1)])
        elif j - i + m - k <= DENSE_LINES:
            matcher = difflib.SequenceMatcher(None, a[i:j], b[k:m], autojunk=False)
            changes += [
                (i + i1, i + i2, k + k1, k + k2)
                for operation, i1, i2, k1, k2 in matcher.get_opcodes()
                if operation != "equal"
            ]
        else:
            changes.append((i, j, k, m))
    return changes


def _trimmed(a: list[str], b: list[str], stretch: Stretch) -> Stretch:
    i, j, k, m = stretch
    while i < j and k < m and a[i] == b[k]:
        i, k = i + 1, k + 1
    while i < j and k < m and a[j - 1] == b[m - 1]:
        j, m = j - 1, m - 1
    return i, j, k, m


def _anchors(a: list[str], b: list[str], stretch: Stretch) -> list[tuple[int, int]]:
    """Pairs of equal lines, unique on both sides, that ascend on both: the longest such row."""
    i, j, k, m = stretch
    in_a, in_b = Counter(a[i:j]), Counter(b[k:m])
    line_in_b = {line: y for y, line in enumerate(b[k:m], k) if in_b[line] == 1}
    pairs = [(x, line_in_b[a[x]]) for x in range(i, j) if a[x] in line_in_b and in_a[a[x]] == 1]
    # Patience sorting: `ends[n]` is the smallest end of an ascending row of n + 1 pairs.
    ends: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for index, (_, y) in enumerate(pairs):
        length = bisect_left(ends, y)
        before.append(last[length - 1] if length else -1)
        ends[length : length + 1] = [y]
        last[length : length + 1] = [index]
    row = []
    index = last[-1] if last else -1
    while index >= 0:
        row.append(pairs[index])
        index = before[index]
    return row[::-1]


def _hunks(changes: list[Stretch]) -> Iterator[list[Stretch]]:
    """Yield changes that share their lines of context."""
    hunk: list[Stretch] = []
    for change in changes:
        if hunk and change[0] - hunk[-1][1] > 2 * CONTEXT_LINES:
            yield hunk
            hunk = []
        hunk.append(change)
    if hunk:
        yield hunk


def _render(hunk: list[Stretch], a: list[str], b: list[str]) -> Iterator[str]:
    before = min(CONTEXT_LINES, hunk[0][0])
    after = min(CONTEXT_LINES, len(a) - hunk[-1][1])
    i, k = hunk[0][0] - before, hunk[0][2] - before
    j, m = hunk[-1][1] + after, hunk[-1][3] + after
    yield f"@@ -{_range(i, j)} +{_range(k, m)} @@\n"
    for i1, i2, k1, k2 in hunk:
        yield from _marked(" ", a[i:i1])
        yield from _marked("-", a[i1:i2])
        yield from _marked("+", b[k1:k2])
        i = i2
    yield from _marked(" ", a[i:j])


def _range(start: int, end: int) -> str:
    count = end - start
    if count == 1:
        return str(start + 1)
    return f"{start + 1 if count else start},{count}"


def _marked(mark: str, lines: list[str]) -> Iterator[str]:
    for line in lines:
        yield (
            mark + line if line.endswith("\n") else f"{mark}{line}\n\\ No newline at end of file\n"
        )
