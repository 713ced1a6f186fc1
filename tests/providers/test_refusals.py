"""What an upstream's refusal becomes, for both protocols: the typed error of each status."""

import pytest

from proxy import errors
from proxy.providers.base import Provider
from proxy.providers.openai import OpenAIProvider
from proxy.providers.poe import PoeProvider
from tests.fakes.faults import FaultyUpstream
from tests.fakes.scripted import unused_url
from tests.support.providers import KEY, refusal, settings


@pytest.mark.parametrize("kind", [OpenAIProvider, PoeProvider])
async def test_refused_connection(kind: type[OpenAIProvider | PoeProvider]) -> None:
    provider = kind(settings(), base_url=unused_url(), api_key=KEY)
    error = await refusal(provider)
    assert type(error) is errors.UpstreamUnreachable
    assert error.retryable
    await provider.close()


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, errors.UpstreamBadRequest, False),
        (401, errors.UpstreamRejectedKey, False),
        (402, errors.UpstreamOutOfCredit, False),
        (403, errors.UpstreamRejectedKey, False),
        (404, errors.ModelNotFound, False),
        (408, errors.UpstreamTimeout, True),
        (409, errors.UpstreamError, True),
        (413, errors.UpstreamTooLarge, False),
        (415, errors.UpstreamBadRequest, False),
        (422, errors.UpstreamBadRequest, False),
        (429, errors.UpstreamRateLimited, True),
        (500, errors.UpstreamError, True),
        (502, errors.UpstreamError, True),
        (503, errors.UpstreamError, True),
        (504, errors.UpstreamTimeout, True),
        (529, errors.UpstreamOverloaded, True),
        (302, errors.UpstreamProtocolError, False),
    ],
)
async def test_http_status(
    upstream: FaultyUpstream,
    provider: Provider,
    status: int,
    kind: type[errors.UpstreamError],
    retryable: bool,
) -> None:
    upstream.play(upstream.status(status, message="no"))
    error = await refusal(provider)
    assert type(error) is kind
    assert error.retryable is retryable
    assert error.retry_after_seconds is None


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "insufficient_quota", errors.UpstreamOutOfCredit),
        (400, "context_length_exceeded", errors.UpstreamTooLarge),
        (400, "model_not_found", errors.ModelNotFound),
    ],
)
async def test_an_error_code_says_more_than_its_status(
    upstream: FaultyUpstream,
    provider: Provider,
    status: int,
    code: str,
    kind: type[errors.UpstreamError],
) -> None:
    upstream.play(upstream.coded(status, code))
    error = await refusal(provider)
    assert type(error) is kind
    assert error.code == code


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "7", "retry_after_ms": "250"}, 0.25),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "inf"}, None),
    ],
)
async def test_retry_after_is_kept(
    upstream: FaultyUpstream, provider: Provider, headers: dict[str, str], seconds: float | None
) -> None:
    upstream.play(upstream.status(429, **headers))
    assert (await refusal(provider)).retry_after_seconds == seconds


async def test_retry_after_of_an_unavailable_upstream_is_kept(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    upstream.play(upstream.status(503, retry_after="3"))
    assert (await refusal(provider)).retry_after_seconds == 3


async def test_an_html_error_page_does_not_leak(
    upstream: FaultyUpstream, provider: Provider
) -> None:
    upstream.play(upstream.html_error(500))
    assert type(await refusal(provider)) is errors.UpstreamError
