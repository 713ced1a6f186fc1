"""What a setting may be: keys, addresses, lists in one text, and the tables of `proxy.toml`."""

import json
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

RESERVED_PATHS = frozenset(
    ("v1", "docs", "redoc", "openapi.json", "health", "livez", "readyz", "metrics", "console")
)
"""First parts of paths that are the server's own."""

WEB_NAME = re.compile(r"[A-Za-z0-9_-]{0,64}")


def sendable(key: SecretStr) -> SecretStr:
    """Return a key as a header can carry it."""
    text = key.get_secret_value().strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a key has only ASCII letters, digits and punctuation; copy it again")
    return SecretStr(text)


def _http_url(value: str) -> str:
    address = urlsplit(value)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError("must start with http:// or https:// and a host name")
    address.port  # noqa: B018 (raises for one that is no number)
    return value


def _origin(value: str) -> str:
    address = urlsplit(value)
    rest = address.path.rstrip("/") or address.query or address.fragment
    if value not in ("*", "null") and (not address.scheme or not address.netloc or rest):
        raise ValueError(f"{value!r} is not an origin like https://chat.example:8443")
    return value


def _parsed(value: Any) -> Any:
    """Of a text from the environment, what it says as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("must be JSON") from None


def parted_by(separator: str) -> BeforeValidator:
    """Return a list that the environment holds as one text."""

    def split(value: Any) -> Any:
        if isinstance(value, str):
            return [part.strip() for part in value.split(separator) if part.strip()]
        return value

    return BeforeValidator(split)


def _network(value: Any) -> Any:
    try:
        return ip_network(value)
    except ValueError:
        raise ValueError(
            f"{value!r} is no address or network like 10.0.0.2 or 172.18.0.0/16"
        ) from None


def _mongodb_uri(value: SecretStr) -> SecretStr:
    uri = value.get_secret_value()
    if uri and not uri.startswith(("mongodb://", "mongodb+srv://")):
        raise ValueError("must start with mongodb:// or mongodb+srv://")
    return value


def _database_name(value: str) -> str:
    plain = value.replace("-", "").replace("_", "")
    if not (plain.isascii() and plain.isalnum() and len(value) <= 63):
        raise ValueError("must be 1 to 63 ASCII letters, digits, '-' or '_'")
    return value


def _port_address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if value and not (host and port.isdecimal() and int(port) < 2**16):
        raise ValueError("must be host:port, like 127.0.0.1:9464")
    return value


def web_clients(entries: list[str]) -> dict[str, Path]:
    """Return the directories of `web_dir` by the first part of their path."""
    parts = (entry.rpartition("=") for entry in entries)
    return {name.strip().strip("/"): Path(path.strip()) for name, _, path in parts}


def _web_directories(value: list[str]) -> list[str]:
    for name, directory in web_clients(value).items():
        if name in RESERVED_PATHS or not WEB_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a client; take letters and digits")
        if not (directory / "index.html").is_file():
            raise ValueError(f"{directory} holds no index.html; build the client first")
    return value


Key = Annotated[SecretStr, AfterValidator(sendable)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Origin = Annotated[str, AfterValidator(_origin)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
MongodbUri = Annotated[SecretStr, AfterValidator(_mongodb_uri)]
DatabaseName = Annotated[str, AfterValidator(_database_name)]
PortAddress = Annotated[str, AfterValidator(_port_address)]
WebDirectories = Annotated[list[str], AfterValidator(_web_directories)]
JSON = BeforeValidator(_parsed)
ResponsesProtocol = Literal["auto", "native", "chat"]


class ProviderSettings(BaseModel):
    """One `[providers.<name>]` table of `proxy.toml`: an OpenAI-compatible or Poe upstream."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["openai", "poe"] = "openai"
    base_url: HttpUrl | None = None
    api_key_env: str | None = None
    """The name of the environment variable that holds the key, so that it stays out of files."""
    api_key: Key | None = None
    models: list[str] = []
    """Models that the upstream offers without listing them."""
    stream_usage: bool = True
    """Ask for token usage at the end of a stream (`stream_options.include_usage`)."""
    think_tags: bool | None = None
    """Take `<think>…</think>` at the beginning of a text as reasoning; by default everywhere
    but at OpenAI."""
    alternate_roles: bool | None = None
    """Join neighbouring messages of one role; by default everywhere but at OpenAI."""
    responses: ResponsesProtocol = "auto"
    """Ask it by `/responses` (`native`) or by `/chat/completions` (`chat`) for a call of
    `/v1/responses`; `auto` is native at OpenAI alone."""


class ModelSettings(BaseModel):
    """One `[models."<name>"]` table of `proxy.toml`."""

    model_config = ConfigDict(extra="forbid")

    route: list[str] = []
    """`provider/model` names that are tried in order until one answers."""
    context_tokens: int | None = Field(default=None, ge=256)
    input_price_per_million_tokens: float | None = Field(default=None, ge=0)
    output_price_per_million_tokens: float | None = Field(default=None, ge=0)
    alternate_roles: bool | None = None
    """Join neighbouring messages of one role; by default as its provider says."""
    images: bool | None = None
    """False: the model sees no pictures, so a history names them in a line of text."""
    responses: ResponsesProtocol | None = None
    """As of a provider, for this model; by default as its provider says."""
    points_per_request: float | None = Field(default=None, ge=0)
    """Poe points a request costs."""
