import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from proxy import errors
from proxy.providers.base import CompletionRequest, Delta, Provider
from proxy.providers.echo import EchoProvider
from proxy.providers.fallback import ask_in_turn
from proxy.providers.openai import OpenAIProvider
from proxy.providers.poe import PoeProvider
from proxy.providers.registry import Registry, Route
from proxy.settings import SettingsError
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.poe_upstream import PoeUpstream
from tests.fakes.scripted import script, stall, unused_url
from tests.support.providers import deltas, joined, request, settings


class Listed(Provider):
    """A provider that lists the given models; None is one that does not answer."""

    def __init__(self, name: str, models: list[str] | None) -> None:
        self.name = name
        self.listed = models
        self.times_listed = 0
        self.hold: asyncio.Event | None = None
        self.closed = False

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        yield Delta()

    async def list_models(self) -> list[dict[str, Any]]:
        self.times_listed += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.listed is None:
            raise errors.UpstreamUnreachable
        return [
            {"id": name, "object": "model", "created": 1, "owned_by": f"{self.name}-org"}
            for name in self.listed
        ]

    async def close(self) -> None:
        self.closed = True


async def resolved(registry: Registry, model: str) -> list[tuple[str, str]]:
    return [(route.provider.name, route.model) for route in await registry.resolve(model)]


async def ids(registry: Registry) -> list[str]:
    return [model["id"] for model in await registry.models()]


async def eventually(
    look: Callable[..., Awaitable[object]], registry: Registry, expected: object, *args: str
) -> None:
    """Look again until the background refresh has got there."""
    while await look(registry, *args) != expected:  # noqa: ASYNC110 - the registry has no event
        await asyncio.sleep(0)


# Which providers there are


def test_no_keys_give_the_echo_only() -> None:
    registry = Registry(settings())
    assert [type(provider) for provider in registry.providers.values()] == [EchoProvider]
    assert registry.is_echo_only
    assert registry.default_model == "echo"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"openai_api_key": "k"}, {"openai": OpenAIProvider}),
        ({"openai_base_url": "http://127.0.0.1:1/v1"}, {"openai": OpenAIProvider}),
        ({"poe_api_key": "k"}, {"poe": PoeProvider}),
        (
            {"openai_api_key": "k", "poe_api_key": "k"},
            {"openai": OpenAIProvider, "poe": PoeProvider},
        ),
        (
            {
                "poe_api_key": "k",
                "providers": {
                    "deepseek": {"base_url": "http://127.0.0.1:1/v1", "api_key": "d"},
                    "bots": {"kind": "poe", "api_key": "p"},
                },
            },
            {"poe": PoeProvider, "deepseek": OpenAIProvider, "bots": PoeProvider},
        ),
    ],
)
def test_keys_and_tables_give_their_providers(
    overrides: dict[str, Any], expected: dict[str, type]
) -> None:
    registry = Registry(settings(**overrides))
    assert {name: type(each) for name, each in registry.providers.items()} == expected
    assert not registry.is_echo_only


def test_a_default_provider_that_does_not_exist_is_named() -> None:
    with pytest.raises(SettingsError, match=r"PROXY_DEFAULT_PROVIDER: .*'poe', only echo"):
        Registry(settings(default_provider="poe"))


async def test_a_named_openai_compatible_upstream_answers_with_its_own_key() -> None:
    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.reply("hi"))
        registry = Registry(
            settings(
                openai_api_key="sk-official",
                providers={"local": {"base_url": upstream.base_url, "api_key": "sk-local"}},
            )
        )
        [route] = await registry.resolve("local/some/model")
        assert joined(await deltas(route.provider, request(model=route.model))) == "hi"
        assert upstream.requests[0].json["model"] == "some/model"
        assert upstream.requests[0].headers["authorization"] == "Bearer sk-local"
        await registry.close()


async def test_the_official_key_is_not_sent_to_another_upstream() -> None:
    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.reply("hi"))
        registry = Registry(
            settings(
                openai_api_key="sk-official", providers={"local": {"base_url": upstream.base_url}}
            )
        )
        [route] = await registry.resolve("local/m")
        await deltas(route.provider, request(model=route.model))
        assert "authorization" not in upstream.requests[0].headers
        await registry.close()


# Which provider a model goes to


