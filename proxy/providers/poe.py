"""Poe's bot protocol: one POST a reply, answered by a stream of named events.

Source: https://creator.poe.com/docs/poe-protocol-specification. fastapi_poe gives the types;
its reading loop is not used: it asks again in the middle of an answer, hides the HTTP status,
and does work per chunk that grows with the prompt.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

from yarl import URL

from proxy.errors import UpstreamError
from proxy.providers.base import Accepts, CompletionRequest, Delta
from proxy.providers.model_facts import NOTHING_LISTED, ModelFacts, facts_of
from proxy.providers.poe_account import PoeAccount
from proxy.providers.poe_events import EventReader
from proxy.providers.poe_parameters import check_request
from proxy.providers.poe_request import query_body
from proxy.providers.poe_upload import PoeUploads, upload_url
from proxy.providers.upstream import Upstream
from proxy.settings import Settings

LONG_HISTORY_MESSAGES = 1_000
"""From here on a query is made in a thread: the protocol's types cost microseconds a message."""


class PoeProvider:
    """One server that speaks Poe's bot protocol; see `Provider`."""

    def __init__(
        self, settings: Settings, *, name: str = "poe", base_url: str, api_key: str = ""
    ) -> None:
        self.name = name
        self._upstream = Upstream(name, base_url, api_key, settings)
        files = upload_url(base_url, settings.poe_upload_url) if api_key else ""
        self._uploads = PoeUploads(self._upstream, files, api_key) if files else None
        self.accepts = Accepts(
            developer_role=False,
            parts=frozenset({"image_url"}),
            data_urls=bool(files),
            verbosity=False,
            logprobs=False,
        )
        """What its histories may hold."""
        self._settings = settings
        self.account = PoeAccount(self._upstream, self._root) if api_key else None
        """What is left and what was spent, by Poe's count; None without a key."""
        self._facts: dict[str, ModelFacts] = {}

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        """Ask the bot and yield a delta per network read.

        Only the protocol's `done` event gives a finish reason. `replace_response` becomes a
        delta with `replace` set where text was given before it.

        Raises:
            UpstreamError: also before the call, where its list says that the bot does not take
                what it is sent.
        """
        upstream = self._upstream
        facts = self._facts.get(request.model.casefold(), NOTHING_LISTED)
        said = self._settings.model_settings(f"{self.name}/{request.model}")
        check_request(request, facts, sees_images=said.images)
        if self._uploads is not None:
            messages = await self._uploads.as_links(request.messages)
            request = replace(request, messages=messages)
        url = URL(f"{upstream.base_url}/{quote(request.model, safe='')}", encoded=True)
        if len(request.messages) > LONG_HISTORY_MESSAGES:
            body = await asyncio.to_thread(query_body, request, facts)
        else:
            body = query_body(request, facts)
        response = await upstream.request("POST", url, body, model=request.model)
        complete = False
        try:
            first = b""
            if response.content_type != "text/event-stream":
                # What it is counts, not its label.
                first = await upstream.read(response)
                if not first.lstrip().startswith((b"event:", b"data:", b":", b"id:", b"retry:")):
                    raise upstream.faults.unreadable()
            yield Delta()
            reader = EventReader(upstream.faults, request.model)
            while not reader.done:
                try:
                    data, first = first or await upstream.read(response), b""
                except UpstreamError:
                    if delta := reader.end():
                        yield delta
                    raise
                delta = reader.feed(data) if data else reader.end()
                if delta is not None:
                    yield delta
                if reader.error is not None:
                    raise reader.error
                if not data:
                    break
            complete = True
        finally:
            upstream.finish(response, complete=complete)

    async def list_models(self) -> list[dict[str, Any]]:
        """Return the bots that Poe lists publicly, as OpenAI model objects."""
        listed = await self._upstream.list_models(f"{self._root}/v1/models")
        self._facts = {entry["id"].casefold(): facts_of(entry) for entry in listed}
        return listed

    async def close(self) -> None:
        """Close the connection pool."""
        await self._upstream.close()

    @property
    def _root(self) -> str:
        """`…/bot/` is where bots are; their list is at `…/v1/models` beside it."""
        parts = urlsplit(self._upstream.base_url)
        return f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix('/bot')}"
