"""Model name → provider: which providers there are, who offers a model, what falls back to what."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from typing import Any

from pydantic import SecretStr

from proxy.errors import ModelNotFound, UpstreamError
from proxy.providers.base import Accepts, Provider
from proxy.providers.echo import MODEL as ECHO_MODEL
from proxy.providers.echo import EchoProvider
from proxy.providers.model_facts import NOTHING_LISTED, ModelFacts, facts_of
from proxy.providers.openai import OpenAIProvider
from proxy.setting_types import ModelSettings, ProviderSettings
from proxy.settings import Settings, SettingsError, is_pattern

COLD_LIST_SECONDS = 3.0
"""How long the first look-up waits for the providers' lists; later ones never wait."""

FAILED_LIST_SECONDS = 15.0
"""How soon the lists are asked for again after a provider did not answer."""

PREFERRED_MODELS = ("gpt-4o-mini", "assistant")
"""The default model where none is configured: the first of these that is listed."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """One way to answer: a provider and the name it knows the model by."""

    provider: Provider
    model: str
    not_found: Callable[[], ModelNotFound] | None = field(default=None, compare=False)
    """For a name that nobody lists: the error to give when the provider does not know it."""
    facts: ModelFacts = field(default=NOTHING_LISTED, compare=False)
    """What the provider's list says of the model."""

    @property
    def is_native(self) -> bool:
        """Whether the upstream speaks Responses itself for this model, by the settings."""
        speaks = getattr(self.provider, "speaks_responses", None)
        return speaks is not None and bool(speaks(self.model))

    def accepts(self, settings: ModelSettings) -> Accepts:
        """Return what a history may hold for this model, by its provider and by `proxy.toml`."""
        accepts: Accepts = getattr(self.provider, "accepts", Accepts())
        if settings.alternate_roles is not None:
            accepts = replace(accepts, alternates=settings.alternate_roles)
        if settings.images is None and self.facts.images is False:
            accepts = replace(accepts, pictures_before=False)
        if settings.images is False:
            seen = frozenset({"input_audio", "file"}) if accepts.parts is None else accepts.parts
            accepts = replace(accepts, parts=seen - {"image_url"})
        return accepts


