"""`/v1/keys`: the keys of the caller's owner, for scope `admin`."""

from typing import Annotated

from fastapi import Path, Query

from proxy.caller import CallerInfo
from proxy.documents.api_key import ApiKey
from proxy.documents.base import Raw, utc_now
from proxy.errors import Forbidden, Unprocessable
from proxy.responses import Json
from proxy.schemas.common import Done
from proxy.schemas.keys import KeyCreate, KeyCreated, KeyOut, OwnerName, key_out
from proxy.web.dependencies import Authentication, Caller
from proxy.web.routes import api_router

router = api_router("/v1/keys", tag="Keys")

KeyId = Annotated[str, Path(max_length=100)]
Owner = Annotated[
    OwnerName | None, Query(description="Another owner's keys, for the operator's own key")
]


def _owner(caller: CallerInfo, wanted: str | None) -> str:
    """Return the owner whose keys are meant.

    Raises:
        Forbidden: another owner's, and the caller does not run this server.
    """
    if wanted is None or wanted == caller.owner:
        return caller.owner
    if not caller.is_operator:
        raise Forbidden(
            "Keys of another owner need a key of PROXY_API_KEYS, or `proxy keys create --owner`"
        )
    return wanted


async def _within_own_limits(caller: CallerInfo, wanted: Raw) -> Raw:
    """Return the limits of a key that another key makes: its maker's where none are named.

    Raises:
        Forbidden: they are wider than the maker's own.
    """
    limits: Raw = {}
    for name in ("requests_per_minute", "tokens_per_day", "streams"):
        own, asked = getattr(caller, name), wanted[name]
        if own and asked is None:
            limits[name] = own
        elif own and (asked == 0 or asked > own):
            raise Forbidden(
                f"{name}: this key has {own}, and a key that it makes has no more",
                code="limit_too_wide",
                param=name,
            )
    if not caller.by_cookie:
        ends = (await ApiKey.get_one(caller.owner, caller.key_id))["expires_at"]
        if ends is not None and wanted["expires_at"] is None:
            limits["expires_at"] = ends
        elif ends is not None and wanted["expires_at"] > ends:
            raise Forbidden(
                "expires_at: this key ends earlier, and a key that it makes ends no later",
                code="limit_too_wide",
                param="expires_at",
            )
    return limits


@router.post("", response_model=KeyCreated, summary="Create a key")
async def create_key(body: KeyCreate, caller: Caller, authenticator: Authentication) -> Json:
    """Show the key in the answer, this once; only its hash is kept."""
    if body.expires_at is not None and body.expires_at <= utc_now():
        raise Unprocessable("expires_at: must be in the future", param="expires_at")
    fields = body.model_dump(exclude={"owner", "name"})
    if not caller.is_operator:
        fields |= await _within_own_limits(caller, fields)
    secret, raw = await ApiKey.create_new(_owner(caller, body.owner), body.name, **fields)
    # The first one locks the server, this worker at once.
    authenticator.forget()
    return Json({**key_out(raw), "key": secret})


@router.get("", response_model=list[KeyOut], summary="List keys, oldest first")
async def list_keys(caller: Caller, owner: Owner = None) -> Json:
    """Revoked and expired ones too, each with when it was last used and how often."""
    return Json([key_out(raw) for raw in await ApiKey.list_all(_owner(caller, owner))])


@router.get("/{key_id}", response_model=KeyOut, summary="Get a key")
async def get_key(key_id: KeyId, caller: Caller, owner: Owner = None) -> Json:
    """Return what is known of one key."""
    return Json(key_out(await ApiKey.get_one(_owner(caller, owner), key_id)))


@router.post("/{key_id}/rotate", response_model=KeyCreated, summary="Rotate a key")
async def rotate_key(
    key_id: KeyId, caller: Caller, authenticator: Authentication, owner: Owner = None
) -> Json:
    """Return a new key under the same id, name and limits.

    The former one stops within two seconds.
    """
    secret, raw = await ApiKey.rotate(_owner(caller, owner), key_id)
    authenticator.forget()
    return Json({**key_out(raw), "key": secret})


@router.delete("/{key_id}", response_model=Done, summary="Revoke a key")
async def delete_key(
    key_id: KeyId, caller: Caller, authenticator: Authentication, owner: Owner = None
) -> Json:
    """For good: it stops working within two seconds, on every worker."""
    await ApiKey.revoke(_owner(caller, owner), key_id)
    authenticator.forget()
    return Json({"message": "Key revoked"})
