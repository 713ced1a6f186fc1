"""Looks for secrets in every log line of every test."""

import logging
import re

KNOWN = (
    "an-operator-key-of-the-settings",
    "the passphrase of the tests",
    "zebra crossing 42",
    "secret-detail",
    "sk-test-0123456789",
    "upstream-secret-key",
)
"""Keys and passwords that tests use, and what their upstreams say in confidence."""

PATTERNS = (
    r"sk-proxy-[0-9A-Za-z]{20}",  # a key
    r"proxy_session=[^\s;\"']{8}",  # a session's cookie
    r"\$argon2",  # a password's hash
    r"[Bb]earer\s+(?!<)[^\s'\"]{3}",  # whatever was sent as a key
    r"mongodb(\+srv)?://[^\s/@:]+:[^\s/@]+@",  # a database's password
    *map(re.escape, KNOWN),
)

SECRET = re.compile("|".join(PATTERNS))


class SecretWatch(logging.Handler):
    """Collects the log lines that hold a secret."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if SECRET.search(line):
            self.found.append(line)
