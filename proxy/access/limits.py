"""How often a key may ask, and how often somebody may try to log in.

Counted by moving windows in the database, so all workers count together; only keys that have a
limit cost a round trip.
"""

import asyncio
import hashlib

from proxy.access.addresses import host_of
from proxy.access.usage import UsageRecorder
from proxy.caller import CallerInfo
from proxy.documents.rate_window import Rate, RateWindow
from proxy.errors import TooManyRequests
from proxy.settings import Settings

LOGINS_FROM_ADDRESS = 10
"""Times `login_attempts`: behind one address may be an office."""
LOGINS_UNDER_NAME = 20
"""Times `login_attempts`: fewer would let a stranger lock somebody out from a few addresses."""
TOO_MANY_LOGINS = "Too many attempts to log in"


class Limits:
    """Counts requests and attempts to log in.

    `searches` is what a search waits for its turn with.
    """

    def __init__(self, settings: Settings, usage: UsageRecorder) -> None:
        self._settings = settings
        self._usage = usage
        self.searches = asyncio.Semaphore(settings.searches)

    async def count_request(self, caller: CallerInfo) -> None:
        """Count one request of a key.

        Raises:
            TooManyRequests: the key's requests of this minute are used up.
        """
        if caller.key_id:
            self._usage.key_used(caller.key_id)
        if caller.requests_per_minute:
            rate = Rate("requests", caller.requests_per_minute, 60)
            seconds = await RateWindow.add(rate, caller.key_id)
            _refuse_until_room(seconds, f"This key may send {rate.limit} requests a minute")

    async def count_login(self, name: str, address: str) -> None:
        """Count one attempt to log in: from an address, under a name from there, under a name.

        One that is refused is counted nowhere, so nobody is locked out by being refused.

        Raises:
            TooManyRequests: too many of one of these within the window.
        """
        host = host_of(address)
        counted = [
            (self._logins("address", LOGINS_FROM_ADDRESS), host),
            (self._logins("pair", 1), _pair(name, host)),
            (self._logins("name", LOGINS_UNDER_NAME), _pair(name, "")),
        ]
        for rate, who in counted:
            _refuse_until_room(await RateWindow.seconds_until_room(rate, who), TOO_MANY_LOGINS)
        for rate, who in counted:
            _refuse_until_room(await RateWindow.add(rate, who), TOO_MANY_LOGINS)

    async def forget_logins(self, name: str, address: str) -> None:
        """After a right password: a person who mistyped before starts afresh."""
        await RateWindow.forget(self._logins("pair", 1), _pair(name, host_of(address)))

    def _logins(self, kind: str, times: int) -> Rate:
        settings = self._settings
        limit = settings.login_attempts * times
        return Rate(f"login_{kind}", limit, settings.login_window_seconds)


def _refuse_until_room(seconds: int, sentence: str) -> None:
    if seconds:
        raise TooManyRequests(
            f"{sentence}; wait {seconds} seconds",
            code="rate_limit_exceeded",
            retry_after_seconds=seconds,
        )


def _pair(name: str, host: str) -> str:
    """Return what a name and an address are counted under: short, whatever was sent."""
    return hashlib.sha256(f"{host} {name}".encode("utf-8", "surrogateescape")).hexdigest()
