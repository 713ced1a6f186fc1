"""`/docs` without the internet: its scripts come from an installed package."""

from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

ASSETS = "/docs/assets"

router = APIRouter(include_in_schema=False)

assets = Mount(
    ASSETS, StaticFiles(directory=str(files("fastapi_offline").joinpath("static"))), name="assets"
)


@router.get("/docs")
async def get_docs(request: Request) -> HTMLResponse:
    """Swagger UI: every call with its example, to read and to try."""
    root = request.scope.get("root_path", "")
    return get_swagger_ui_html(
        title=request.app.title,
        openapi_url=f"{root}/openapi.json",
        swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{root}{ASSETS}/favicon.png",
        swagger_ui_parameters={
            "validatorUrl": None,
            "docExpansion": "list",
            "persistAuthorization": True,
            "tryItOutEnabled": True,
        },
    )


@router.get("/redoc")
async def get_redoc(request: Request) -> RedirectResponse:
    """Where FastAPI's other page was: ReDoc fetches its logo from elsewhere, so it is not here."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")
