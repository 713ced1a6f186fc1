"""The console as it is served: what it lets in, what browsers keep, and how it goes away."""

import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

import proxy
from proxy.database import Database
from tests.conftest import IN_CI, client_of, make_settings, running_app

FOLDER = Path(proxy.__file__).parent / "console"
SCRIPTS = sorted(
    path for path in FOLDER.rglob("*.js") if "vendor" not in path.relative_to(FOLDER).parts
)
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
async def client(mock: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with running_app(mock, make_settings()) as app, client_of(app) as client:
        yield client


async def test_a_browser_is_led_to_the_console_and_an_api_client_is_not(
    client: httpx.AsyncClient,
) -> None:
    led = await client.get("/", headers=BROWSER)
    assert (led.status_code, led.headers["location"]) == (307, "console/")
    for accept in ("*/*", "application/json"):
        told = await client.get("/", headers={"Accept": accept})
        assert told.json()["name"] == "Poe OpenAI Proxy"
        assert told.headers["vary"] == "Accept"
    folder = await client.get("/console")
    assert (folder.status_code, folder.headers["location"]) == (307, "console/")


async def test_the_page_allows_nothing_inline_and_nothing_from_elsewhere(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/console/")
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", page.text)
    # All addresses are relative: the page works behind any prefix.
    assert re.findall(r'(?:src|href)="(?!\./)', page.text) == []


async def test_scripts_are_kept_for_good_and_the_page_is_asked_for_again(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/console/")
    assert page.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": page.headers["etag"]}
    assert (await client.get("/console/", headers=known)).status_code == 304
    for address in re.findall(r'(?:src|href)="\./([^"]+)"', page.text):
        asset = await client.get(f"/console/{address}")
        assert asset.status_code == 200, address
        assert "immutable" in asset.headers["cache-control"]
        assert asset.headers["x-content-type-options"] == "nosniff"
        known = {"If-None-Match": asset.headers["etag"]}
        assert (await client.get(f"/console/{address}", headers=known)).status_code == 304


async def test_no_path_leaves_the_console(client: httpx.AsyncClient) -> None:
    page = await client.get("/console/")
    version = re.findall(r'src="\./([^/]+)/', page.text)[0]
    for path in (
        f"{version}/../routers/console.py",
        f"{version}/%2e%2e/settings.py",
        f"{version}//etc/passwd",
        f"{version}/vendor/",
        f"{version}/",
        "0123456789abcdef/app/main.js",
        f"{version}/app/main.js%00",
    ):
        answer = await client.get(f"/console/{path}")
        assert answer.status_code == 404, path


async def test_it_can_be_left_out(mock: Database) -> None:
    async with running_app(mock, make_settings(console=False)) as app, client_of(app) as client:
        assert (await client.get("/console/")).status_code == 404
        root = await client.get("/", headers=BROWSER)
        assert "console" not in root.json()["links"]


async def test_it_is_served_where_the_api_needs_a_key(mock: Database) -> None:
    settings = make_settings(api_keys="sk-test-0123456789")
    async with running_app(mock, settings) as app, client_of(app) as client:
        assert (await client.get("/console/")).status_code == 200
        assert (await client.get("/v1/auth/me")).status_code == 401


def test_every_script_is_one_that_a_browser_can_read() -> None:
    node = shutil.which("node")
    if node is None:
        assert not IN_CI
        pytest.skip("node is missing (scripts/install-test-tools)")
    read = (
        "const { readFileSync } = require('fs'), { SourceTextModule } = require('vm');"
        "for (const f of process.argv.slice(1))"
        "  new SourceTextModule(readFileSync(f, 'utf8'), { identifier: f });"
    )
    done = subprocess.run(
        [node, "--experimental-vm-modules", "-e", read, "--", *map(str, SCRIPTS)],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_scripts_are_small_import_each_other_by_relative_paths_and_exist() -> None:
    assert SCRIPTS
    for script in SCRIPTS:
        text = script.read_text()
        # All that the console says stands in one file.
        assert len(text.splitlines()) < 350 or script.name == "strings.js", script
        assert text.startswith("// "), f"{script}: say at its top what it is for"
        for target in re.findall(r"""\b(?:from |import |import\()["'`]([^"'`]+)["'`]""", text):
            assert target.startswith("."), f"{script} imports {target}"
            if "$" not in target:
                assert (script.parent / target).is_file(), f"{script} imports {target}"


def test_every_text_is_there_in_both_languages_and_used() -> None:
    strings = (FOLDER / "app" / "strings.js").read_text()
    table = strings[strings.index("const STRINGS") : strings.index("const isChinese")]
    names = set(re.findall(r'^  "?([\w.]+)"?: \[', table, re.MULTILINE))
    both = re.findall(
        r'^  "?([\w.]+)"?: \[\s*"(?:[^"\\]|\\.)+",\s*"(?:[^"\\]|\\.)+",?\s*\]', table, re.MULTILINE
    )
    assert names == set(both)
    code = "\n".join(path.read_text() for path in SCRIPTS)
    used = set(re.findall(r"""\bt\(\s*["']([\w.]+)["']""", code))
    used |= set(re.findall(r"""["']([\w]+\.[\w]+)["']""", code)) & names
    families = set(re.findall(r"\bt\(\s*`([\w.]+)\$\{", code))
    chosen = {name for pair in re.findall(r'\? "([\w.]+)" : "([\w.]+)"', code) for name in pair}
    assert used - names == set()
    unused = {
        name
        for name in names - used - chosen
        if not any(name.startswith(family) for family in families)
    }
    assert unused == set()
