"""Bodies of `/v1/auth`."""

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from proxy.credentials import PASSWORD_CHARACTERS
from proxy.schemas.common import Body, OwnerId, Scopes, Text


class Login(Body):
    """`{"userName": "ada", "password": "…"}`."""

    user_name: Annotated[
        Text, StringConstraints(max_length=100), Field(alias="userName", examples=["admin"])
    ]
    password: Annotated[
        Text,
        StringConstraints(max_length=PASSWORD_CHARACTERS),
        Field(json_schema_extra={"format": "password"}, examples=["correct horse battery staple"]),
    ]


class LoggedIn(BaseModel):
    """`{"name": "Ada", "user": "Ada"}`; a cookie carries the session."""

    name: str = Field(examples=["admin"])
    user: str = Field(examples=["admin"])


class WhoAmI(BaseModel):
    """Who the caller is."""

    name: str = Field(examples=["laptop"])
    user: str = Field(examples=["laptop"])
    owner: OwnerId
    scopes: Scopes
    by: str = Field(
        description="`key`, `session`, or `open` on a server without keys", examples=["key"]
    )
