"""How the C library's allocator keeps what the server has given back (glibc only).

With its defaults each thread gets a pool of its own, and a first large block that is freed lets
blocks of its size come from the pools, too. Digests, imports and searches, each in some thread,
left holes of 25 MiB there within minutes, and they still grew after an hour. One pool, and large
blocks straight from the system, hold two (`docs/performance.md`, "A soak").
"""

import ctypes
import os
import sys

LARGE_BYTES = 256 * 1024
"""Blocks from this size on are the system's own, and go back to it when they are freed."""

KEPT_BYTES = 512 * 1024
"""Free memory at the end of the pool that is not given back, so as not to ask for it again."""

# Of malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def give_memory_back() -> None:
    """Let freed memory return to the system; call it before there are threads.

    Does nothing with another C library, or where the environment sets the allocator up itself
    (`MALLOC_ARENA_MAX` and the like, `GLIBC_TUNABLES`).
    """
    if sys.platform != "linux" or any(
        name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ
    ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_ARENA_MAX, 1)
    mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
    mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
