"""`/v1/auth`: log-in for browsers; a cookie carries the session."""

from datetime import timedelta

from fastapi import Request

from proxy.access.auth import SESSION_COOKIE, session_token
from proxy.access.origins import is_loopback_host
from proxy.credentials import hash_key
from proxy.documents.user import Session, User, login_name
from proxy.errors import Unauthorized
from proxy.responses import Json
from proxy.schemas.auth import LoggedIn, Login, WhoAmI
from proxy.schemas.common import Done
from proxy.web.dependencies import (
    AppSettings,
    Authentication,
    Caller,
    PasswordVerifier,
    RequestLimits,
)
from proxy.web.routes import api_router

router = api_router("/v1/auth", tag="Log-in")


@router.post("/login", response_model=LoggedIn, summary="Log in")
async def create_session(
    request: Request,
    body: Login,
    settings: AppSettings,
    authenticator: Authentication,
    limits: RequestLimits,
    verifier: PasswordVerifier,
) -> Json:
    """Set a cookie; on a server without keys and users any name is right."""
    name = body.user_name.strip()
    if not await authenticator.is_locked():
        return Json({"name": name, "user": name})
    address = request.client.host if request.client else "-"
    await limits.count_login(login_name(name), address)
    user = await User.by_login(name)
    if not await verifier.matches(user["password_hash"] if user else None, body.password):
        raise wrong_login()
    assert user is not None
    await limits.forget_logins(login_name(name), address)
    lifetime = timedelta(days=settings.session_days)
    token = await Session.begin(user, lifetime)
    if former := session_token(dict(request.scope["headers"])):
        await Session.end(hash_key(former))
        authenticator.forget()
    # A password that was set meanwhile ended the sessions that there were.
    now = await User.by_login(name)
    if now is None or now["password_hash"] != user["password_hash"]:
        await Session.end(hash_key(token))
        raise wrong_login()
    response = Json({"name": user["name"], "user": user["name"]})
    response.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=int(lifetime.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=_is_remote(request),
    )
    return response


@router.post("/logout", response_model=Done, summary="Log out")
async def delete_session(request: Request, authenticator: Authentication) -> Json:
    """End the session of the cookie, if there is one."""
    if token := session_token(dict(request.scope["headers"])):
        await Session.end(hash_key(token))
        authenticator.forget()
    response = Json({"message": "Logged out"})
    response.delete_cookie(
        SESSION_COOKIE, httponly=True, samesite="lax", secure=_is_remote(request)
    )
    return response


@router.get("/me", response_model=WhoAmI, summary="Who am I?")
async def get_caller(caller: Caller) -> Json:
    """Return the key's or the session's name, owner and scopes."""
    by = "session" if caller.by_cookie else "key" if caller.key_id else "open"
    return Json(
        {
            "name": caller.name,
            "user": caller.name,
            "owner": caller.owner,
            "scopes": sorted(caller.scopes),
            "by": by,
        }
    )


def wrong_login() -> Unauthorized:
    """Return the 401 for a wrong name and for a wrong password."""
    return Unauthorized("Invalid username or password", code="invalid_credentials")


def _is_remote(request: Request) -> bool:
    """Whether the browser is elsewhere, or on TLS: then the cookie travels over TLS only."""
    host = request.headers.get("host", "").encode("latin-1")
    return request.url.scheme == "https" or not is_loopback_host(host)
