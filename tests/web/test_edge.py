"""What every answer carries, what a body may weigh, and what a failure says."""

import asyncio
import contextlib
import gc
import logging
import math
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import Request

from proxy.database import Database
from proxy.errors import ProxyError, TooManyRequests
from proxy.web.handlers import error_response
from proxy.web.logs import RequestIdFilter, configure_logging, request_id
from proxy.web.middleware import SAFE_HEADERS
from tests.conftest import LiveServer, client_of, make_settings, running_app, serving
from tests.support.clients import client_at
from tests.support.errors import check_error
from tests.support.keys import ADMIN, bearer, locked

HERE = "/v1/chat/conversations"


async def test_every_answer_carries_a_request_id_and_safe_headers(
    client: httpx.AsyncClient,
) -> None:
    for method, path in (
        ("GET", "/"),
        ("GET", "/health"),
        ("GET", "/docs"),
        ("GET", HERE),
        ("POST", HERE),
        ("GET", "/nothing"),
        ("PATCH", HERE),
        ("GET", f"{HERE}/unknown"),
        ("PUT", f"{HERE}/unknown"),
    ):
        response = await client.request(method, path, headers={"X-Request-Id": "mine-1"})
        where = f"{method} {path}"
        assert response.headers.get_list("x-request-id") == ["mine-1"], where
        for name, value in SAFE_HEADERS:
            (found,) = response.headers.get_list(name.decode())
            # A page with scripts has a policy of its own, which says that and more.
            assert found == value.decode() or (path == "/docs" and value.decode() in found), where
        assert "server" not in response.headers
        if response.status_code >= 400:
            check_error(response)


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "<script>", "ä", "a\tb"])
async def test_a_request_id_that_is_no_plain_token_is_replaced(
    client: httpx.AsyncClient, sent: str
) -> None:
    response = await client.get("/", headers={b"X-Request-Id": sent.encode("latin-1")})
    assert response.headers["x-request-id"].startswith("req_")


async def test_an_answer_is_not_kept_by_caches(client: httpx.AsyncClient) -> None:
    assert (await client.get(HERE)).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", [HERE, "/v1/chat/completions", "/v1/plan/documents"])
async def test_a_body_over_the_limit_is_refused_while_it_arrives(
    live: LiveServer, path: str
) -> None:
    sent = 0

    async def body(size: float) -> AsyncIterator[bytes]:
        nonlocal sent
        sent = 0
        while sent < size:
            sent += 4096
            yield b" " * 4096
            await asyncio.sleep(0)

    headers = {"Content-Type": "application/json"}
    async with live(body_bytes=10_000) as client:
        response = await client.post(path, content=body(100_000), headers=headers)
        assert response.status_code == 413
        assert "10000 bytes" in check_error(response)
        # One that never ends is cut off, whether or not its sender sees the answer.
        with contextlib.suppress(httpx.TransportError):
            await client.post(path, content=body(math.inf), headers=headers)
        assert sent < 50_000_000
        assert (await client.get("/")).status_code == 200


async def test_a_body_over_the_limit_is_refused_before_it_is_read(
    client: httpx.AsyncClient,
) -> None:
    for path in (HERE, "/v1/chat/completions"):
        response = await client.post(path, json={"name": "x" * 9_000_000})
        assert response.status_code == 413, path
        check_error(response)


async def test_no_key_is_told_before_the_body_is_looked_at(database: Database) -> None:
    async with locked(database) as client:
        for content in (b"{broken", b"x" * 9_000_000):
            response = await client.post(HERE, content=content)
            assert response.status_code == 401
            check_error(response)


