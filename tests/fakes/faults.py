"""The fault matrix: one constructor a cell, the same for every protocol.

A protocol's upstream says how a text, the end and an error look as frames; the scripts here
are made of those.
"""

import asyncio
from typing import Any

from tests.fakes.scripted import (
    Script,
    ScriptedUpstream,
    cut,
    head,
    reset,
    script,
    stall,
    tell,
    wait,
    whole,
)

CHARACTER = "漢😀"

SECRET = "It broke in /srv/secret/app.py with sk-secret-0123456789"
"""What no client may see of an upstream's explanation: paths and keys."""


class FaultyUpstream(ScriptedUpstream):
    """A scripted upstream with the answers and faults that every protocol has."""

    # What a protocol says

    @property
    def base_url(self) -> str:
        """What a provider's base URL setting takes."""
        raise NotImplementedError

    def text(self, text: str) -> bytes:
        """The frame of a piece of text."""
        raise NotImplementedError

    def end(self) -> bytes:
        """The frames that end a reply properly."""
        raise NotImplementedError

    def failure(self) -> bytes:
        """The frame of an error inside the stream; its body names `secret-detail`."""
        raise NotImplementedError

    def bad_json(self) -> bytes:
        """A frame whose JSON is broken."""
        raise NotImplementedError

    def error_body(self, message: str, code: str | None = None) -> Any:
        """The JSON body of an HTTP error."""
        raise NotImplementedError

    def texts(self, *texts: str) -> Script:
        """The head of a stream and pieces of text, each written by itself."""
        return script(head(), *(self.text(text) for text in texts))

    # Replies

    def reply(self, *texts: str) -> Script:
        """A whole good reply."""
        return self.texts(*texts) + self.end()

    def reply_when(self, event: asyncio.Event, *texts: str) -> Script:
        """The first piece, then the rest once the event is set."""
        first, *rest = texts
        return self.texts(first) + wait(event) + script(*map(self.text, rest)) + self.end()

    def empty_reply(self) -> Script:
        return self.reply()

    def one_large_delta(self, size: int = 1024 * 1024) -> Script:
        return self.reply("x" * size)

    def many_deltas(self, count: int = 50_000) -> Script:
        """So many frames, in writes of a hundred."""
        before, after = self.text("number ").split(b"number")
        writes = [
            b"".join(b"%b%d%b" % (before, i, after) for i in range(start, min(start + 100, count)))
            for start in range(0, count, 100)
        ]
        return script(head(), *writes, self.end())

    def split_inside_a_character(self) -> Script:
        """A reply of `CHARACTER`, written byte by byte."""
        stream = self.text(CHARACTER)
        return script(head(), *(stream[i : i + 1] for i in range(len(stream))), self.end())

    def line_separators(self) -> Script:
        """A reply of `a\u2028b\u2029c\u0085d`."""
        return self.reply("a\u2028b\u2029c\u0085d")

    # Refusals before any byte of a reply

    def status(self, status: int, message: str = SECRET, **headers: str) -> Script:
        """An HTTP error with the protocol's JSON body; `retry_after="7"` adds the header."""
        return whole(status, self.error_body(message), **headers)

    def coded(self, status: int, code: str, message: str = SECRET) -> Script:
        return whole(status, self.error_body(message, code))

    def html_error(self, status: int = 500) -> Script:
        return whole(status, b"<html>secret-detail at /srv/app.py</html>", "text/html")

    def not_a_stream(self) -> Script:
        """200, but a web page."""
        return whole(200, b"<html>Welcome</html>", "text/html")

    # Breakages

    def cut_before_the_head(self) -> Script:
        return script(cut())

    def cut_before_the_first_token(self) -> Script:
        return script(head(), cut())

    def cut_after(self, *texts: str) -> Script:
        return self.texts(*texts) + cut()

    def reset_after(self, *texts: str) -> Script:
        return self.texts(*texts) + reset()

    def stall_before_the_head(self) -> Script:
        return script(stall())

    def stall_after(self, *texts: str, reached: asyncio.Event | None = None) -> Script:
        """Fall silent after the texts; `reached` is set then."""
        told = script(tell(reached)) if reached else script()
        return self.texts(*texts) + told + stall()

    def ends_without_finish(self, *texts: str) -> Script:
        """The body ends properly, the reply does not."""
        return self.texts(*texts)

    def bad_json_after(self, *texts: str) -> Script:
        return self.texts(*texts) + self.bad_json() + self.end()

    def error_after(self, *texts: str) -> Script:
        return self.texts(*texts) + self.failure()
