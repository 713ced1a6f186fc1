"""Log-in: the cookie, what it opens, how it ends, and how often one may try."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest

from proxy.access.auth import SESSION_COOKIE
from proxy.app import create_app
from proxy.credentials import Verifier, hash_key
from proxy.database import Database
from proxy.documents.base import utc_now
from proxy.documents.counter import Counter as StoredCounter
from proxy.documents.user import Session, User
from tests.conftest import client_of, make_settings, running_app, serving
from tests.support.clients import client_at
from tests.support.keys import ADMIN, bearer, locked, status_of, two_workers, until
from tests.support.passwords import QUICK, quick_hash

HERE = "/v1/chat/conversations"
Guess = Callable[..., Awaitable[int]]
PASSWORD = "the passphrase of the tests"


@pytest.fixture
async def client(wire: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server with one user, `Ada`."""
    async with locked(wire) as client:
        await User.create_new("ada", "Ada", quick_hash(PASSWORD), ["chat", "plan", "project"])
        yield client


async def log_in(
    client: httpx.AsyncClient, name: str = "Ada", password: str = PASSWORD, **headers: str
) -> httpx.Response:
    body = {"userName": name, "password": password}
    return await client.post("/v1/auth/login", json=body, headers=headers)


def cookie_of(response: httpx.Response) -> SimpleCookie:
    return SimpleCookie(response.headers["set-cookie"])


async def test_a_session_cookie_counts_as_the_users_key(client: httpx.AsyncClient) -> None:
    assert (await client.get(HERE)).status_code == 401
    response = await log_in(client)
    assert response.json() == {"name": "Ada", "user": "Ada"}
    assert (await client.post(HERE, json={"name": "hers"})).status_code == 200
    (conversation,) = (await client.get(HERE)).json()
    assert conversation["name"] == "hers"
    assert (await client.get(HERE, headers=bearer(ADMIN))).json() == []
    assert (await client.get("/v1/auth/me")).json() == {
        "name": "Ada",
        "user": "Ada",
        "owner": "ada",
        "scopes": ["chat", "plan", "project"],
        "by": "session",
    }
    assert (await client.get("/v1/keys")).status_code == 403


async def test_the_cookie_is_kept_from_scripts_other_sites_and_open_lines(
    client: httpx.AsyncClient,
) -> None:
    here = cookie_of(await log_in(client))[SESSION_COOKIE]
    assert here["httponly"]
    assert here["samesite"] == "lax"
    assert here["path"] == "/"
    assert not here["secure"]
    away = cookie_of(await log_in(client, Host="chat.example"))[SESSION_COOKIE]
    assert away["secure"]
    tls = await client.post(
        "https://127.0.0.1:8000/v1/auth/login", json={"userName": "Ada", "password": PASSWORD}
    )
    assert cookie_of(tls)[SESSION_COOKIE]["secure"]
    stored = await Session.collection().find_one({"_id": hash_key(here.value)})
    assert here.value not in str(stored)


@pytest.mark.parametrize(
    ("name", "password"),
    [("Ada", "wrong"), ("Ada", ""), ("", PASSWORD), ("Bob", PASSWORD), ("$ne", "{}")],
)
async def test_a_wrong_name_and_a_wrong_password_look_the_same(
    client: httpx.AsyncClient, name: str, password: str
) -> None:
    response = await log_in(client, name, password)
    assert response.status_code == 401
    assert response.json()["detail"] == "Invalid username or password"
    assert "set-cookie" not in response.headers


async def test_the_name_is_taken_without_regard_to_case(client: httpx.AsyncClient) -> None:
    assert (await log_in(client, " ADA ")).status_code == 200


async def test_logging_out_ends_the_session_for_everybody_who_has_the_cookie(
    client: httpx.AsyncClient,
) -> None:
    token = cookie_of(await log_in(client))[SESSION_COOKIE].value
    stolen = {"Cookie": f"{SESSION_COOKIE}={token}"}
    assert (await client.get(HERE, headers=stolen)).status_code == 200
    assert (await client.post("/v1/auth/logout")).json() == {"message": "Logged out"}
    assert SESSION_COOKIE not in client.cookies
    assert (await client.get(HERE, headers=stolen)).status_code == 401
    assert (await client.post("/v1/auth/logout")).status_code == 200


