"""Tokens are counted by a process of its own, and whatever happens to that stays there."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import toktok

from proxy.tokenizer.tokens import (
    CACHED_TEXTS,
    TOKENIZER_NAME,
    Tokenizer,
    TokenizerDied,
    _cached,
    count_tokens_of_utf8,
    token_counts,
    tokenizer,
)
from tests.conftest import LiveServer
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.replies import create, provider, say

TEXTS = ["", "hello world", "你好，世界", "a\0b\r\n", "🙂" * 500, "x" * 300_000]


def exact(texts: list[str]) -> list[int]:
    return list(toktok.batch_count(texts, TOKENIZER_NAME))


def pid() -> int:
    assert tokenizer._process is not None
    return tokenizer._process.pid


async def test_counts_are_those_of_the_tokenizer_in_order() -> None:
    assert await token_counts(TEXTS) == exact(TEXTS)
    # Some are kept now, and some come twice.
    again = [*reversed(TEXTS), "something new", TEXTS[1]]
    assert await token_counts(again) == exact(again)
    assert await token_counts([]) == []


def test_threads_that_count_at_once_get_their_own_counts() -> None:
    batches = [[f"thread {number} says {'word ' * number}"] * 3 for number in range(20)]
    found: dict[int, list[int]] = {}

    def count(number: int) -> None:
        found[number] = count_tokens_of_utf8([text.encode() for text in batches[number]])

    threads = [threading.Thread(target=count, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: exact(batch) for number, batch in enumerate(batches)}


def test_a_killed_tokenizer_is_started_again() -> None:
    assert count_tokens_of_utf8([b"one"]) == exact(["one"])
    first = pid()
    os.kill(first, signal.SIGKILL)
    assert count_tokens_of_utf8([b"two words"]) == exact(["two words"])
    assert pid() != first


@pytest.mark.parametrize("python", ["/nowhere/python", "/bin/false"])
def test_a_tokenizer_that_cannot_run_says_so(python: str) -> None:
    with pytest.raises(TokenizerDied):
        Tokenizer(python).count([b"text"])


def test_a_tokenizer_does_not_outlive_a_killed_parent() -> None:
    script = (
        "import time; from proxy.tokenizer.tokens import *; count_tokens('x');"
        "print(tokenizer._process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = Path("/proc") / parent.stdout.readline().decode().strip()
        parent.kill()
    deadline = time.monotonic() + 60
    while child.exists() and "\nState:\tZ" not in (child / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_a_turn_that_fits_by_its_bytes_needs_no_tokenizer(live: LiveServer) -> None:
    tokenizer._end()
    async with OpenAIUpstream() as upstream, live(providers=[provider(upstream)]) as client:
        id_ = await create(client)
        for _ in range(3):
            await say(client, id_)
        assert tokenizer._process is None


def test_what_is_kept_is_bounded() -> None:
    texts = [f"text {number}" for number in range(CACHED_TEXTS + 10)]
    asyncio.run(token_counts(texts))
    assert len(_cached) == CACHED_TEXTS
    assert texts[-1] in _cached
