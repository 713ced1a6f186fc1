"""What opens the server, as text: API keys, session tokens, passwords.

A key is `sk-proxy-`, 256 random bits and a checksum, all in base 62. The checksum (CRC-32 of
what precedes it, as code hosts do for their tokens) tells a typo or a cut key from a wrong one
without a look-up. Only the SHA-256 of a key is ever stored: with 256 random bits a slow hash
would protect nothing more. A password is hashed by argon2id in a thread: memory-hard, so a few
at a time.
"""

import asyncio
import hashlib
import re
import secrets
import string
import zlib

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

PREFIX = "sk-proxy-"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
SECRET_CHARACTERS = 43
"""62**43 is just above 2**256."""

CHECKSUM_CHARACTERS = 6
FORMAT = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{SECRET_CHARACTERS + CHECKSUM_CHARACTERS}}}")

HASHES_AT_ONCE = 2
"""Each takes 64 MiB and tens of milliseconds of a core."""

PASSWORD_CHARACTERS = 1024


def new_key() -> str:
    """Return a key nobody had before: `sk-proxy-` and 49 letters and digits."""
    body = PREFIX + _base62(secrets.randbits(256), SECRET_CHARACTERS)
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether the format and the checksum are right; says nothing about whether it opens."""
    if FORMAT.fullmatch(key) is None:
        return False
    return _checksum(key[:-CHECKSUM_CHARACTERS]) == key[-CHECKSUM_CHARACTERS:]


def hash_key(key: str) -> str:
    """SHA-256 in hexadecimal digits: what the database and the caches know a key by."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def new_token() -> str:
    """Return a session's secret for a cookie: 256 random bits, safe in a header."""
    return secrets.token_urlsafe(32)


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECKSUM_CHARACTERS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, rest = divmod(number, 62)
        digits.append(ALPHABET[rest])
    return "".join(reversed(digits))


class Verifier:
    """Hashes passwords and compares them with hashes, a few at once."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._room = asyncio.Semaphore(HASHES_AT_ONCE)
        self._hash_of_nobody = ""

    async def hash(self, password: str) -> str:
        """Return the salted hash to keep: `$argon2id$v=19$m=65536,t=3,p=4$…`."""
        async with self._room:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def matches(self, hash_: str | None, password: str) -> bool:
        """Whether a password has this hash; without one it takes the same time and does not."""
        async with self._room:
            return await asyncio.to_thread(self._matches, hash_, password)

    def _matches(self, hash_: str | None, password: str) -> bool:
        self._hash_of_nobody = self._hash_of_nobody or self._hasher.hash("nobody")
        try:
            found = self._hasher.verify(hash_ or self._hash_of_nobody, password)
        except (VerificationError, InvalidHashError):
            return False
        return found and hash_ is not None
