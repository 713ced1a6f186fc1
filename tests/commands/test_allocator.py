"""Freed memory goes back: the threads of a server share one pool of the allocator."""

import os
import subprocess
import sys

import pytest

from proxy.commands.allocator import LARGE_BYTES

# Prints how many pools there are after eight threads have allocated at the same time, and how
# many bytes the system itself has given for one block.
PROGRAM = """
import ctypes, os, sys, tempfile, threading

if sys.argv[2] == "called":
    from proxy.commands.allocator import give_memory_back

    give_memory_back()
libc = ctypes.CDLL(None)
libc.fopen.restype = libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = libc.fclose.argtypes = [ctypes.c_void_p]
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
size = int(sys.argv[1])
# With the defaults blocks of this size are not the system's any more once one was freed.
libc.free(libc.malloc(size))
there = threading.Barrier(9)


def allocate():
    kept = libc.malloc(size)
    there.wait()
    there.wait()
    libc.free(kept)


threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
there.wait()
with tempfile.NamedTemporaryFile("r") as told:
    file = libc.fopen(told.name.encode(), b"w")
    libc.malloc_info(0, file)
    libc.fclose(file)
    text = told.read()
there.wait()
blocks = text.rpartition('type="mmap" count="')[2].partition('"')[0]
print(text.count("<heap nr="), int(blocks) >= 8)
"""

GLIBC = sys.platform == "linux" and os.confstr("CS_GNU_LIBC_VERSION")


def told(called: str, **environment: str) -> list[str]:
    """Number of pools, and whether eight blocks are the system's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(LARGE_BYTES), called],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
    )
    return done.stdout.split()


@pytest.mark.skipif(not GLIBC, reason="another C library")
def test_threads_share_one_pool_and_large_blocks_go_back() -> None:
    assert told("called") == ["1", "True"]
    pools, from_system = told("not called")
    assert (int(pools) > 1, from_system) == (True, "False")


@pytest.mark.skipif(not GLIBC, reason="another C library")
def test_what_the_environment_says_of_the_allocator_is_kept() -> None:
    assert told("called", MALLOC_ARENA_MAX="3")[0] == "3"