async def test_a_failure_that_nobody_caught_is_one_sentence_and_a_request_id(
    mock: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_app(mock, make_settings()) as app, client_of(app) as client:

        @app.get("/v1/models/fail/now")  # type: ignore[untyped-decorator]
        async def fail(request: Request) -> Any:
            raise RuntimeError("an inner detail of /srv/secret")

        # Ahead of `/v1/models/{model}`, which would take it.
        app.router.routes.insert(0, app.router.routes.pop())
        response = await client.get("/v1/models/fail/now", headers={"X-Request-Id": "mine-2"})
    assert response.status_code == 500
    assert check_error(response) == f"{ProxyError.message}: mine-2"
    assert "inner detail" not in response.text
    assert "inner detail" in caplog.text


async def test_log_lines_carry_the_request_id(mock: Database) -> None:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Keep()
    handler.addFilter(RequestIdFilter())
    handler.setFormatter(logging.Formatter("[%(request_id)s] %(name)s %(message)s"))
    logging.getLogger("proxy").addHandler(handler)
    logging.getLogger("proxy").setLevel(logging.INFO)
    try:
        async with locked(mock, access_log=True) as client:
            await client.get(
                f"{HERE}?name=private", headers={"X-Request-Id": "mine-3", **bearer(ADMIN)}
            )
            await client.get("/v1/%0Aforged", headers={"X-Request-Id": "mine-4"})
    finally:
        logging.getLogger("proxy").removeHandler(handler)
        logging.getLogger("proxy").setLevel(logging.NOTSET)
    (one,) = [line for line in lines if "mine-3" in line]
    assert one.startswith("[mine-3] proxy.access GET /v1/chat/conversations 200 ")
    assert one.endswith("key=config_1")
    assert "private" not in one
    (two,) = [line for line in lines if "mine-4" in line]
    assert "\n" not in two
    assert "401" in two


def test_configured_logging_stamps_and_quiets(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        configure_logging(make_settings())
        token = request_id.set("mine-5")
        logging.getLogger("proxy.test").info("hello")
        logging.getLogger("httpx").info("GET https://upstream.example?key=1")
        request_id.reset(token)
        written = capsys.readouterr().err
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    assert "[mine-5] hello" in written
    assert "upstream.example" not in written


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/v1/auth/login", 16_384),
        ("/v1/auth/logout", 16_384),
        ("/v1/keys", 65_536),
        ("/v1/chat/stop-stream", 65_536),
        ("/v1/plan/documents/1/tags", 65_536),
        ("/nothing", 65_536),
    ],
)
async def test_a_body_without_long_texts_has_a_lower_limit(
    mock: Database, path: str, limit: int
) -> None:
    async with running_app(mock, make_settings()) as app, client_of(app) as client:
        headers = {"Content-Type": "application/json"}
        response = await client.post(path, content=b" " * (limit + 1), headers=headers)
        assert response.status_code == 413
        assert f"{limit} bytes" in check_error(response)
        assert (await client.post(path, content=b" " * limit, headers=headers)).status_code != 413


@pytest.mark.parametrize("path", [HERE, "/v1/chat/completions"])
@pytest.mark.parametrize("begins", [b'{"a": "', b'["', b'{"name": 1, "a": "'])
async def test_a_broken_body_is_let_go_of_at_once(mock: Database, path: str, begins: bytes) -> None:
    """The collector looks for cycles rarely here; four bodies of 1 MB must not wait for it."""
    body = begins + b"x" * 1_000_000
    async with (
        running_app(mock, make_settings()) as app,
        serving(app) as url,
        client_at(url) as client,
    ):
        headers = {"Content-Type": "application/json"}
        await client.post(path, content=body, headers=headers)
        gc.disable()
        tracemalloc.start()
        try:
            for _ in range(4):
                response = await client.post(path, content=body, headers=headers)
                assert response.status_code in (400, 422)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.enable()
    assert held < 2_000_000


@pytest.mark.parametrize("said", [3.2e7, math.inf, math.nan, -5])
async def test_retry_after_is_a_day_at_most(said: float) -> None:
    answer = error_response(TooManyRequests(retry_after_seconds=said))
    assert 1 <= int(answer.headers["retry-after"]) <= 86_400


async def test_no_address_redirects_to_the_host_that_a_request_names(mock: Database) -> None:
    async with locked(mock) as client:
        headers = {"Host": "attacker.example", **bearer(ADMIN)}
        for path in (f"{HERE}/", "/v1/projects/", "/docs/"):
            response = await client.get(path, headers=headers)
            assert response.status_code == 404, path
