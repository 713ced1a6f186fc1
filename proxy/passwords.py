"""Passwords, hashed by argon2id in a thread: memory-hard, so a few at a time."""

import asyncio
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

AT_ONCE = 2
"""Each takes 64 MiB and tens of milliseconds of a core."""

MAX_CHARACTERS = 1024

_hasher = PasswordHasher()


async def hash_password(password: str) -> str:
    """The salted hash to keep: `$argon2id$v=19$m=65536,t=3,p=4$…`."""
    return await asyncio.to_thread(_hasher.hash, password)


class Verifier:
    """Compares passwords with hashes, a few at once."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(AT_ONCE)

    async def matches(self, hash_: str | None, password: str) -> bool:
        """Whether a password has this hash; without one it takes the same time and does not."""
        async with self._room:
            return await asyncio.to_thread(_matches, hash_, password)


def _matches(hash_: str | None, password: str) -> bool:
    try:
        return _hasher.verify(hash_ or _hash_of_nobody(), password) and hash_ is not None
    except (VerificationError, InvalidHashError):
        return False


@lru_cache(maxsize=1)
def _hash_of_nobody() -> str:
    return _hasher.hash("nobody")
