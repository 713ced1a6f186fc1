"""Bodies of `/v1/users`."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from proxy.caller import DEFAULT_SCOPES, Scope
from proxy.credentials import PASSWORD_CHARACTERS
from proxy.documents.base import Raw
from proxy.documents.user import StoredUser
from proxy.schemas.common import Body, OwnerId, Scopes, Text, Time
from proxy.schemas.keys import KeyName, OwnerName

MIN_PASSWORD_CHARACTERS = 8

Password = Annotated[
    Text,
    StringConstraints(min_length=MIN_PASSWORD_CHARACTERS, max_length=PASSWORD_CHARACTERS),
    Field(json_schema_extra={"format": "password"}, examples=["correct horse battery staple"]),
]


def _in_order(value: list[Scope]) -> list[Scope]:
    return sorted(set(value))


class UserCreate(Body):
    """A person who logs in with a browser; the caller's owner unless another is named."""

    name: KeyName = Field(examples=["wang"])
    password: Password
    owner: OwnerName | None = None
    scopes: Annotated[list[Scope], Field(min_length=1), AfterValidator(_in_order)] = sorted(
        DEFAULT_SCOPES
    )

    model_config = {
        "json_schema_extra": {"examples": [{"name": "wang", "password": "a long sentence"}]}
    }


class UserUpdate(Body):
    """The new password; all sessions of the user end."""

    password: Password


class UserOut(BaseModel):
    """What is known of a user; the password is not kept."""

    id: str = Field(examples=["user_7f9f2b1c6a534c8e9a550d8f0c1f5a4e"])
    name: str = Field(examples=["wang"])
    owner: OwnerId
    scopes: Scopes
    created_at: Time


def user_out(raw: StoredUser) -> Raw:
    """Return a stored user under its wire names."""
    shown = {name: value for name, value in raw.items() if name in UserOut.model_fields}
    return {"id": raw["_id"], **shown}
