from typing import Any

import pytest

from proxy import errors
from proxy.providers.base import CompletionRequest, Delta, Provider, Usage
from proxy.providers.openai import OpenAIProvider
from proxy.providers.poe import PoeProvider
from proxy.settings import Settings
from tests.fakes.faults import FaultyUpstream
from tests.fakes.poe_upstream import PoeUpstream
from tests.support.given_settings import GivenSettings

KEY = "sk-test-0123456789"


def settings(**overrides: Any) -> Settings:
    """Settings without the machine's own keys and files."""
    clean = {"openai_api_key": "", "poe_api_key": "", "providers": {}, "models": {}}
    return GivenSettings(**clean | overrides)


def provider_for(upstream: FaultyUpstream, **overrides: Any) -> Provider:
    kind = PoeProvider if isinstance(upstream, PoeUpstream) else OpenAIProvider
    return kind(settings(**overrides), base_url=upstream.base_url, api_key=KEY)


def request(text: str = "Hi", model: str = "test-model", **parameters: Any) -> CompletionRequest:
    return CompletionRequest(model, [{"role": "user", "content": text}], parameters)


async def deltas(provider: Provider, asked: CompletionRequest | None = None) -> list[Delta]:
    return [delta async for delta in provider.stream(asked or request())]


def joined(received: list[Delta]) -> str:
    """The stored text that these deltas lead to."""
    text = ""
    for delta in received:
        text = delta.text if delta.replace else text + delta.text
    return text


async def refusal(provider: Provider) -> errors.UpstreamError:
    """The error of a request that got no stream at all."""
    with pytest.raises(errors.UpstreamError) as caught:
        await anext(provider.stream(request()))
    assert "secret" not in str(caught.value.body())
    assert KEY not in str(caught.value.body())
    return caught.value


REPORTED = Usage(
    11,
    7,
    "reported",
    {"completion_tokens_details": {"reasoning_tokens": 3}},
    18,
)
"""`openai_upstream.USAGE` as a delta carries it."""
