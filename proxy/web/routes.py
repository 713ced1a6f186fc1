"""How the routers of the API are made."""

from fastapi import APIRouter
from fastapi.routing import APIRoute


def api_router(path: str = "", tag: str = "") -> APIRouter:
    """Return a router of what is served below a path, under a tag of the OpenAPI document.

    Its routes stand in the application as they are. A router that is included with a prefix
    matches each request several times, and makes each route's models and fields once more.
    """

    def name_of(route: APIRoute) -> str:
        return route.name

    return APIRouter(prefix=path, tags=[tag] if tag else None, generate_unique_id_function=name_of)
