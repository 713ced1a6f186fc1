"""The connection pool: proxies of the environment, base URLs, limits."""

import asyncio

import pytest

from proxy.providers.openai import OpenAIProvider
from proxy.providers.poe import PoeProvider
from proxy.providers.upstream import READ_BYTES, Upstream
from proxy.settings import SettingsError
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.providers import deltas, joined, request, settings


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
    monkeypatch.setenv("ALL_PROXY", "socks5://user:password@proxy.example:1080")
    with pytest.raises(SettingsError, match="socks5 proxy") as caught:
        Upstream("openai", "https://api.example.com/v1", "", settings())
    assert "password" not in str(caught.value)
