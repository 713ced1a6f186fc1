"""Tokens of a text, counted exactly as OpenAI's tokenizer does, with its vocabulary on board.

They are counted by a process that starts when the first text comes: the vocabulary takes 60 MiB,
and for the third of a second that it takes to load no other thread of its process can run. A
server that never sees a long conversation or a digest does without both.
"""

import asyncio
import subprocess
import sys
import threading
import weakref
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

TOKENIZER_NAME = "o200k_base"
"""What the counts are counted with."""

CACHED_CHARACTERS = 16_384
"""Counts of texts up to this size are cached: a history is counted once, not every turn."""

CACHED_TEXTS = 2_048


class TokenizerDied(Exception):
    """The process that counts cannot be started, or died of the same texts twice."""


class Tokenizer:
    """The process that counts, started when it is needed; safe from any thread."""

    def __init__(self, python: str = sys.executable) -> None:
        self._python = python
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, so that it loads its vocabulary while something else is done."""
        with self._lock:
            self._running()

    def count(self, texts: Sequence[bytes]) -> list[int]:
        """Tokens of each of these UTF-8 texts.

        Raises:
            TokenizerDied: twice in a row.
        """
        with self._lock:
            # Somebody may have killed it, perhaps the kernel for its memory.
            for _ in range(2):
                try:
                    return self._ask(texts)
                except OSError:
                    self._end()
            raise TokenizerDied

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            script = Path(__file__).with_name("process.py")
            self._process = subprocess.Popen(
                # Without the script's folder, whose names are those of modules, on the path.
                [self._python, "-P", str(script), TOKENIZER_NAME],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            weakref.finalize(self, _stop, self._process)
        return self._process

    def _ask(self, texts: Sequence[bytes]) -> list[int]:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        header = array("Q", [len(texts), *map(len, texts)])
        process.stdin.write(b"".join((header, *texts)))
        process.stdin.flush()
        counts = process.stdout.read(8 * len(texts))
        if len(counts) < 8 * len(texts):
            raise BrokenPipeError("the tokenizer's process ended")
        return list(array("Q", counts))

    def _end(self) -> None:
        if self._process is not None:
            _stop(self._process)
            self._process = None


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    # Waits for it, and closes both pipes.
    process.communicate()


tokenizer = Tokenizer()
"""This process's own."""

_cached: OrderedDict[str, int] = OrderedDict()


def count_tokens_of_utf8(texts: Sequence[bytes]) -> list[int]:
    """Tokens of each text; blocks, so call it in a thread."""
    return tokenizer.count(texts) if texts else []


def count_tokens(text: str) -> int:
    """Tokens of one text; blocks, so call it in a thread."""
    return count_tokens_of_utf8([text.encode()])[0]


async def token_counts(texts: Iterable[str]) -> list[int]:
    """Tokens of each text, of short ones from memory where they were counted before."""
    texts = list(texts)
    counts = {text: count for text in texts if (count := _cached.get(text)) is not None}
    for text in counts:
        _cached.move_to_end(text)
    missing = [text for text in dict.fromkeys(texts) if text not in counts]
    if missing:
        counted = await asyncio.to_thread(
            lambda: count_tokens_of_utf8([text.encode() for text in missing])
        )
        counts.update(zip(missing, counted, strict=True))
        _cache(missing, counted)
    return [counts[text] for text in texts]


def _cache(texts: list[str], counts: list[int]) -> None:
    for text, count in zip(texts, counts, strict=True):
        if len(text) <= CACHED_CHARACTERS:
            _cached[text] = count
    while len(_cached) > CACHED_TEXTS:
        _cached.popitem(last=False)