class Registry:
    """The configured providers and their models.

    `providers` replaces those that the settings describe (for tests and embedding).
    `cold_list_seconds` bounds the first look-up's wait for the providers' lists.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        providers: Iterable[Provider] | None = None,
        cold_list_seconds: float = COLD_LIST_SECONDS,
    ) -> None:
        self._settings = settings
        self._cold_list_seconds = cold_list_seconds
        built = build_providers(settings) if providers is None else providers
        self.providers: dict[str, Provider] = {provider.name: provider for provider in built}
        if settings.default_provider and settings.default_provider not in self.providers:
            known = ", ".join(self.providers)
            raise SettingsError(
                f"PROXY_DEFAULT_PROVIDER: there is no provider {settings.default_provider!r}, "
                f"only {known}"
            )
        self._default = (
            self.providers[settings.default_provider]
            if settings.default_provider
            else next(iter(self.providers.values()))
        )
        self._compares_lists = (
            len(self.providers) > 1
            or bool(settings.fallback_model)
            or any(model.route for name, model in settings.models.items() if is_pattern(name))
        )
        self.is_echo_only = all(
            isinstance(provider, EchoProvider) for provider in self.providers.values()
        )
        """Whether no real provider is configured."""
        self._lists: dict[str, list[dict[str, Any]]] = {}
        self._index: dict[str, Route] = {}
        self._merged: list[dict[str, Any]] = []
        self._named: dict[str, dict[str, Any]] = {}
        self._facts: dict[tuple[str, str], ModelFacts] = {}
        self._due_at: float | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._merge()

    @property
    def default_model(self) -> str:
        """The model of a call that names none."""
        if self._settings.default_model:
            return self._settings.default_model
        if isinstance(self._default, EchoProvider):
            return ECHO_MODEL
        listed = [str(model["id"]) for model in self._lists.get(self._default.name, ())]
        by_name = {name.casefold(): name for name in reversed(listed)}
        for preferred in PREFERRED_MODELS:
            if preferred in by_name:
                return by_name[preferred]
        return listed[0] if listed else PREFERRED_MODELS[0]

    async def wanted(self, *names: str | None) -> str:
        """Return the first name that is one; absent, empty and `default` mean the default model.

        Where that is one of those that the default provider lists, the first list is waited for.
        """
        for name in names:
            if name and (name in self._index or not _means_default(name) or self._is_known(name)):
                return name
        if not self._settings.default_model:
            await self._fresh()
        return self.default_model

    def unnamed(self) -> list[Route]:
        """Return the route of a call that leaves the choice of a model to its provider."""
        return [Route(self._default, "")]

    async def resolve(self, model: str) -> list[Route]:
        """Return the routes that answer for this model, in the order to try them.

        A route of `proxy.toml` of this name wins, then the provider that lists the name, then a
        provider that the name begins with (`poe/GPT-4o`). For a name that nobody lists, the
        longest pattern of `proxy.toml` that fits, then `fallback_model`, then the default
        provider, since a model may exist without being listed.
        """
        model = await self.wanted(model)
        if self.is_echo_only:
            return [Route(self._default, ECHO_MODEL)]
        named = self._settings.models.get(model)
        if named is not None and named.route:
            return [await self._resolve_one(name) for name in named.route]
        route = await self._listed(model)
        if route is not None:
            return [route]
        instead = self._settings.model_pattern(model).route or [self._settings.fallback_model]
        unlisted = Route(self._default, model, partial(self._not_found, model))
        if not instead[0]:
            return [unlisted]
        routes = [await self._resolve_one(name) for name in instead]
        # While a list is missing, nobody knows that the model is not in it.
        return routes if self._lists.keys() >= self.providers.keys() else [unlisted, *routes]

    async def models(self) -> list[dict[str, Any]]:
        """Every listed model as an OpenAI model object, routes of `proxy.toml` included.

        A name that a second provider lists too is `<provider>/<name>` there.
        """
        await self._fresh()
        return self._merged

    async def model(self, name: str) -> dict[str, Any]:
        """One model object, by the name it is listed under or as `<provider>/<name>`.

        Raises:
            ModelNotFound: nobody lists it.
        """
        await self._fresh()
        if name not in self._named:
            raise ModelNotFound
        return self._named[name]

    def facts(self, provider: str, model: str) -> ModelFacts:
        """Return what a provider's list says of a model."""
        return self._facts.get((provider, model.casefold()), NOTHING_LISTED)

    def context_tokens(self, name: str, route: Route) -> int:
        """Return a model's window: of `proxy.toml`, else of its provider's list, else the usual."""
        listed = route.facts.context_tokens
        return self._settings.model_context_tokens(name, route.model, listed=listed)

    async def models_by_provider(self) -> dict[str, int]:
        """Return each provider's name with the number of models that it lists."""
        await self._fresh()
        return {name: len(self._lists.get(name, ())) for name in self.providers}

    def start(self) -> None:
        """Ask the providers for their models in the background."""
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh())

    async def close(self) -> None:
        """Close every provider."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])
            self._refreshing = None
        for provider in self.providers.values():
            await provider.close()

    async def _resolve_one(self, model: str) -> Route:
        return await self._listed(model) or Route(self._default, model)

    async def _listed(self, model: str) -> Route | None:
        """Return the provider that lists a name, or that the name begins with."""
        prefix, _, rest = model.partition("/")
        has_prefix = bool(rest) and prefix in self.providers
        if has_prefix or self._compares_lists:
            await self._fresh()
        if model in self._index:
            return self._index[model]
        if has_prefix:
            facts = self.facts(prefix, rest)
            return Route(self.providers[prefix], rest, partial(self._not_found, rest), facts)
        return self._index.get(model.casefold())

    def _is_known(self, name: str) -> bool:
        return name in self._settings.models or name in self._index

    def _not_found(self, model: str) -> ModelNotFound:
        names = {str(entry["id"]).casefold(): str(entry["id"]) for entry in self._merged}
        if model.casefold() in names:
            return ModelNotFound(
                f"The model {model[:100]!r} is listed, but its provider does not know it for this "
                "call; it may be of another kind, or the provider may not serve this endpoint"
            )
        near = get_close_matches(model[:100].casefold(), names, n=3, cutoff=0.4)
        listed = f"; near it are {', '.join(repr(names[name]) for name in near)}" if near else ""
        return ModelNotFound(
            f"There is no model {model[:100]!r}{listed}; GET /v1/models lists what there is, and "
            "PROXY_FALLBACK_MODEL names one that answers for every other name"
        )

    async def _fresh(self) -> None:
        """Start a refresh where one is due; wait for the very first one only, and not long."""
        if self._due_at is None:
            self.start()
            assert self._refreshing is not None
            await asyncio.wait([self._refreshing], timeout=self._cold_list_seconds)
            # Whatever came of it, nobody waits again.
            self._due_at = self._due_at or math.inf
        elif time.monotonic() > self._due_at:
            self.start()

    async def _refresh(self) -> None:
        seconds = self._settings.models_refresh_seconds
        try:
            all_listed = await asyncio.gather(*map(self._refresh_one, self.providers.values()))
            if not all(all_listed):
                seconds = min(seconds, FAILED_LIST_SECONDS)
        finally:
            self._due_at = time.monotonic() + seconds
            self._refreshing = None

    async def _refresh_one(self, provider: Provider) -> bool:
        try:
            self._lists[provider.name] = await provider.list_models()
        except UpstreamError as error:
            # Its former list stays; a call to one of its models tells the caller the same.
            log.warning("provider %s does not list its models: %s", provider.name, error.detail)
            return False
        self._merge()
        return True

    def _merge(self) -> None:
        index: dict[str, Route] = {}
        merged: dict[str, dict[str, Any]] = {}
        qualified: dict[str, dict[str, Any]] = {}
        facts: dict[tuple[str, str], ModelFacts] = {}
        for name, model in self._settings.models.items():
            if model.route and not is_pattern(name):
                merged[name] = {"id": name, "object": "model", "created": 0, "owned_by": "proxy"}
        for provider in self.providers.values():
            configured = self._settings.providers.get(provider.name)
            unlisted = [
                {"id": name, "object": "model", "created": 0, "owned_by": provider.name}
                for name in (configured.models if configured else ())
            ]
            for entry in unlisted + self._lists.get(provider.name, []):
                name = entry["id"]
                known = facts[provider.name, name.casefold()] = facts_of(entry)
                route = Route(provider, name, facts=known)
                index.setdefault(name, route)
                index.setdefault(name.casefold(), route)
                full_name = f"{provider.name}/{name}"
                entry = {**entry, **known.shown()}  # noqa: PLW2901
                qualified[full_name] = {**entry, "id": full_name}
                shown = name if name not in merged else full_name
                merged.setdefault(shown, {**entry, "id": shown})
        self._index, self._facts = index, facts
        self._merged = list(merged.values())
        self._named = qualified | merged


def _means_default(name: str) -> bool:
    return name.strip().casefold() in ("", "default")


def build_providers(settings: Settings) -> list[Provider]:
    """Build the providers that the settings describe; the echo where they describe none."""
    tables = provider_tables(settings)
    return [_build(name, table, settings) for name, table in tables.items()] or [EchoProvider()]


def provider_tables(settings: Settings) -> dict[str, ProviderSettings]:
    """Return name → settings of every configured provider, those of one variable included."""
    tables: dict[str, ProviderSettings] = {}
    default_url = Settings.model_fields["openai_base_url"].default
    if settings.openai_api_key.get_secret_value() or settings.openai_base_url != default_url:
        tables["openai"] = ProviderSettings(kind="openai")
    if settings.poe_api_key.get_secret_value():
        tables["poe"] = ProviderSettings(kind="poe")
    return tables | settings.providers


def endpoint_of(table: ProviderSettings, settings: Settings) -> tuple[str, str]:
    """Return the base URL and the key of a provider, the general ones where it names none."""
    key = table.api_key or SecretStr("")
    if table.kind == "poe":
        return table.base_url or settings.poe_base_url, (
            key.get_secret_value() or settings.poe_api_key.get_secret_value()
        )
    base_url = table.base_url or settings.openai_base_url
    if not key.get_secret_value() and base_url == settings.openai_base_url:
        key = settings.openai_api_key
    return base_url, key.get_secret_value()


def _build(name: str, table: ProviderSettings, settings: Settings) -> Provider:
    base_url, key = endpoint_of(table, settings)
    if table.kind == "poe":
        # Its types cost a third of a second to import: only who uses it waits for them.
        from proxy.providers.poe import PoeProvider  # noqa: PLC0415

        return PoeProvider(settings, name=name, base_url=base_url, api_key=key)
    return OpenAIProvider(
        settings,
        name=name,
        base_url=base_url,
        api_key=key,
        stream_usage=table.stream_usage,
        think_tags=table.think_tags,
        alternate_roles=table.alternate_roles,
        responses=table.responses,
    )
