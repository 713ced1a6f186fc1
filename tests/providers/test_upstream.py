"""The connection pool: proxies of the environment, base URLs, limits."""

import asyncio
from typing import Any

import pytest

from proxy.errors import UpstreamUnreachable
from proxy.providers.openai import OpenAIProvider
from proxy.providers.poe import PoeProvider
from proxy.providers.upstream import READ_BYTES, Upstream
from proxy.settings import SettingsError
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.scripted import head, script
from tests.fakes.socks import socks_proxy
from tests.support.providers import deltas, joined, refusal, request, settings


async def test_an_upstream_elsewhere_is_asked_through_the_environments_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with OpenAIUpstream() as proxy:
        monkeypatch.setenv("http_proxy", proxy.origin)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        proxy.play(proxy.reply("through"))
        provider = OpenAIProvider(settings(), base_url="http://models.test/v1", api_key="k")
        assert joined(await deltas(provider)) == "through"
        assert proxy.requests[0].path == "http://models.test/v1/chat/completions"
        await provider.close()


async def test_a_loopback_upstream_is_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    async with OpenAIUpstream() as proxy, OpenAIUpstream() as upstream:
        monkeypatch.setenv("http_proxy", proxy.origin)
        upstream.play(upstream.reply("direct"))
        provider = OpenAIProvider(settings(), base_url=upstream.base_url)
        assert joined(await deltas(provider)) == "direct"
        assert proxy.connections == 0
        await provider.close()


@pytest.mark.parametrize(
    "base_url", ["", "models.test/v1", "ftp://x/v1", "http://", "http://[x/v1"]
)
@pytest.mark.parametrize("kind", [OpenAIProvider, PoeProvider])
def test_a_base_url_that_is_none_is_refused_at_start_up(
    kind: type[OpenAIProvider | PoeProvider], base_url: str
) -> None:
    with pytest.raises(SettingsError, match=r"provider '\w+': the base URL must start with"):
        kind(settings(), base_url=base_url)


async def test_connections_are_limited_where_the_setting_says_so() -> None:
    async with OpenAIUpstream() as upstream:
        go_on = asyncio.Event()
        upstream.play(upstream.reply_when(go_on, "a", "b"))
        provider = OpenAIProvider(settings(upstream_connections=2), base_url=upstream.base_url)
        running = [asyncio.create_task(deltas(provider)) for _ in range(6)]
        await upstream.wait_for_requests(2)
        # Room for a third to come in, if anything let it.
        for _ in range(20):
            await asyncio.sleep(0)
        assert (len(upstream.requests), upstream.connections) == (2, 2)
        go_on.set()
        assert [joined(received) for received in await asyncio.gather(*running)] == ["ab"] * 6
        await provider.close()


async def test_a_burst_on_one_stream_is_worked_on_in_pieces() -> None:
    async with OpenAIUpstream() as upstream:
        upstream.play(upstream.reply(*["word " * 2_000] * 500))
        provider = OpenAIProvider(settings(), base_url=upstream.base_url)
        pieces: list[int] = []
        async for delta in provider.stream(request()):
            pieces.append(len(delta.text))
            # Meanwhile everything else arrives, and the loop has other work to do.
            for _ in range(20):
                await asyncio.sleep(0)
        assert sum(pieces) == 5_000_000
        # A piece, and the frame that the one before it left unfinished.
        assert max(pieces) <= READ_BYTES + 10_000
        await provider.close()


@pytest.mark.parametrize(
    ("variable", "value", "used"),
    [
        ("ALL_PROXY", "http://proxy.example:3128", "http://proxy.example:3128"),
        ("HTTPS_PROXY", "proxy.example:3128", "http://proxy.example:3128"),
        ("HTTPS_PROXY", "", None),
    ],
)
def test_the_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, used: str | None
) -> None:
    for name in ("ALL_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(variable, value)
    upstream = Upstream("openai", "https://api.example.com/v1", "", settings())
    assert upstream.proxy == used


def test_a_proxy_that_cannot_be_used_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for proxy in ("ftp://user:password@proxy.example:21", "socks5://user:password@proxy.example"):
        monkeypatch.setenv("ALL_PROXY", proxy)
        with pytest.raises(SettingsError, match="proxy for it that cannot be used") as caught:
            Upstream("openai", "https://api.example.com/v1", "", settings())
        assert "password" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_a_socks_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    for name in ("http_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with OpenAIUpstream() as upstream, socks_proxy(upstream.origin) as (address, names):
        monkeypatch.setenv("all_proxy", f"{scheme}://{address}")
        upstream.play(upstream.reply("through"))
        provider = OpenAIProvider(settings(), base_url="http://models.test/v1", api_key="k")
        assert joined(await deltas(provider)) == "through"
        assert upstream.requests[0].path == "/v1/chat/completions"
        # The proxy looks the name up: it may be one that only it knows.
        assert names == ["models.test"]
        await provider.close()


async def test_a_socks_proxy_that_refuses_is_an_upstream_that_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with socks_proxy(None) as (address, _):
        monkeypatch.setenv("all_proxy", f"socks5://{address}")
        provider = OpenAIProvider(settings(), base_url="http://models.test/v1", api_key="k")
        assert type(await refusal(provider)) is UpstreamUnreachable
        await provider.close()


async def test_an_answer_may_have_hundreds_of_headers_and_long_ones() -> None:
    async with OpenAIUpstream() as upstream:
        many: dict[str, Any] = {f"x_{number}": "v" * 20 for number in range(400)}
        frames = [upstream.text("Hello"), upstream.end()]
        upstream.play(script(head(**many, x_long="v" * 60_000), *frames))
        provider = OpenAIProvider(settings(), base_url=upstream.base_url)
        assert joined(await deltas(provider)) == "Hello"
        many |= {f"y_{number}": "v" for number in range(2_000)}
        upstream.play(script(head(**many), *frames))
        assert not (await refusal(provider)).retryable
        await provider.close()