async def test_an_explicit_prefix_wins() -> None:
    a, b = Listed("a", ["m"]), Listed("b", ["m"])
    registry = Registry(settings(), providers=[a, b])
    assert await resolved(registry, "b/m") == [("b", "m")]
    assert await resolved(registry, "b/not/listed") == [("b", "not/listed")]


async def test_a_prefix_that_is_no_provider_is_part_of_the_name() -> None:
    registry = Registry(settings(), providers=[Listed("a", []), Listed("b", ["meta/llama"])])
    assert await resolved(registry, "meta/llama") == [("b", "meta/llama")]


async def test_the_provider_that_lists_the_model_answers() -> None:
    registry = Registry(settings(), providers=[Listed("a", ["x", "m"]), Listed("b", ["m", "Y"])])
    assert await resolved(registry, "Y") == [("b", "Y")]
    assert await resolved(registry, "y") == [("b", "Y")]
    assert await resolved(registry, "m") == [("a", "m")]


async def test_an_unlisted_model_goes_to_the_default_provider() -> None:
    providers = [Listed("a", ["x"]), Listed("b", ["y"])]
    assert await resolved(Registry(settings(), providers=providers), "new") == [("a", "new")]
    registry = Registry(settings(default_provider="b"), providers=providers)
    assert await resolved(registry, "new") == [("b", "new")]


async def test_one_provider_needs_no_list() -> None:
    only = Listed("a", None)
    assert await resolved(Registry(settings(), providers=[only]), "m") == [("a", "m")]
    assert only.times_listed == 0


async def test_models_that_are_configured_but_not_listed_are_found() -> None:
    configured = {"b": {"base_url": "http://127.0.0.1:1", "models": ["hidden"]}}
    registry = Registry(
        settings(providers=configured), providers=[Listed("a", ["x"]), Listed("b", None)]
    )
    assert await resolved(registry, "hidden") == [("b", "hidden")]
    assert await ids(registry) == ["x", "hidden"]


async def test_one_model_is_found_by_its_listed_and_by_its_full_name() -> None:
    registry = Registry(settings(), providers=[Listed("a", ["v/x", "y"]), Listed("b", ["y"])])
    assert await ids(registry) == ["v/x", "y", "b/y"]
    for name in ("v/x", "a/v/x", "y", "a/y", "b/y"):
        found = await registry.model(name)
        assert (found["id"], found["object"]) == (name, "model")
    for name in ("b/v/x", "x", "", "a/"):
        with pytest.raises(errors.ModelNotFound):
            await registry.model(name)


async def test_a_route_names_its_fallbacks_in_order() -> None:
    models = {"fast": {"route": ["b/y", "a/x", "x"]}}
    registry = Registry(settings(models=models), providers=[Listed("a", ["x"]), Listed("b", ["y"])])
    assert await resolved(registry, "fast") == [("b", "y"), ("a", "x"), ("a", "x")]


async def test_the_default_model_may_be_a_route() -> None:
    registry = Registry(
        settings(default_model="fast", models={"fast": {"route": ["b/y"]}}),
        providers=[Listed("a", ["x"]), Listed("b", ["y"])],
    )
    assert await resolved(registry, "") == [("b", "y")]


async def test_the_echo_alone_answers_for_every_name() -> None:
    registry = Registry(settings())
    for name in ("echo", "echo/echo", "", "default", "gpt-4o", "echo/other", "openai/gpt-4o"):
        assert await resolved(registry, name) == [("echo", "echo")]


# Names that nobody lists


async def test_a_listed_name_wins_over_the_prefix_of_a_provider() -> None:
    only = Listed("openai", ["openai/gpt-4o", "gpt-4o", "vendor/m"])
    registry = Registry(settings(), providers=[only])
    assert await resolved(registry, "openai/gpt-4o") == [("openai", "openai/gpt-4o")]
    assert await resolved(registry, "openai/other") == [("openai", "other")]
    assert await resolved(registry, "vendor/m") == [("openai", "vendor/m")]


@pytest.mark.parametrize("name", ["", "default", " Default ", None])
async def test_no_name_means_the_default_model(name: str | None) -> None:
    registry = Registry(settings(default_model="m"), providers=[Listed("a", ["m", "n"])])
    assert await registry.wanted(name) == "m"
    assert await registry.wanted(name, "n") == "n"
    assert await resolved(registry, name or "") == [("a", "m")]


