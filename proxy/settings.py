"""Every knob of the server, its unit in its name; nothing else reads the environment."""

import os
import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
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

MIB = 1024 * 1024


class SettingsError(ValueError):
    """A setting is wrong; the message is one sentence that names it."""


class ProviderSettings(BaseModel):
    """One `[providers.<name>]` table of `proxy.toml`: an OpenAI-compatible or Poe upstream."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["openai", "poe"] = "openai"
    base_url: str | None = None
    api_key_env: str | None = None
    """The name of the environment variable that holds the key, so that it stays out of files."""
    api_key: SecretStr | None = None
    models: list[str] = []
    """Models that the upstream offers without listing them."""
    stream_usage: bool = True
    """Ask for token usage at the end of a stream (`stream_options.include_usage`)."""


class ModelSettings(BaseModel):
    """One `[models."<name>"]` table of `proxy.toml`."""

    model_config = ConfigDict(extra="forbid")

    route: list[str] = []
    """`provider/model` names that are tried in order until one answers."""
    context_tokens: int | None = Field(default=None, ge=256)
    input_price_per_million_tokens: float | None = Field(default=None, ge=0)
    output_price_per_million_tokens: float | None = Field(default=None, ge=0)
    points_per_request: float | None = Field(default=None, ge=0)
    """Poe points a request costs."""


NOTHING_SAID = ModelSettings()
"""Of a model that `proxy.toml` does not name."""


def _split(value: Any, separator: str) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(separator) if part.strip()]
    return value


def _bare(name: str) -> Any:
    """A setting whose environment variable carries no `PROXY_` prefix."""
    return AliasChoices(name, name.lower())


class Settings(BaseSettings):
    """Read from the environment (`PROXY_*`), then `.env`, then `proxy.toml`, then the defaults."""

    model_config = SettingsConfigDict(
        env_prefix="PROXY_",
        env_file=".env",
        toml_file="proxy.toml",
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
    mongodb_uri: SecretStr = SecretStr("")
    """Empty: the embedded database is started in `data_dir`."""
    mongodb_database: str = Field(default="proxy", pattern=r"^[A-Za-z0-9_-]{1,63}$")
    embedded_restart_mib: int = Field(default=2048, ge=64)
    """Size of the embedded database's directory above which it is restarted when idle."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    # Models
    default_model: str = ""
    default_provider: str = ""
    openai_api_key: SecretStr = Field(
        default=SecretStr(""), validation_alias=_bare("OPENAI_API_KEY")
    )
    openai_base_url: str = Field(
        default="https://api.openai.com/v1", validation_alias=_bare("OPENAI_BASE_URL")
    )
    poe_api_key: SecretStr = Field(default=SecretStr(""), validation_alias=_bare("POE_API_KEY"))
    poe_base_url: str = Field(
        default="https://api.poe.com/bot/", validation_alias=_bare("POE_BASE_URL")
    )
    providers: dict[str, ProviderSettings] = {}
    models: dict[str, ModelSettings] = {}
    context_tokens: int = Field(default=128_000, ge=256)
    """Window of a model that has no `context_tokens` of its own."""
    models_refresh_seconds: float = Field(default=300, gt=0)
    continue_messages: list[str] = [
        "continue",
        "go on",
        "keep going",
        "继续",
        "请继续",
        "接着说",
        "继续说",
    ]
    """User texts (exact after trimming, case-insensitive) that are sent but not stored."""

    # Who may come in
    api_keys: Annotated[list[SecretStr], NoDecode] = []
    cors_origins: Annotated[list[str], NoDecode] = []
    session_days: float = Field(default=30, gt=0)
    """How long a browser stays logged in."""
    login_attempts: int = Field(default=10, ge=1)
    """Attempts to log in under one name, and thrice as many from one address, in a window."""
    login_window_seconds: int = Field(default=300, ge=1)
    access_log: bool = False
    """A log line for every request."""

    # Limits of a key that has none of its own; 0 is none
    key_requests_per_minute: int = Field(default=0, ge=0, le=100_000)
    key_tokens_per_day: int = Field(default=0, ge=0)
    key_streams: int = Field(default=0, ge=0, le=10_000)
    """Replies being written at once."""
    streams: int = Field(default=1000, ge=1)
    """Replies being written at once by the whole server; each worker takes its share."""
    source_roots: Annotated[list[Path], NoDecode] = Field(default_factory=lambda: [Path.cwd()])

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

    # Upstream time
    connect_timeout_seconds: float = Field(default=10, gt=0)
    read_timeout_seconds: float = Field(default=300, gt=0)
    """Longest silence of an upstream, before its first byte and between two."""
    upstream_connections: int = Field(default=0, ge=0)
    """Connections to one upstream at most; 0 is no limit."""
    retry_budget_seconds: float = Field(default=10, ge=0)
    """Transient faults before the first token are retried within this time."""
    stream_open_seconds: float = Field(default=15, gt=0)
    """A stream's first frame waits this long for the upstream to accept or refuse."""

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
    import_bytes: int = Field(default=256 * MIB, ge=1024)
    message_bytes: int = Field(default=4 * MIB, ge=1024, le=4 * MIB)
    reply_bytes: int = Field(default=4 * MIB, ge=1024, le=4 * MIB)
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

    @field_validator("api_keys", "cors_origins", mode="before")
    @classmethod
    def _commas(cls, value: Any) -> Any:
        return _split(value, ",")

    @field_validator("source_roots", mode="before")
    @classmethod
    def _path_list(cls, value: Any) -> Any:
        return _split(value, os.pathsep)

    @field_validator("openai_base_url", "poe_base_url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value

    @field_validator("mongodb_uri")
    @classmethod
    def _mongodb_uri(cls, value: SecretStr) -> SecretStr:
        uri = value.get_secret_value()
        if uri and not uri.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("must start with mongodb:// or mongodb+srv://")
        return value

    @model_validator(mode="after")
    def _keys_of_providers(self) -> Self:
        for name, provider in self.providers.items():
            if provider.api_key_env:
                key = os.environ.get(provider.api_key_env)
                if not key:
                    raise ValueError(
                        f"provider {name!r} names the variable {provider.api_key_env}, "
                        "which is not set"
                    )
                provider.api_key = SecretStr(key)
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
            TomlConfigSettingsSource(settings_cls),
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
        """What `proxy.toml` says of a model, under its full or its bare name."""
        models = self.models
        return models.get(model) or models.get(model.split("/", 1)[-1]) or NOTHING_SAID

    def model_context_tokens(self, model: str) -> int:
        """The model's window in tokens."""
        return self.model_settings(model).context_tokens or self.context_tokens


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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"proxy.toml cannot be read: {error}") from None


def _variable(name: str) -> str:
    """The environment variable of a field, as an operator writes it."""
    head = name.split(".", 1)[0]
    if head.isupper():
        return name
    if head in ("providers", "models"):
        return f"proxy.toml [{name}]"
    return f"PROXY_{name.upper()}"
