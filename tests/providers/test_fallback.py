"""Routes in turn: who may answer later is asked again, who refused for good is not."""

from proxy import errors
from proxy.providers.echo import EchoProvider
from proxy.providers.fallback import ask_in_turn
from proxy.providers.registry import Route

ROUTES = [Route(EchoProvider(), name) for name in ("gone", "locked", "busy")]


async def test_a_route_that_refused_for_good_is_asked_once() -> None:
    asked: list[str] = []

    async def ask(route: Route) -> str:
        asked.append(route.model)
        if route.model == "gone":
            raise errors.ModelNotFound
        if route.model == "locked":
            raise errors.UpstreamRejectedKey
        if asked.count("busy") < 3:
            raise errors.UpstreamRateLimited(retry_after_seconds=0)
        return "answer"

    assert await ask_in_turn(ROUTES, ask, budget_seconds=30) == "answer"
    assert asked == ["gone", "locked", "busy", "busy", "busy"]
