"""Built web clients that the server serves beside its API."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from proxy.database import Database
from proxy.settings import SettingsError, load_settings
from tests.conftest import client_of, make_settings, running_app

PAGE = {"Accept": "text/html,application/xhtml+xml"}


def build(directory: Path, name: str) -> Path:
    (directory / "assets").mkdir(parents=True)
    (directory / "index.html").write_text(f"<!doctype html><title>{name}</title>")
    (directory / "assets" / "app-B5cTm2xQ.js").write_text("1")
    (directory / "sw.js").write_text("2")
    (directory / "manifest.webmanifest").write_text("{}")
    (directory / ".env").write_text("SECRET=1")
    (directory.parent / "secret.txt").write_text("secret")
    (directory / "link.txt").symlink_to(directory.parent / "secret.txt")
    return directory


@pytest.fixture
async def client(mock: Database, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    mobile, desk = build(tmp_path / "mobile", "mobile"), build(tmp_path / "desk", "desk")
    settings = make_settings(web_dir=f"{mobile},desk={desk}", api_keys="sk-1")
    async with running_app(mock, settings) as app, client_of(app) as client:
        yield client


async def test_a_client_is_served_with_its_files_and_pages(client: httpx.AsyncClient) -> None:
    for path, title in {
        "/": "mobile",
        "/chat/7": "mobile",
        "/index.html": "mobile",
        "/desk/": "desk",
        "/desk/chat/7": "desk",
    }.items():
        answer = await client.get(path, headers=PAGE)
        assert (answer.status_code, f"<title>{title}<" in answer.text) == (200, True), path
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"
    bare = await client.get("/desk", headers={**PAGE, "Host": "evil.example"})
    assert (bare.status_code, bare.headers["location"]) == (307, "/desk/")
    asset = await client.get("/desk/assets/app-B5cTm2xQ.js")
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert asset.headers["content-type"].startswith("text/javascript")
    assert (await client.get("/sw.js")).headers["cache-control"] == "no-cache"
    again = await client.get("/sw.js", headers={"If-None-Match": asset.headers["etag"]})
    assert again.status_code == 200
    assert "vary" not in asset.headers


@pytest.mark.parametrize(
    "path",
    [
        "/assets/gone.js",
        "/.env",
        "/desk/.env",
        "/link.txt",
        "/..%2fsecret.txt",
        "/desk/..%2f..%2fsecret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/%00",
    ],
)
async def test_what_is_no_file_of_the_client_is_not_there(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert isinstance(answer.json()["detail"], str)


async def test_the_api_and_its_errors_are_untouched(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json()["status"] == "healthy"
    assert (await client.get("/docs", headers=PAGE)).status_code == 200
    assert "name" in (await client.get("/")).json()
    key = {"Authorization": "Bearer sk-1", **PAGE}
    assert (await client.get("/v1/nothing", headers=key)).status_code == 404
    assert (await client.get("/v1/models")).status_code == 401
    assert (await client.delete("/v1/models", headers=key)).status_code == 405
    assert (await client.post("/chat/7", headers=PAGE)).status_code == 404


@pytest.mark.parametrize("entry", ["{tmp}/none", "v1={tmp}/a", "a/b={tmp}/a"])
def test_a_directory_that_cannot_be_served_is_named(tmp_path: Path, entry: str) -> None:
    build(tmp_path / "a", "a")
    with pytest.raises(SettingsError, match="PROXY_WEB_DIR"):
        load_settings(web_dir=entry.format(tmp=tmp_path))
