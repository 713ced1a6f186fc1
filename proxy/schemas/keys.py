"""Bodies of `/v1/keys`."""

import unicodedata
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from proxy.caller import DEFAULT_SCOPES, Scope
from proxy.documents.api_key import StoredKey, UsedKey
from proxy.schemas.common import Body, Integer, OwnerId, Scopes, Text, Time, UtcTime


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
"""Of a key or a user."""

OwnerName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100),
    AfterValidator(_one_word),
    Field(
        description="Whose things it sees; letters of any script, digits and . _ @ -",
        examples=["team-a"],
    ),
]


class KeyLimits(Body):
    """A key's own limits; an absent one is the server's default, 0 is none."""

    requests_per_minute: Annotated[Integer | None, Field(ge=0, le=100_000, examples=[60])] = None
    tokens_per_day: Annotated[Integer | None, Field(ge=0, le=10**15, examples=[500_000])] = None
    streams: Annotated[
        Integer | None,
        Field(ge=0, le=10_000, description="Replies being written at once", examples=[5]),
    ] = None


class KeyCreate(KeyLimits):
    """Only the name is needed."""

    name: KeyName = Field(examples=["laptop"])
    owner: OwnerName | None = None
    scopes: Annotated[list[Scope], Field(min_length=1), AfterValidator(_in_order)] = sorted(
        DEFAULT_SCOPES
    )
    expires_at: UtcTime | None = Field(default=None, examples=["2026-12-31T00:00:00Z"])
    remember_unstored: Annotated[
        bool,
        Field(description="Keep threads of Responses with `store: false` (Codex) as conversations"),
    ] = False

    model_config = {
        "json_schema_extra": {"examples": [{"name": "laptop", "requests_per_minute": 60}]}
    }


class KeyOut(BaseModel):
    """What is known of a key; the key itself is not kept."""

    id: str = Field(examples=["key_1f0c8e9a550d4c5b8a2e7f9f2b1c6a53"])
    name: str = Field(examples=["laptop"])
    owner: OwnerId
    scopes: Scopes
    last4: str = Field(examples=["x7Qm"])
    created_at: Time
    expires_at: datetime | None = Field(examples=[None])
    revoked_at: datetime | None = Field(examples=[None])
    rotated_at: datetime | None = Field(examples=[None])
    last_used_at: Time | None
    requests: int = Field(examples=[12])
    requests_per_minute: int | None = Field(examples=[60])
    tokens_per_day: int | None = Field(examples=[None])
    streams: int | None = Field(examples=[None])
    remember_unstored: bool = Field(examples=[False])


class KeyCreated(KeyOut):
    """With the key itself, which is shown this once."""

    key: str = Field(examples=["sk-proxy-…"])


def key_out(raw: StoredKey | UsedKey) -> dict[str, Any]:
    """Return a stored key under its wire names."""
    fields = {name: raw.get(name) for name in KeyOut.model_fields}
    fields["remember_unstored"] = bool(raw.get("remember_unstored"))
    return {**fields, "id": raw["_id"], "requests": raw.get("requests", 0)}