async def test_a_model_that_is_called_default_is_that_model() -> None:
    registry = Registry(
        settings(models={"default": {"route": ["a/n"]}}), providers=[Listed("a", ["m"])]
    )
    assert await resolved(registry, "default") == [("a", "n")]


async def test_patterns_answer_for_names_that_nobody_lists_the_longest_first() -> None:
    models: dict[str, Any] = {
        "*": {"route": ["a/small"]},
        "claude-*": {"route": ["b/claude", "a/small"], "context_tokens": 5000},
        "claude-haiku*": {"route": ["a/haiku"]},
        "claude-exact": {"route": ["b/exact"]},
    }
    given = settings(models=models, fallback_model="never")
    registry = Registry(given, providers=[Listed("a", ["small", "claude-listed"]), Listed("b", [])])
    for name, expected in {
        "ChatGPT-4o-Latest": [("a", "small")],
        "claude-9": [("b", "claude"), ("a", "small")],
        "claude-haiku-9": [("a", "haiku")],
        "claude-exact": [("b", "exact")],
        "claude-listed": [("a", "claude-listed")],
        "small": [("a", "small")],
    }.items():
        assert await resolved(registry, name) == expected
    assert "claude-exact" in await ids(registry)
    assert not [name for name in await ids(registry) if "*" in name]
    assert given.model_context_tokens("claude-9", "claude") == 5000
    assert given.model_context_tokens("small") == given.context_tokens


async def test_the_fallback_model_answers_for_names_that_nobody_lists() -> None:
    registry = Registry(
        settings(fallback_model="small"), providers=[Listed("a", ["small"]), Listed("b", ["x"])]
    )
    assert await resolved(registry, "ChatGPT-4o-Latest") == [("a", "small")]
    assert await resolved(registry, "x") == [("b", "x")]
    assert await resolved(registry, "b/unlisted") == [("b", "unlisted")]


async def test_while_a_list_is_missing_the_name_itself_is_tried_first() -> None:
    registry = Registry(
        settings(fallback_model="small"), providers=[Listed("a", None), Listed("b", ["small"])]
    )
    assert await resolved(registry, "gpt-9") == [("a", "gpt-9"), ("b", "small")]


async def test_an_unknown_name_is_told_with_its_neighbours_and_the_setting() -> None:
    registry = Registry(
        settings(), providers=[Listed("a", ["gpt-4o", "gpt-4o-mini", "x"]), Listed("b", [])]
    )
    [route] = await registry.resolve("ChatGPT-4o-Latest")

    async def ask(_: Route) -> None:
        raise errors.ModelNotFound("the upstream's own words")

    with pytest.raises(errors.ModelNotFound) as caught:
        await ask_in_turn([route], ask, budget_seconds=0)
    assert "'gpt-4o'" in caught.value.detail
    assert "PROXY_FALLBACK_MODEL" in caught.value.detail
    assert "'x'" not in caught.value.detail
    [listed] = await registry.resolve("x")
    with pytest.raises(errors.ModelNotFound, match="own words"):
        await ask_in_turn([listed], ask, budget_seconds=0)

    async def ask_busy_first(asked: Route) -> None:
        raise errors.UpstreamOverloaded("busy") if asked is route else errors.ModelNotFound("words")

    # Not of the name that nobody lists: its provider may know it later.
    with pytest.raises(errors.ModelNotFound, match="words"):
        await ask_in_turn([route, listed], ask_busy_first, budget_seconds=0)


# Lists


async def test_one_lookup_asks_every_provider_once_and_the_next_asks_nobody() -> None:
    a, b = Listed("a", ["x"]), Listed("b", ["y"])
    registry = Registry(settings(), providers=[a, b])
    await asyncio.gather(*(registry.resolve("y") for _ in range(20)))
    await registry.resolve("unknown")
    await registry.models()
    assert (a.times_listed, b.times_listed) == (1, 1)


async def test_a_stale_list_is_used_while_it_is_refreshed() -> None:
    a, b = Listed("a", ["x"]), Listed("b", ["y"])
    registry = Registry(settings(models_refresh_seconds=1e-9), providers=[a, b])
    assert await resolved(registry, "y") == [("b", "y")]
    b.hold = asyncio.Event()
    b.listed = ["z"]
    assert await resolved(registry, "y") == [("b", "y")]
    b.hold.set()
    await eventually(ids, registry, ["x", "z"])
    await registry.close()
    assert a.closed
    assert b.closed