async def test_a_session_that_ends_is_over_on_every_worker(wire: Database) -> None:
    async with two_workers(wire) as (here, there):
        await User.create_new("ada", "Ada", quick_hash(PASSWORD), ["chat"])
        ways: tuple[Callable[[], Awaitable[Any]], ...] = (
            lambda: here.post("/v1/auth/logout"),
            lambda: User.set_password("Ada", "a hash of another"),
            lambda: User.remove("Ada"),
        )
        for number, end in enumerate(ways):
            if number == 2:
                await User.set_password("Ada", quick_hash(PASSWORD))
            token = cookie_of(await log_in(here))[SESSION_COOKIE].value
            there.cookies.set(SESSION_COOKIE, token)
            assert (await there.get(HERE)).status_code == 200
            await end()
            await until(lambda: status_of(there, HERE), 401)


@pytest.mark.parametrize("change", ["password", "removal"])
async def test_no_session_outlives_a_password_that_was_changed_while_it_began(
    client: httpx.AsyncClient, change: str
) -> None:
    """The old password was right when it was compared; the sessions were ended before this one."""

    class ChangedMeanwhile(Verifier):
        async def matches(self, hash_: str | None, password: str) -> bool:
            found = await super().matches(hash_, password)
            if change == "password":
                await User.set_password("Ada", quick_hash("another passphrase"))
            else:
                await User.remove("Ada")
            return found

    client.app.state.verifier = ChangedMeanwhile(QUICK)  # type: ignore[attr-defined]
    response = await log_in(client)
    assert response.status_code == 401
    assert "set-cookie" not in response.headers
    assert await Session.collection().count_documents({}) == 0


