"""A model's routes in turn, and again within a time budget, until one of them answers."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from proxy.errors import ModelNotFound, UpstreamError
from proxy.metrics import FALLBACKS
from proxy.providers.registry import Route

T = TypeVar("T")

log = logging.getLogger(__name__)

BACKOFF_SECONDS = 0.4
"""Mean wait before the second try; it doubles with each further one, with jitter."""

MAX_BACKOFF_SECONDS = 4.0


async def ask_in_turn(
    routes: Sequence[Route],
    ask: Callable[[Route], Awaitable[T]],
    *,
    budget_seconds: float,
    has_begun: Callable[[], bool] = lambda: False,
) -> T:
    """Return what the first route that answers gives.

    A route that may answer later is asked again after a pause, one that refused for good is not.
    Once `has_begun` says that something of an answer arrived, nothing is tried again.

    Raises:
        UpstreamError: the failure that a person can do something about, else the first.
    """
    deadline = time.monotonic() + budget_seconds
    wait = BACKOFF_SECONDS
    asked = list(routes)
    final: list[tuple[Route, UpstreamError]] = []
    while True:
        again: list[tuple[Route, UpstreamError]] = []
        for position, route in enumerate(asked, 1):
            try:
                return await ask(route)
            except UpstreamError as error:
                if has_begun():
                    raise
                log.info("%s/%s: %s", route.provider.name, route.model, error.detail)
                for following in asked[position : position + 1]:
                    names = (route.provider.name, following.provider.name)
                    FALLBACKS.add((*names, error.type))
                # Who refused for good says the same the next time.
                (again if error.retryable else final).append((route, error))
        pause = max(
            wait * random.uniform(0.5, 1.5),
            min((error.retry_after_seconds or 0.0 for _, error in again), default=0.0),
        )
        if not again or time.monotonic() + pause > deadline:
            # What a person can do something about comes before what may pass by itself.
            route, failure = (final or again)[0]
            if isinstance(failure, ModelNotFound) and route.not_found is not None:
                unknown = route.not_found()
                # The sentence is ours, what programs look at is the provider's.
                unknown.code = failure.code
                unknown.retry_after_seconds = failure.retry_after_seconds
                raise unknown
            raise failure
        asked = [route for route, _ in again]
        await asyncio.sleep(pause)
        wait = min(wait * 2, MAX_BACKOFF_SECONDS)
