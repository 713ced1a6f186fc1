"""`/v1/users`: people who log in with a browser, for scope `admin`."""

from typing import Annotated

from fastapi import Path

from proxy.caller import CallerInfo
from proxy.documents.user import StoredUser, User, UserNotFound
from proxy.errors import Forbidden
from proxy.responses import Json
from proxy.schemas.common import Done
from proxy.schemas.users import UserCreate, UserOut, UserUpdate, user_out
from proxy.web.dependencies import Authentication, Caller, PasswordVerifier
from proxy.web.routes import api_router

router = api_router("/v1/users", tag="Keys")

UserId = Annotated[str, Path(max_length=100)]


async def _visible(caller: CallerInfo) -> list[StoredUser]:
    """Users of the caller's owner; whoever runs the server sees all."""
    found = await User.list_all()
    return [raw for raw in found if caller.is_operator or raw["owner"] == caller.owner]


async def _one(caller: CallerInfo, user_id: str) -> StoredUser:
    for raw in await _visible(caller):
        if raw["_id"] == user_id:
            return raw
    raise UserNotFound


@router.get("", response_model=list[UserOut], summary="List users by name")
async def list_users(caller: Caller) -> Json:
    """List those of the caller's owner; the operator's key sees all."""
    return Json([user_out(raw) for raw in await _visible(caller)])


@router.post("", response_model=UserOut, summary="Create a user")
async def create_user(
    body: UserCreate, caller: Caller, authenticator: Authentication, verifier: PasswordVerifier
) -> Json:
    """Create somebody who logs in by name and password; the first one locks the server.

    Raises:
        Forbidden: another owner's, and the caller does not run this server.
        Conflict: the name is taken.
    """
    owner = body.owner or caller.owner
    if owner != caller.owner and not caller.is_operator:
        raise Forbidden(
            "Users of another owner need a key of PROXY_API_KEYS, or `proxy users create --owner`"
        )
    hash_ = await verifier.hash(body.password)
    raw = await User.create_new(owner, body.name, hash_, list(body.scopes))
    authenticator.forget()
    return Json(user_out(raw))


@router.put("/{user_id}", response_model=Done, summary="Set a user's password")
async def update_user(
    user_id: UserId,
    body: UserUpdate,
    caller: Caller,
    authenticator: Authentication,
    verifier: PasswordVerifier,
) -> Json:
    """Set the password and end all sessions of the user."""
    user = await _one(caller, user_id)
    await User.set_password(user["name"], await verifier.hash(body.password))
    authenticator.forget()
    return Json({"message": "User updated"})


@router.delete("/{user_id}", response_model=Done, summary="Delete a user")
async def delete_user(user_id: UserId, caller: Caller, authenticator: Authentication) -> Json:
    """End all sessions; what the user made stays with its owner."""
    user = await _one(caller, user_id)
    await User.remove(user["name"])
    authenticator.forget()
    return Json({"message": "User deleted"})
