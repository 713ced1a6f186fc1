"""The process that counts tokens: batches of texts on standard input, counts on the output.

Run as a script, not imported; it needs nothing of the package. A batch is the number of texts,
the size of each in bytes, and the texts in UTF-8; the answer is one count for each. Numbers are
unsigned, 64 bits, in the machine's order. It ends when its input does, and so with its parent,
however that ends.
"""

import signal
import sys
from array import array
from typing import BinaryIO

import toktok


def serve(requests: BinaryIO, answers: BinaryIO, encoding: str) -> None:
    """Answer batch after batch."""
    while header := requests.read(8):
        (texts,) = array("Q", header)
        sizes = array("Q", requests.read(8 * texts))
        batch = [requests.read(size).decode() for size in sizes]
        # One thread: the parent's work goes on beside it, on what may be the only other core.
        answers.write(array("Q", toktok.batch_count(batch, encoding, threads=1)))
        answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    serve(sys.stdin.buffer, sys.stdout.buffer, sys.argv[1])
