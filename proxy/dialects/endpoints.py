"""OpenAI's endpoints that are passed on to the provider of the model, and who has none of them."""

from proxy.errors import UpstreamBadRequest
from proxy.providers.base import Provider
from proxy.providers.echo import EchoProvider

COMPLETIONS = "/completions"

SERVED = {
    COMPLETIONS: "legacy completions",
    "/embeddings": "embeddings",
    "/moderations": "moderations",
    "/images/generations": "pictures",
    "/images/edits": "edits of pictures",
    "/images/variations": "variations of pictures",
    "/audio/speech": "speech",
    "/audio/transcriptions": "transcriptions",
    "/audio/translations": "translations of audio",
}
"""Path behind the base URL → what a person calls it."""


def not_served(provider: Provider, path: str) -> UpstreamBadRequest:
    """Return the error for a provider whose protocol has no such endpoint."""
    if path == COMPLETIONS:
        instead = "send messages to POST /v1/chat/completions"
    elif isinstance(provider, EchoProvider):
        instead = "set OPENAI_API_KEY, or add a provider that has them to proxy.toml"
    else:
        instead = "ask for a model of an OpenAI-compatible provider; GET /v1/models lists them"
    return UpstreamBadRequest(
        f"Provider '{provider.name}' has no {SERVED[path]}; {instead}",
        param="model",
        code="unsupported_endpoint",
    )