async def test_an_expired_session_is_over(client: httpx.AsyncClient) -> None:
    await log_in(client)
    await Session.collection().update_one({}, {"$set": {"expires_at": utc_now()}})
    response = await client.get(HERE)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "session_ended"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8001"},
        {"Origin": "http://127.0.0.1:8000.attacker.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_write_from_another_page_is_refused_despite_the_cookie(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    await log_in(client)
    assert (await client.post(HERE, json={}, headers=headers)).status_code == 403
    assert (await log_in(client, **headers)).status_code == 403
    assert (await client.post("/v1/auth/logout", headers=headers)).status_code == 403
    assert (await client.get(HERE)).json() == []


async def test_a_write_from_our_own_page_is_welcome(client: httpx.AsyncClient) -> None:
    await log_in(client)
    for headers in (
        {"Origin": "http://127.0.0.1:8000"},
        {"Origin": "https://chat.example", "Host": "chat.example"},
        {"Sec-Fetch-Site": "same-origin"},
        {},
    ):
        cookie = {"Cookie": f"{SESSION_COOKIE}={client.cookies[SESSION_COOKIE]}"}
        response = await client.post(HERE, json={}, headers={**headers, **cookie})
        assert response.status_code == 200, headers


async def test_a_key_needs_no_origin(client: httpx.AsyncClient) -> None:
    headers = {"Origin": "https://anywhere.example", **bearer(ADMIN)}
    assert (await client.post(HERE, json={}, headers=headers)).status_code == 200


async def test_attempts_are_limited_by_name_across_workers(wire: Database) -> None:
    async with two_workers(wire, login_attempts=3) as (here, there):
        await User.create_new("ada", "Ada", quick_hash(PASSWORD), ["chat"])
        answers = [await log_in(client, "ada", "guess") for client in (here, there, here, there)]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 300
        assert (await log_in(there)).status_code == 429
        for _ in range(2):
            assert (await log_in(here, "bob", "guess")).status_code == 401


@asynccontextmanager
async def behind_proxy(database: Database, *trusted: str) -> AsyncIterator[Guess]:
    """`await guess(password, "1.2.3.4")`: the status, sent with `X-Forwarded-For`."""
    settings = make_settings(api_keys=[ADMIN], login_attempts=2, trusted_proxies=list(trusted))
    async with running_app(database, settings) as app, serving(app) as url:
        await User.create_new("ada", "Ada", quick_hash(PASSWORD), ["chat"])
        async with client_at(url) as client:

            async def guess(password: str, address: str, name: str = "ada") -> int:
                headers = {"X-Forwarded-For": address}
                return (await log_in(client, name, password, **headers)).status_code

            yield guess


async def test_a_forged_address_is_not_believed(wire: Database) -> None:
    async with behind_proxy(wire) as guess:
        assert [await guess("no", f"10.0.0.{n}") for n in range(4)] == [401, 401, 429, 429]


async def test_behind_a_trusted_proxy_a_stranger_locks_nobody_else_out(wire: Database) -> None:
    async with behind_proxy(wire, "10.9.9.9", "127.0.0.0/8") as guess:
        assert [await guess("no", "10.0.0.1") for _ in range(3)] == [401, 401, 429]
        # What the client put in front of the proxy's own entry is not believed.
        assert await guess("no", "10.0.0.2, 10.0.0.1") == 429
        assert await guess(PASSWORD, "10.0.0.2") == 200
        assert await guess("no", "10.0.0.2, 10.9.9.9") == 401


async def test_one_name_guessed_from_many_addresses_is_limited(wire: Database) -> None:
    async with behind_proxy(wire, "127.0.0.1") as guess:
        answers = [await guess("no", f"10.0.0.{n}") for n in range(44)]
        assert Counter(answers) == Counter({401: 40, 429: 4})
        # Of IPv6, a customer has 2^64 addresses.
        assert [await guess("no", f"2001:db8::{n}", "bob") for n in range(3)] == [401, 401, 429]


async def test_attempts_that_are_refused_are_counted_nowhere(wire: Database) -> None:
    async with behind_proxy(wire, "127.0.0.1") as guess:
        for _ in range(2):
            await guess("no", "10.0.0.1")
        windows = wire.database["rate_windows"]
        before = await windows.find().sort("_id", 1).to_list(None)
        for _ in range(5):
            assert await guess("no", "10.0.0.1") == 429
        assert await windows.find().sort("_id", 1).to_list(None) == before
        assert all(len(found["_id"]) < 200 for found in before)


async def test_attempts_at_the_same_moment_are_counted_exactly(wire: Database) -> None:
    async with two_workers(wire, login_attempts=5) as clients:
        await User.create_new("ada", "Ada", quick_hash(PASSWORD), ["chat"])
        attempts = [log_in(clients[n % 2], "ada", f"guess {n}") for n in range(40)]
        answers = Counter([each.status_code for each in await asyncio.gather(*attempts)])
        assert answers == Counter({401: 5, 429: 35})


async def test_a_right_password_forgets_the_wrong_ones(wire: Database) -> None:
    async with locked(wire, login_attempts=3) as client:
        await User.create_new("ada", "Ada", quick_hash(PASSWORD), ["chat"])
        for password in ("a", "b", PASSWORD, "c", "d", PASSWORD):
            response = await log_in(client, "Ada", password)
            assert response.status_code == (200 if password == PASSWORD else 401)


async def test_attempts_are_limited_by_address_whatever_the_name(wire: Database) -> None:
    async with locked(wire, login_attempts=1) as client:
        answers = [await log_in(client, f"user{n}", "guess") for n in range(11)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429]


async def test_logging_in_again_ends_the_former_session(client: httpx.AsyncClient) -> None:
    former = cookie_of(await log_in(client))[SESSION_COOKIE].value
    assert (await log_in(client)).status_code == 200
    assert (await client.get(HERE)).status_code == 200
    stolen = {"Cookie": f"{SESSION_COOKIE}={former}"}
    assert (await client.get(HERE, headers=stolen)).status_code == 401
    assert await Session.collection().count_documents({}) == 1


async def test_a_server_whose_last_user_is_removed_does_not_fall_open(wire: Database) -> None:
    async with running_app(wire, make_settings()) as app, client_of(app) as client:
        assert (await client.get(HERE)).status_code == 200
        await User.create_new("ada", "Ada", quick_hash(PASSWORD), ["chat"])
        await StoredCounter.collection().delete_one({"_id": "users"})  # as an older version left it
        await User.remove("Ada")
    async with running_app(wire, make_settings()) as app, client_of(app) as client:
        assert (await client.get(HERE)).status_code == 401


async def test_passwords_are_compared_a_few_at_a_time(mock: Database) -> None:
    app = create_app(make_settings(), database=mock, create_indexes=False)
    async with app.router.lifespan_context(app):
        verifier = app.state.verifier
    hash_ = await verifier.hash(PASSWORD)
    # What other tests take protects nothing.
    assert hash_.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    matches = [verifier.matches(hash_, text) for text in (PASSWORD, "x", "")]
    assert await asyncio.gather(*matches) == [True, False, False]
    assert not await verifier.matches(None, "nobody")
    assert not await verifier.matches("not a hash", PASSWORD)


async def test_a_page_of_another_port_reads_nothing_by_the_cookie(
    client: httpx.AsyncClient,
) -> None:
    await log_in(client)
    own = await client.get("/v1/projects", headers={"Origin": str(client.base_url).rstrip("/")})
    other = await client.get("/v1/projects", headers={"Origin": "http://localhost:5173"})
    assert (own.status_code, other.status_code) == (200, 403)