async def test_an_unreachable_provider_breaks_nothing_and_keeps_its_former_list() -> None:
    a, b = Listed("a", ["x"]), Listed("b", None)
    registry = Registry(settings(models_refresh_seconds=1e-9), providers=[a, b])
    assert await resolved(registry, "x") == [("a", "x")]
    assert await ids(registry) == ["x"]
    b.listed = ["y"]
    await eventually(ids, registry, ["x", "y"])
    b.listed = None
    before = b.times_listed
    while b.times_listed < before + 2:
        assert await ids(registry) == ["x", "y"]
        await asyncio.sleep(0)
    await registry.close()


async def test_a_provider_that_never_lists_holds_up_the_first_lookup_only_and_not_long() -> None:
    slow = Listed("b", ["y"])
    slow.hold = asyncio.Event()
    registry = Registry(settings(), providers=[Listed("a", ["x"]), slow], cold_list_seconds=0.01)
    assert await resolved(registry, "y") == [("a", "y")]
    assert await resolved(registry, "x") == [("a", "x")]
    slow.hold.set()
    await eventually(resolved, registry, [("b", "y")], "y")
    await registry.close()


async def test_lists_are_merged_with_a_prefix_for_names_that_are_taken() -> None:
    models = {"fast": {"route": ["a/x"]}, "x": {"context_tokens": 1000}}
    registry = Registry(
        settings(models=models), providers=[Listed("a", ["x", "m"]), Listed("b", ["m", "y"])]
    )
    merged = await registry.models()
    assert [(model["id"], model["owned_by"]) for model in merged] == [
        ("fast", "proxy"),
        ("x", "a-org"),
        ("m", "a-org"),
        ("b/m", "b-org"),
        ("y", "b-org"),
    ]
    assert all(model["object"] == "model" for model in merged)
    for model in merged[1:]:
        assert (await registry.resolve(model["id"]))[0] is not None


@pytest.mark.parametrize(
    ("overrides", "listed", "expected"),
    [
        ({"default_model": "mine"}, ["gpt-4o-mini"], "mine"),
        ({}, ["zzz", "GPT-4o-Mini"], "GPT-4o-Mini"),
        ({}, ["Claude", "Assistant"], "Assistant"),
        ({}, ["llama", "qwen"], "llama"),
        ({}, [], "gpt-4o-mini"),
    ],
)
async def test_the_default_model(
    overrides: dict[str, Any], listed: list[str], expected: str
) -> None:
    registry = Registry(settings(**overrides), providers=[Listed("a", listed)])
    await registry.models()
    assert registry.default_model == expected


async def test_the_first_call_without_a_model_waits_for_the_list_that_has_the_default() -> None:
    only = Listed("a", ["llama"])
    only.hold = asyncio.Event()
    registry = Registry(settings(), providers=[only])
    registry.start()
    call = asyncio.create_task(resolved(registry, ""))
    await asyncio.sleep(0)
    # A name is no reason to wait.
    assert await resolved(registry, "qwen") == [("a", "qwen")]
    only.hold.set()
    assert await call == [("a", "llama")]
    await registry.close()


async def test_both_protocols_list_over_the_wire() -> None:
    async with OpenAIUpstream() as openai, PoeUpstream() as poe:
        openai.models, poe.models = ["gpt-test"], ["Claude-Test"]
        registry = Registry(
            settings(
                openai_api_key="k",
                openai_base_url=openai.base_url,
                poe_api_key="k",
                poe_base_url=poe.base_url,
                providers={"gone": {"base_url": unused_url()}},
            )
        )
        registry.start()
        assert await ids(registry) == ["gpt-test", "Claude-Test"]
        assert await registry.resolve("Claude-Test") == [
            Route(registry.providers["poe"], "Claude-Test")
        ]
        await registry.close()


async def test_closing_ends_a_refresh_that_is_under_way() -> None:
    async with OpenAIUpstream() as upstream:
        upstream.models_script = script(stall())
        registry = Registry(settings(openai_base_url=upstream.base_url))
        registry.start()
        await asyncio.sleep(0)
        await registry.close()
