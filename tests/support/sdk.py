"""OpenAI's own client of a server on this machine; see `clients.py` for what it leaves out."""

from typing import Any

from openai import AsyncOpenAI, DefaultAsyncHttpxClient


def sdk_at(url: str, key: str, **options: Any) -> AsyncOpenAI:
    """OpenAI's client, which sends once unless it is told otherwise."""
    http = DefaultAsyncHttpxClient(verify=False)
    return AsyncOpenAI(base_url=url, api_key=key, http_client=http, **{"max_retries": 0, **options})
