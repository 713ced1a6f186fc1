"""Every knob of the server, its unit in its name; nothing else reads the environment."""

import os
import tomllib
from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv import dotenv_values
from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from proxy.setting_types import (
    JSON,
    DatabaseName,
    HttpUrl,
    Key,
    ModelSettings,
    MongodbUri,
    Network,
    Origin,
    PortAddress,
    ProviderSettings,
    WebDirectories,
    parted_by,
    sendable,
)

MIB = 1024 * 1024
YEAR_SECONDS = 365 * 24 * 3600
ENV_FILE, TOML_FILE = ".env", "proxy.toml"


class SettingsError(ValueError):
    """A setting is wrong; the message is one sentence that names it."""


NOTHING_SAID = ModelSettings()
"""Of a model that `proxy.toml` does not name."""


def is_pattern(name: str) -> bool:
    """Whether a name of a `[models]` table stands for many: `*`, `claude-*`."""
    return "*" in name


def _bare(name: str) -> Any:
    """Return a setting whose environment variable carries no `PROXY_` prefix."""
    return AliasChoices(name, name.lower())


class Settings(BaseSettings):
    """Read from the environment (`PROXY_*`), then `.env`, then `proxy.toml`, then the defaults."""

    model_config = SettingsConfigDict(
        env_prefix="PROXY_",
        env_file=ENV_FILE,
        toml_file=TOML_FILE,
        extra="ignore",
        populate_by_name=True,
        validate_default=True,
        env_ignore_empty=True,
    )

    # Where it listens, where it keeps things
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    data_dir: Path = Path("data")
    mongodb_uri: MongodbUri = SecretStr("")
    """Empty: the embedded database is started in `data_dir`."""
    mongodb_database: DatabaseName = "proxy"
    embedded_restart_mib: int = Field(default=2048, ge=64)
    """Size of the embedded database's directory above which it is restarted when idle."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    web_dir: Annotated[WebDirectories, NoDecode, parted_by(",")] = []
    """Directories of built web clients: the one at `/`, others as `name=directory` at `/name/`."""
    show_errors_as_text: bool = False
    """Whether a failed reply without a text shows its error as its `content` in lists."""
    console: bool = True
    """Whether `/console` is there for browsers."""
    metrics_address: PortAddress = ""
    """`host:port` of a port of its own for `/metrics`, which asks for no key; empty: none."""
    log_format: Literal["text", "json"] = "text"

    # Models
    default_model: str = ""
    default_provider: str = ""
    fallback_model: str = ""
    """Answers for every name that no provider lists; empty: such a name is a 404."""
    openai_api_key: Key = Field(default=SecretStr(""), validation_alias=_bare("OPENAI_API_KEY"))
    openai_base_url: HttpUrl = Field(
        default="https://api.openai.com/v1", validation_alias=_bare("OPENAI_BASE_URL")
    )
    poe_api_key: Key = Field(default=SecretStr(""), validation_alias=_bare("POE_API_KEY"))
    poe_base_url: HttpUrl = Field(
        default="https://api.poe.com/bot/", validation_alias=_bare("POE_BASE_URL")
    )
    poe_upload_url: HttpUrl | Literal[""] = Field(
        default="", validation_alias=_bare("POE_UPLOAD_URL")
    )
    """Where pictures go for Poe's bots; empty: Poe's own address where the bots are at Poe."""
    providers: Annotated[dict[str, ProviderSettings], NoDecode, JSON] = {}
    models: Annotated[dict[str, ModelSettings], NoDecode, JSON] = {}
    context_tokens: int = Field(default=128_000, ge=256)
    """Window of a model that has no `context_tokens` of its own."""
    models_refresh_seconds: float = Field(default=300, gt=0)
    continue_messages: Annotated[list[str], NoDecode, JSON] = [
        "continue",
        "go on",
        "keep going",
        "继续",
        "请继续",
        "接着说",
        "继续说",
    ]
    """User texts (exact after trimming, case-insensitive) that are sent but not stored."""
    continue_patterns: Annotated[list[str], NoDecode, JSON] = ["If the last step's code block*"]
    """The same for texts that only begin alike; `*` stands for any characters."""

    # Who may come in
    api_keys: Annotated[list[Key], NoDecode, parted_by(",")] = []
    cors_origins: Annotated[list[Origin], NoDecode, parted_by(",")] = []
    session_days: float = Field(default=30, gt=0)
    """How long a browser stays logged in."""
    login_attempts: int = Field(default=10, ge=1)
    """Attempts to log in under one name from one address in a window.

    Ten times as many from one address, twenty times as many under one name.
    """
    login_window_seconds: int = Field(default=300, ge=1)
    trusted_proxies: Annotated[list[Network], NoDecode, parted_by(",")] = []
    """Reverse proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed."""
    access_log: bool = False
    """A log line for every request."""

    # Limits of a key that has none of its own; 0 is none
    key_requests_per_minute: int = Field(default=0, ge=0, le=100_000)
    key_tokens_per_day: int = Field(default=0, ge=0)
    key_streams: int = Field(default=0, ge=0, le=10_000)
    """Replies being written at once."""
    streams: int = Field(default=1000, ge=1)
    """Replies being written at once by the whole server; each worker takes its share."""
    source_roots: Annotated[list[Path], NoDecode, parted_by(os.pathsep)] = []
    """Where projects' directories may lie; `{owner}` in a path is the name of their owner.

    Empty: where the server was started, as long as no key and no user exists.
    """

    # Connections, before anybody is known
    connections: int = Field(default=5_000, ge=1)
    """Open connections of the whole server; each worker takes its share."""
    connections_per_address: int = Field(default=1_000, ge=1)
    """Open connections of one address (of IPv6 its /64); each worker counts for itself."""
    pipelined_requests: int = Field(default=32, ge=1)
    """Requests of one connection that wait behind one that is being answered."""
    head_bytes: int = Field(default=64 * 1024, ge=1024)
    """A request's first line and headers; more is a 431."""
    header_fields: int = Field(default=200, ge=10)
    """Header lines of a request; more is a 431."""
    address_bytes: int = Field(default=16 * 1024, ge=256)
    """A request's path and query; more is a 414."""
    head_seconds: float = Field(default=20, gt=0)
    """From the first byte of a request to the end of its headers."""
    client_silence_seconds: float = Field(default=60, gt=0)
    """A client that sends no byte of a body, or takes no byte of an answer, for this long."""
    websocket_seconds: float = Field(default=3600, gt=0)
    """A WebSocket that has been open for longer ends after the reply that is being written."""
    websocket_idle_seconds: float = Field(default=900, gt=0)
    """A WebSocket without a message from its client, and without a reply, for this long ends."""

    # Source digest
    source_file_bytes: int = Field(default=8 * MIB, ge=1, le=256 * MIB)
    """A larger file is named as skipped."""
    source_digest_bytes: int = Field(default=64 * MIB, ge=1)
    """Text of one digest; more is a 413."""
    source_entries: int = Field(default=1_000_000, ge=1)
    """Files and directories that one digest looks at; more is a 413."""
    source_depth: int = Field(default=64, ge=1, le=500)
    """Deeper directories are named as skipped."""
    source_seconds: float = Field(default=60, gt=0)
    """Time for one digest; longer is a 408."""
    source_cache_bytes: int = Field(default=256 * MIB, ge=0)
    """Texts of files that are kept between digests; each worker keeps its own."""
    source_digests: int = Field(default=2, ge=1)
    """Digests made at once by one worker; further ones wait."""
    source_answers: int = Field(default=20, ge=0)
    """Answered digests of a project that `since` may name; the oldest are forgotten."""
    source_allow_unredacted: bool = False
    """Whether `redact=false` may leave secrets in a digest."""
    source_write: bool = False
    """Whether `POST /v1/write-source-code` may change the files of projects."""
    source_write_bytes: int = Field(default=32 * MIB, ge=1024)
    """A request that holds a reply."""
    source_write_file_bytes: int = Field(default=10 * MIB, ge=1, le=256 * MIB)
    """A larger file of a reply is refused."""
    source_backup_days: float = Field(default=90, ge=0)
    """How long what was replaced or deleted is kept in `data_dir`; 0 is for ever."""

    # Search
    search_seconds: float = Field(default=1, gt=0, le=60)
    """One answer looks through what is stored for about so long; `next` goes on."""
    search_query_characters: int = Field(default=2_000, ge=200, le=20_000)
    """A query in a body; one in an address has 200 at most."""
    searches: int = Field(default=2, ge=1)
    """Searches made at once by one worker; further ones wait."""

    # Upstream time
    poe_points_seconds: float = Field(default=30, ge=0)
    """From the end of a reply of Poe to the reading of what it cost in points; 0 is never."""
    connect_timeout_seconds: float = Field(default=10, gt=0)
    read_timeout_seconds: float = Field(default=300, gt=0)
    """Longest silence of an upstream, before its first byte and between two."""
    upstream_connections: int = Field(default=0, ge=0)
    """Connections to one upstream at most; 0 is no limit."""
    retry_budget_seconds: float = Field(default=10, ge=0)
    """Transient faults before the first token are retried within this time."""
    stream_open_seconds: float = Field(default=15, gt=0)
    """A stream's first frame waits this long for the upstream to accept or refuse."""

    diff_seconds: float = Field(default=2, gt=0)
    """Time to compare two versions closely; what is left is shown as replaced."""

    # Replies
    checkpoint_seconds: float = Field(default=1, gt=0)
    checkpoints_per_second: int = Field(default=100, ge=1)
    """Checkpoints of one worker; with more running replies each gets one less often."""
    lease_seconds: float = Field(default=20, ge=2)
    """A reply whose worker gave no sign for this long counts as interrupted."""
    storage_retry_seconds: float = Field(default=30, ge=0)
    """How long a finished text is held and retried when the database does not answer."""
    shutdown_grace_seconds: float = Field(default=15, ge=0)
    heartbeat_seconds: float = Field(default=15, gt=0)

    # Sizes
    body_bytes: int = Field(default=8 * MIB, ge=1024)
    upload_bytes: int = Field(default=64 * MIB, ge=1024)
    """A form with files: audio, pictures."""
    upload_memory_bytes: int = Field(default=MIB, ge=0)
    """Of a form kept in memory; a longer one lies in a file without a name until it is sent on."""
    login_body_bytes: int = Field(default=16 * 1024, ge=1024)
    """A body that is read before anybody is known."""
    short_body_bytes: int = Field(default=64 * 1024, ge=1024)
    """A body without long texts: of keys, tags, lists of ids."""
    import_bytes: int = Field(default=256 * MIB, ge=1024)
    import_conversation_bytes: int = Field(default=16 * MIB, ge=1024)
    """One conversation of an import."""
    import_conversation_values: int = Field(default=1_000_000, ge=1000)
    """Texts, numbers, lists and objects of one conversation of an import."""
    message_bytes: int = Field(default=4 * MIB, ge=1024, le=4 * MIB)
    reply_bytes: int = Field(default=4 * MIB, ge=1024, le=4 * MIB)
    logprobs_bytes: int = Field(default=MIB, ge=0, le=2 * MIB)
    """Log probabilities of one reply, as JSON; what is above is left out."""
    document_bytes: int = Field(default=4 * MIB, ge=1024, le=8 * MIB)
    """Content of one plan document version."""
    conversation_messages: int = Field(default=1_000_000, ge=10)
    """Messages of one conversation; what is there already is never cut."""
    page_messages: int = Field(default=10_000, ge=1, le=10_000)
    """Messages or conversations of one page of a list; a larger `limit` is cut to it."""
    tail_messages: int = Field(default=64, ge=4)
    """Messages embedded in a conversation before the older half moves to a page."""
    tail_bytes: int = Field(default=128 * 1024, ge=1024)
    """Text embedded in a conversation before the older half moves to a page."""

    @field_validator("*")
    @classmethod
    def _sensible(cls, value: Any, info: ValidationInfo) -> Any:
        """Return a number that clocks and counters can hold; it also ends `inf`."""
        name = info.field_name or ""
        most = {"seconds": YEAR_SECONDS, "days": 36_500}.get(name.rpartition("_")[2], 2**53)
        if isinstance(value, int | float) and value > most:
            raise ValueError(f"must be at most {most}")
        return value

    @model_validator(mode="after")
    def _keys_of_providers(self) -> Self:
        for name, provider in self.providers.items():
            if "/" in name:
                raise ValueError(
                    f"provider {name!r}: a name has no '/', which parts it from the model's name"
                )
            if provider.api_key_env:
                variable = provider.api_key_env
                key = os.environ.get(variable) or dotenv_values(ENV_FILE).get(variable)
                if not key:
                    raise ValueError(
                        f"provider {name!r} names the variable {variable}, which is not set"
                    )
                try:
                    provider.api_key = sendable(SecretStr(key))
                except ValueError as error:
                    raise ValueError(f"{variable}: {error}") from None
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before `.env` before `proxy.toml`."""
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            _TomlFile(settings_cls),
        )

    @property
    def is_loopback(self) -> bool:
        """Whether the bind address can only be reached from this machine."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def model_settings(self, model: str) -> ModelSettings:
        """Return what `proxy.toml` says of a model, under its full or its bare name."""
        if not self.models:
            return NOTHING_SAID
        bare = model.split("/", 1)[-1]
        return self.models.get(model) or self.models.get(bare) or self.model_pattern(model, bare)

    def model_pattern(self, *names: str) -> ModelSettings:
        """Return what `proxy.toml` says under the longest pattern that fits one of the names."""
        if not self.models:
            return NOTHING_SAID
        fitting = (
            pattern
            for pattern in self.models
            if is_pattern(pattern) and any(fnmatchcase(name, pattern) for name in names)
        )
        return self.models.get(max(fitting, key=len, default=""), NOTHING_SAID)

    def model_context_tokens(self, *models: str, listed: int | None = None) -> int:
        """Return a model's window in tokens, by the first of its names that has one.

        `listed` is what its provider's list says.
        """
        windows = (self.model_settings(model).context_tokens for model in models)
        return next(filter(None, windows), listed or self.context_tokens)


