"""`/console`: a page that shows and does everything; its files are part of the package.

They are read once and served from memory, so no path that a client sends reaches the disk. All
but the page itself lie below a name made of their contents: a browser keeps them for good, and
an update is another address.
"""

import asyncio
import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from proxy.errors import NotFound
from proxy.web.state import state_of

router = APIRouter(prefix="/console", include_in_schema=False)

PAGE = "index.html"

MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "mjs": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    )
)
"""Nothing from elsewhere, nothing inline; HTML becomes part of the page through DOMPurify only."""

IMPORT = re.compile(rb"""^(?:import|export)\b[^;"']*?["'](\.[^"']+)["']""", re.MULTILINE)
"""A static import; `import()` loads when a screen is opened."""

FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent."""

    body: bytes
    compressed: bytes
    media_type: str
    etag: str


class Console:
    """The console's files."""

    def __init__(self) -> None:
        self._contents = dict(_read(files("proxy").joinpath("console")))
        digest = hashlib.sha256()
        for path, content in sorted(self._contents.items()):
            digest.update(b"%s %d\n%s" % (path.encode(), len(content), content))
        self.version = digest.hexdigest()[:16]
        page = self._contents.pop(PAGE).decode().replace("$PRELOADS", self._preloads())
        self.page = _asset(PAGE, page.replace("$VERSION", self.version).encode())

    @cached_property
    def assets(self) -> dict[str, Asset]:
        """Path → file, without the page."""
        return {path: _asset(path, content) for path, content in self._contents.items()}

    def _preloads(self) -> str:
        """Links to all that the first module imports, so that none waits for another."""
        found: dict[str, None] = {}
        waiting = ["app/main.js"]
        while waiting:
            path = waiting.pop()
            if path not in found:
                found[path] = None
                folder = path.split("/")[:-1]
                for match in IMPORT.finditer(self._contents[path]):
                    waiting.append(_joined(folder, match[1].decode()))
        return "\n    ".join(
            f'<link rel="modulepreload" href="./$VERSION/{path}" />' for path in found
        )


_loading = asyncio.Lock()


@router.get("")
async def get_console_folder() -> Response:
    """Lead to the page, whose addresses are relative to it."""
    return to_console()


@router.api_route("/", methods=["GET", "HEAD"])
async def get_console(request: Request) -> Response:
    """Return the page."""
    console = await _console(request)
    return _answer(request, console.page, "no-cache")


@router.api_route("/{version}/{path:path}", methods=["GET", "HEAD"])
async def get_console_file(version: str, path: str, request: Request) -> Response:
    """Return a script, a style sheet, a licence.

    Raises:
        NotFound: there is no such file, or no longer: the server was updated.
    """
    console = await _console(request)
    asset = console.assets.get(path) if version == console.version else None
    if asset is None:
        raise NotFound("There is no such file of the console; load the page again")
    return _answer(request, asset, FOREVER)


def to_console() -> Response:
    """Lead to the page from the folder above it, behind whatever prefix that is."""
    return RedirectResponse("console/", headers={"Vary": "Accept"})


async def _console(request: Request) -> Console:
    state = state_of(request)
    async with _loading:
        if not hasattr(state, "console"):
            state.console = await asyncio.to_thread(_loaded)
    console: Console = state.console
    return console


@cache
def _loaded() -> Console:
    console = Console()
    # Compressing takes longer than one answer may hold up the others.
    _ = console.assets
    return console


def _read(folder: Traversable, path: str = "") -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _read(entry, f"{path}{entry.name}/")
        elif entry.name.rpartition(".")[2] in MEDIA_TYPES:
            found.append((path + entry.name, entry.read_bytes()))
    return found


def _asset(path: str, content: bytes) -> Asset:
    return Asset(
        body=content,
        compressed=gzip.compress(content, 9, mtime=0),
        media_type=MEDIA_TYPES[path.rpartition(".")[2]],
        etag=f'"{hashlib.sha256(content).hexdigest()[:32]}"',
    )


def _joined(folder: list[str], relative: str) -> str:
    """Return the path of an import, seen from the folder of the file that has it."""
    parts = list(folder)
    for part in relative.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _answer(request: Request, asset: Asset, cache_control: str) -> Response:
    headers = {
        "Cache-Control": cache_control,
        "Content-Security-Policy": POLICY,
        "ETag": asset.etag,
        "Vary": "Accept-Encoding",
    }
    known = request.headers.get("if-none-match", "")
    if asset.etag in {item.strip().removeprefix("W/") for item in known.split(",")}:
        return Response(status_code=304, headers=headers)
    body = asset.body
    if "gzip" in request.headers.get("accept-encoding", ""):
        body = asset.compressed
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type=asset.media_type, headers=headers)
