"""Hashes of passwords, where a test is not about their 0.2 seconds of a core."""

from argon2 import PasswordHasher

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def quick_hash(password: str) -> str:
    """A hash that is compared at once."""
    return QUICK.hash(password)