class _TomlFile(TomlConfigSettingsSource):
    """`proxy.toml`, which is ours alone: a name that nothing reads is a mistake."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        unknown = self.toml_data.keys() - _names(settings_cls)
        if unknown:
            raise SettingsError(
                f"{TOML_FILE}: there is no setting {min(unknown)!r}; .env.example lists them "
                "(here in lower case, without PROXY_)"
            )


def _names(settings_cls: type[BaseSettings]) -> AbstractSet[str]:
    names = set(settings_cls.model_fields)
    for field in settings_cls.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            names.update(str(choice) for choice in field.validation_alias.choices)
    return names


def load_settings(**overrides: Any) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: one sentence that names the wrong setting.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{_variable(name)}: {message}" if name else message) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{TOML_FILE} cannot be read: {error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{ENV_FILE} and {TOML_FILE} must be UTF-8; save them so") from None
    except OSError as error:
        raise SettingsError(f"{error.filename} cannot be read: {error.strerror}") from None


def _variable(name: str) -> str:
    """Return the environment variable of a field, as an operator writes it."""
    head, _, rest = name.partition(".")
    if head.isupper():
        return name
    if head in ("providers", "models") and rest:
        return f"{TOML_FILE} [{name}]"
    return f"PROXY_{head.upper()}"
