"""Without keys: this machine only, under its own name, and no web page from elsewhere."""

import httpx
import pytest

from proxy.access.auth import check_exposure
from proxy.access.origins import is_loopback_host, is_loopback_origin
from proxy.database import Database
from proxy.settings import SettingsError
from tests.conftest import client_of, make_settings, running_app
from tests.support.keys import ADMIN, bearer, locked, make_key, status, status_of

HERE = "/v1/chat/conversations"


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1:8000", True),
        ("127.8.9.1", True),
        ("localhost", True),
        ("LOCALHOST:80", True),
        ("app.localhost:3000", True),
        ("[::1]:8000", True),
        ("", False),
        ("attacker.example", False),
        ("127.0.0.1.attacker.example", False),
        ("localhost.attacker.example:8000", False),
        ("localhost@attacker.example", False),
        ("attacker.example:8000@127.0.0.1:x", False),
        ("10.0.0.1", False),
        ("0.0.0.0:8000", False),
        ("[::]", False),
        ("[::1", False),
        ("localhost:99999999", False),
        ("é", False),
    ],
)
def test_host_names_of_this_machine(host: str, ours: bool) -> None:
    assert is_loopback_host(host.encode("latin-1")) is ours


@pytest.mark.parametrize(
    ("origin", "ours"),
    [
        ("http://localhost:5173", True),
        ("http://127.0.0.1:3000", True),
        ("http://[::1]:3000", True),
        ("tauri://localhost", True),
        ("null", False),
        ("", False),
        ("https://attacker.example", False),
        ("http://localhost.attacker.example", False),
        ("http://attacker.example#localhost", False),
        ("localhost", False),
    ],
)
def test_origins_of_this_machine(origin: str, ours: bool) -> None:
    assert is_loopback_origin(origin.encode()) is ours


async def test_another_host_name_is_refused(client: httpx.AsyncClient) -> None:
    for path in (HERE, "/", "/health", "/openapi.json"):
        response = await client.get(path, headers={"Host": "attacker.example"})
        assert response.status_code == 403, path
        assert "proxy keys create" in response.json()["detail"]
    assert (await client.get(HERE, headers={"Host": "localhost:8000"})).status_code == 200


async def test_a_page_from_elsewhere_gets_nothing(client: httpx.AsyncClient) -> None:
    for origin in ("https://attacker.example", "null", "http://192.168.0.7:8000"):
        for method in ("GET", "POST", "DELETE"):
            response = await client.request(method, HERE, headers={"Origin": origin})
            assert response.status_code == 403, (origin, method)
            assert "access-control-allow-origin" not in response.headers
    assert (await client.get(HERE)).json() == []
    response = await client.post(HERE, headers={"Origin": "http://localhost:5173"}, json={})
    assert response.status_code == 200


async def test_what_a_page_from_elsewhere_embeds_is_refused(client: httpx.AsyncClient) -> None:
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    for path in (HERE, "/openapi.json"):
        assert (await client.get(path, headers=embedded)).status_code == 403
    assert (await client.post(HERE, headers=embedded)).status_code == 403
    # A link that somebody follows, and pages of this machine.
    for site, mode in (("cross-site", "navigate"), ("same-origin", "cors"), ("none", "navigate")):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
        assert (await client.get("/docs", headers=headers)).status_code == 200
    from_here = {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:5173"}
    assert (await client.get(HERE, headers=from_here)).status_code == 200


async def test_a_listed_origin_is_welcome(database: Database) -> None:
    settings = make_settings(cors_origins=["https://ui.example"])
    async with running_app(database, settings) as app, client_of(app) as client:
        response = await client.post(HERE, headers={"Origin": "https://ui.example"}, json={})
        assert response.status_code == 200
        response = await client.post(HERE, headers={"Origin": "https://ui.example.org"}, json={})
        assert response.status_code == 403


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""],
)
async def test_what_a_form_can_send_is_no_write(
    client: httpx.AsyncClient, content_type: str
) -> None:
    for path in (HERE, "/v1/chat/messages/delete", "/v1/auth/login"):
        headers = {"Content-Type": content_type} if content_type else {}
        response = await client.post(path, content=b'{"name": "x"}', headers=headers)
        assert response.status_code == 415, path
    assert (await client.get(HERE)).json() == []


async def test_another_machine_is_refused(database: Database) -> None:
    async with running_app(database, make_settings()) as app:
        transport = httpx.ASGITransport(app, client=("192.168.0.7", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            assert (await client.get(HERE)).status_code == 403


async def test_any_bearer_is_ignored_without_keys(client: httpx.AsyncClient) -> None:
    assert (await client.get(HERE, headers={"Authorization": "Bearer sk-test"})).status_code == 200


async def test_any_name_logs_in_without_keys(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/auth/login", json={"userName": "小明", "password": ""})
    assert response.status_code == 200
    assert response.json() == {"name": "小明", "user": "小明"}
    assert "set-cookie" not in response.headers


async def test_the_first_key_locks_a_running_server(wire: Database) -> None:
    async with running_app(wire, make_settings()) as app, client_of(app) as client:
        assert (await client.get(HERE)).status_code == 200
        key = await make_key(scopes=["admin"])
        app.state.authenticator.forget()
        assert (await client.get(HERE)).status_code == 401
        assert await status(client, key) == 200
        (listed,) = (
            await client.get("/v1/keys", headers={"Authorization": f"Bearer {key}"})
        ).json()
        await client.delete(f"/v1/keys/{listed['id']}", headers={"Authorization": f"Bearer {key}"})
        assert (await client.get(HERE)).status_code == 401
    async with running_app(wire, make_settings()) as app, client_of(app) as client:
        # Its last key being revoked does not open a server again.
        assert (await client.get(HERE)).status_code == 401


def test_a_public_address_needs_a_key() -> None:
    public = make_settings(host="0.0.0.0")
    with pytest.raises(SettingsError, match="proxy keys create"):
        check_exposure(public, has_keys=False)
    check_exposure(public, has_keys=True)
    check_exposure(make_settings(host="0.0.0.0", api_keys=[ADMIN]), has_keys=False)
    check_exposure(make_settings(host="::1"), has_keys=False)


@pytest.mark.parametrize(
    "name",
    [
        *("X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "Via"),
        *("CF-Connecting-IP", "True-Client-IP"),
    ],
)
async def test_a_server_without_keys_does_not_answer_through_a_reverse_proxy(
    mock: Database, name: str
) -> None:
    async with running_app(mock, make_settings()) as app, client_of(app) as client:
        for path in (HERE, "/", "/docs"):
            response = await client.get(path, headers={name: "127.0.0.1"})
            assert response.status_code == 403
            assert "reverse proxy" in response.json()["detail"]
    async with locked(mock) as client:
        assert await status_of(client, HERE, {name: "127.0.0.1", **bearer(ADMIN)}) == 200


def test_a_key_that_can_be_guessed_is_refused_where_others_can_reach_it() -> None:
    short = {"api_keys": [ADMIN, "x" * 15]}
    check_exposure(make_settings(**short), has_keys=False)
    with pytest.raises(SettingsError, match="at least 16 characters"):
        check_exposure(make_settings(host="0.0.0.0", **short), has_keys=True)
