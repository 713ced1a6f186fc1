"""Built single-page clients, served from the server's own origin beside its API.

From another origin a client can keep no cookie. Files are those of `PROXY_WEB_DIR`; a page that is
no file is the client's own affair and gets its `index.html`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.setting_types import RESERVED_PATHS, web_clients
from proxy.settings import Settings

_HASHED = re.compile(r"[.-](?=[^.]*\d)[A-Za-z0-9_-]{8,}\.[a-z0-9.]+$")
"""A file whose name holds a hash of its content, as build tools write it: `app-B5cTm2xQ.js`."""


def add_web_clients(app: FastAPI, settings: Settings) -> FastAPI:
    """Let the clients of `PROXY_WEB_DIR` answer what no route does; return the application."""
    app.state.web_clients = None
    if settings.web_dir:
        clients = WebClients(web_clients(settings.web_dir), app.router.default)
        app.state.web_clients = app.router.default = clients
    return app


class WebClients:
    """Serves what no route of the API answers.

    `directories` are by the first part of their path; under `""` is the client at `/`.
    """

    def __init__(self, directories: Mapping[str, Path], otherwise: ASGIApp) -> None:
        self._clients = {name: _Client(path) for name, path in directories.items()}
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        client, scope = self._of(scope)
        await (client or self._otherwise)(scope, receive, send)

    async def page(self, scope: Scope) -> Response | None:
        """Return the page of the client at `/`, where there is one."""
        client = self._clients.get("")
        return await client.get_response("index.html", scope) if client else None

    def _of(self, scope: Scope) -> tuple["_Client | None", Scope]:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return None, scope
        root = scope.get("root_path", "")
        name, *_ = scope["path"].removeprefix(root).removeprefix("/").split("/", 1)
        if name in RESERVED_PATHS:
            return None, scope
        if name and name in self._clients:
            return self._clients[name], {**scope, "root_path": f"{root}/{name}"}
        return self._clients.get(""), scope


class _Client(StaticFiles):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory, html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or the page for an address within the client."""
        if any(part.startswith(".") and part != ".well-known" for part in path.split("/")[:-1]) or (
            path.rpartition("/")[2].startswith(".") and path != "."
        ):
            raise HTTPException(404)
        try:
            response = await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code != 404 or not _is_navigation(scope):
                raise
            response = await super().get_response("index.html", scope)
        if response.status_code == 404 and _is_navigation(scope):
            response = await super().get_response("index.html", scope)
        if location := response.headers.get("location"):
            # Not to whatever host the request names.
            response.headers["location"] = "/" + urlsplit(location).path.lstrip("/")
        response.headers["Cache-Control"] = (
            "public, max-age=31536000, immutable" if _HASHED.search(path) else "no-cache"
        )
        return response


def _is_navigation(scope: Scope) -> bool:
    """Whether a browser wants a page, and not a file that is missing."""
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])
