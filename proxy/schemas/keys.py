"""Bodies of `/v1/keys`."""

import unicodedata
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from proxy.caller import DEFAULT_SCOPES, Scope
from proxy.documents.api_key import StoredKey, UsedKey
from proxy.schemas.common import Body, Integer, Text, UtcTime


def _filled(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value.strip()


def _one_word(value: str) -> str:
    value = unicodedata.normalize("NFC", value)
    if not all(character.isalnum() or character in "._@-" for character in value):
        raise ValueError("must be letters, digits and . _ @ -")
    return value


def _in_order(value: list[Scope]) -> list[Scope]:
    return sorted(set(value))


KeyName = Annotated[Text, StringConstraints(max_length=100), AfterValidator(_filled)]
OwnerName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100),
    AfterValidator(_one_word),
    Field(description="Whose things it sees; letters of any script, digits and . _ @ -"),
]


class KeyLimits(Body):
    """A key's own limits; an absent one is the server's default, 0 is none."""

    requests_per_minute: Annotated[Integer | None, Field(ge=0, le=100_000)] = None
    tokens_per_day: Annotated[Integer | None, Field(ge=0, le=10**15)] = None
    streams: Annotated[
        Integer | None, Field(ge=0, le=10_000, description="Replies being written at once")
    ] = None


class KeyCreate(KeyLimits):
    """Only the name is needed."""

    name: KeyName
    owner: OwnerName | None = None
    scopes: Annotated[list[Scope], Field(min_length=1), AfterValidator(_in_order)] = sorted(
        DEFAULT_SCOPES
    )
    expires_at: UtcTime | None = None
    remember_unstored: Annotated[
        bool,
        Field(description="Keep threads of Responses with `store: false` (Codex) as conversations"),
    ] = False

    model_config = {
        "json_schema_extra": {"examples": [{"name": "laptop", "requests_per_minute": 60}]}
    }


class KeyOut(BaseModel):
    """What is known of a key; the key itself is not kept."""

    id: str
    name: str
    owner: str
    scopes: list[str]
    last4: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    rotated_at: datetime | None
    last_used_at: datetime | None
    requests: int
    requests_per_minute: int | None
    tokens_per_day: int | None
    streams: int | None
    remember_unstored: bool


class KeyCreated(KeyOut):
    """With the key itself, which is shown this once."""

    key: str = Field(examples=["sk-proxy-…"])


def key_out(raw: StoredKey | UsedKey) -> dict[str, Any]:
    """Return a stored key under its wire names."""
    fields = {name: raw.get(name) for name in KeyOut.model_fields}
    fields["remember_unstored"] = bool(raw.get("remember_unstored"))
    return {**fields, "id": raw["_id"], "requests": raw.get("requests", 0)}
