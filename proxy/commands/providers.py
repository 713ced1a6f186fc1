"""`proxy providers`: ask every configured provider for its models, with the official SDK."""

import argparse
import asyncio
from typing import NamedTuple
from urllib.parse import urlsplit

from proxy.providers.registry import endpoint_of, provider_tables
from proxy.settings import Settings

ANSWER_SECONDS = 15.0


class Checked(NamedTuple):
    """What one provider said: `models` is how many it lists, `problem` a sentence or empty."""

    name: str
    host: str
    models: int
    problem: str


def add_providers_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `proxy providers`."""
    sub = commands.add_parser("providers", help="ask every configured provider for its models")
    sub.set_defaults(command=check_providers)


def check_providers(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print a line a provider; the exit code is 1 where one of them cannot be used."""
    del arguments
    tables = provider_tables(settings)
    if not tables:
        print(
            "No provider is configured: set OPENAI_API_KEY or POE_API_KEY; echo answers till then"
        )
        return 0

    async def ask_all() -> list[Checked]:
        return await asyncio.gather(
            *(_ask(name, *endpoint_of(table, settings)) for name, table in tables.items())
        )

    found = asyncio.run(ask_all())
    width = max(len(each.name) for each in found)
    for each in found:
        said = each.problem or f"{each.models} models"
        print(f"{each.name:<{width}}  {each.host}  {said}")
    return 1 if any(each.problem for each in found) else 0


async def _ask(name: str, base_url: str, key: str) -> Checked:
    # Half a second and 60 MiB: only for who asks.
    import openai  # noqa: PLC0415

    host = urlsplit(base_url).netloc.rpartition("@")[2]
    if host == "api.poe.com":
        # The bot protocol has no list; Poe's OpenAI-compatible endpoint lists the same models.
        base_url = "https://api.poe.com/v1"
    client = openai.AsyncOpenAI(
        api_key=key or "none", base_url=base_url, timeout=ANSWER_SECONDS, max_retries=0
    )
    try:
        async with client:
            models = [model.id async for model in client.models.list()]
    except openai.AuthenticationError:
        return Checked(name, host, 0, "the key is refused; check its setting")
    except openai.APIStatusError as error:
        return Checked(name, host, 0, f"answers {error.status_code} to a list of models")
    except openai.APIConnectionError:
        return Checked(name, host, 0, "cannot be reached")
    except (openai.OpenAIError, ValueError, TypeError, AttributeError):
        return Checked(name, host, 0, "lists its models in a way that cannot be read")
    return Checked(name, host, len(models), "")
