"""Bodies of `/v1/auth`."""

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from proxy.credentials import PASSWORD_CHARACTERS
from proxy.schemas.common import Body, Text


class Login(Body):
    """`{"userName": "ada", "password": "…"}`."""

    user_name: Annotated[Text, StringConstraints(max_length=100), Field(alias="userName")]
    password: Annotated[
        Text,
        StringConstraints(max_length=PASSWORD_CHARACTERS),
        Field(json_schema_extra={"format": "password"}),
    ]


class LoggedIn(BaseModel):
    """`{"name": "Ada", "user": "Ada"}`; a cookie carries the session."""

    name: str
    user: str


class WhoAmI(BaseModel):
    """Who the caller is."""

    name: str
    user: str
    owner: str
    scopes: list[str]
    by: str = Field(description="`key`, `session`, or `open` on a server without keys")
