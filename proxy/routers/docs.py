"""`/docs` without the internet: its scripts come from an installed package."""

import asyncio
import base64
import hashlib
import re
from importlib.resources import files

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from proxy.responses import dumps
from proxy.web.state import state_of

ASSETS = "/docs/assets"

router = APIRouter(include_in_schema=False)

router.mount(
    ASSETS, StaticFiles(directory=str(files("fastapi_offline").joinpath("static"))), name="assets"
)


@router.get("/docs")
async def get_docs(request: Request) -> HTMLResponse:
    """Swagger UI: every call with its example, to read and to try."""
    root = request.scope.get("root_path", "")
    page = get_swagger_ui_html(
        title=request.app.title,
        openapi_url=f"{root}/openapi.json",
        swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{root}{ASSETS}/favicon.png",
        swagger_ui_parameters={
            "validatorUrl": None,
            "docExpansion": "list",
            # A key that is typed here is gone with the page.
            "persistAuthorization": False,
            "tryItOutEnabled": True,
        },
    )
    page.headers["Content-Security-Policy"] = _policy(bytes(page.body))
    return page


def _policy(page: bytes) -> str:
    """Return the policy of a page: scripts of ours, and the one that stands in it."""
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
        for script in re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    ]
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' {' '.join(hashes)}",
            # Swagger UI sets styles on its elements, and has its icons as data.
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


@router.get("/openapi.json")
async def get_description(request: Request) -> Response:
    """Return the description of every call, made and written once."""
    state = state_of(request)
    if not hasattr(state, "openapi_json"):
        root = request.scope.get("root_path", "")
        # In a thread: it takes half a second.
        state.openapi_json = await asyncio.to_thread(_written, request.app, root)
    return Response(state.openapi_json, media_type="application/json")


def _written(app: FastAPI, root: str) -> bytes:
    servers = {"servers": [{"url": root}]} if root else {}
    return dumps({**app.openapi(), **servers})


@router.get("/redoc")
async def get_redoc(request: Request) -> RedirectResponse:
    """Where FastAPI's other page was: ReDoc fetches its logo from elsewhere, so it is not here."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")
