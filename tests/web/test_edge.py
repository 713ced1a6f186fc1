"""What every answer carries, what a body may weigh, and what a failure says."""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import Request

from proxy.database import Database
from proxy.errors import ProxyError
from proxy.web.logs import RequestIdFilter, configure_logging, request_id
from proxy.web.middleware import SAFE_HEADERS
from tests.conftest import LiveServer, client_of, make_settings, running_app
from tests.support.keys import ADMIN, bearer, locked

HERE = "/v1/chat/conversations"


def check_error(response: httpx.Response) -> str:
    """The contract's shape of an error; its sentence."""
    body = response.json()
    assert isinstance(body["detail"], str)
    assert body["detail"]
    assert set(body["error"]) == {"message", "type", "code", "param"}
    assert body["error"]["message"] == body["detail"]
    sentence: str = body["detail"]
    return sentence


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
            assert response.headers.get_list(name.decode()) == [value.decode()], where
        assert "server" not in response.headers
        if response.status_code >= 400:
            check_error(response)


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "<script>", "ä", "a\tb"])
async def test_a_request_id_that_is_no_plain_token_is_replaced(
    client: httpx.AsyncClient, sent: str
) -> None:
    response = await client.get("/", headers={"X-Request-Id": sent.encode("latin-1")})
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

        @app.get("/v1/models/fail/now")
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
