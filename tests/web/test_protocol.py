"""What a client may send before anybody knows it, over raw sockets on a live server."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from proxy.web.protocol import protocol_of
from tests.conftest import make_settings
from tests.fakes.live import serve

PIECE = 32 * 1024
AT_ONCE = {"head_seconds": 0.5, "client_silence_seconds": 0.5}


class Echo:
    """An application that answers with what it was asked, and keeps the states it saw."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/flood":
            await self.flood(receive, send)
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
        self.asked.append({"path": scope["path"], "headers": headers, "body": body.decode()})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/wait":
            await send(piece(b"begun"))
            await self.go_on.wait()
        await send({"type": "http.response.body", "body": json.dumps(self.asked[-1]).encode()})

    async def flood(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        ended = asyncio.ensure_future(receive())
        while not ended.done():
            await send(piece(b"x" * PIECE))
            await asyncio.sleep(0)
        self.gone.set()


def piece(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


@pytest.fixture
def echo() -> Echo:
    return Echo()


Live = Callable[..., AbstractAsyncContextManager[int]]


@pytest.fixture
def live(echo: Echo) -> Live:
    """`async with live(**settings) as port`."""

    @asynccontextmanager
    async def start(**fields: Any) -> AsyncIterator[int]:
        protocol = protocol_of(make_settings(**fields))
        async with serve(echo, http=protocol, ws="none", timeout_keep_alive=75) as url:
            yield int(url.rpartition(":")[2])

    return start


async def said(port: int, *pieces: bytes) -> bytes:
    """Send the pieces one after another; all that comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for sent in pieces:
        writer.write(sent)
        await writer.drain()
        # The next piece is another read of the server's.
        await asyncio.sleep(0.01)
    answer = await reader.read()
    writer.close()
    return answer


def error_of(answer: bytes, status: int) -> str:
    """Check that this is one refusal in the contract's shape; its sentence."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0].startswith(f"http/1.1 {status} "), answer
    assert "connection: close" in lines
    assert "content-type: application/json" in lines
    assert "x-content-type-options: nosniff" in lines
    assert any(line.startswith("x-request-id: req_") for line in lines)
    found = json.loads(body)
    assert set(found["error"]) == {"message", "type", "code", "param"}
    assert found["error"]["message"] == found["detail"]
    sentence: str = found["detail"]
    return sentence


def request(
    path: str = "/", *lines: str, method: str = "GET", version: str = "HTTP/1.1", host: str = "a"
) -> bytes:
    head = [f"{method} {path} {version}", *([f"Host: {host}"] if host else []), *lines]
    return "\r\n".join([*head, "", ""]).encode()


LAST = request("/last", "Connection: close")


def sized(size: int) -> bytes:
    """A request whose head counts `size` bytes."""
    head = request("/", "Connection: close", "X-Long: ")
    return head[:-4] + b"x" * (size - len(head)) + b"\r\n\r\n"


# Bytes of a head


@pytest.mark.parametrize("cut", [0, 1000])
async def test_a_head_of_the_limit_is_served_and_one_over_it_is_not(live: Live, cut: int) -> None:
    def pieces(head: bytes) -> list[bytes]:
        return [head[:cut], head[cut:]] if cut else [head]

    async with live(head_bytes=20_000) as port:
        assert (await said(port, *pieces(sized(20_000)))).startswith(b"HTTP/1.1 200 ")
        assert "20000 bytes" in error_of(await said(port, *pieces(sized(20_100))), 431)


@pytest.mark.parametrize("line", [b"X-A: " + b"x" * 3000 + b"\r\n", b"x" * 4096, b"a:b\r\n"])
async def test_a_head_that_never_ends_is_refused_soon(live: Live, line: bytes) -> None:
    async with live() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nX-A: ")
        sent = 0
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            try:
                writer.write(line * 8)
                await writer.drain()
            except ConnectionError:
                break
            sent += len(line) * 8
            await asyncio.sleep(0.001)
        error_of(await answer, 431)
        writer.close()
        assert sent < 50_000_000


async def test_an_address_over_the_limit_is_named_as_such(live: Live) -> None:
    async with live() as port:
        assert (await said(port, request("/" + "a" * 16_000, "Connection: close"))).startswith(
            b"HTTP/1.1 200 "
        )
        for path in ("/" + "a" * 16_384, "/?q=" + "%E4%BD%A0" * 7_000, "/" + "a" * 3_000_000):
            assert "16384 bytes" in error_of(await said(port, request(path)), 414)


@pytest.mark.parametrize("path", ["/v1/search?q=冒泡", "/中", "/?q=a\x7f"])
async def test_an_address_that_is_not_encoded_is_told_how(live: Live, path: str) -> None:
    async with live() as port:
        assert "--data-urlencode" in error_of(await said(port, request(path)), 400)


async def test_trailers_are_bounded_and_never_become_headers(live: Live, echo: Echo) -> None:
    head = request("/", "Transfer-Encoding: chunked", "Connection: close", method="POST")
    trailers = b"Authorization: Bearer stolen\r\nX-Forwarded-For: 1.2.3.4\r\n"
    async with live() as port:
        await said(port, head + b"2\r\nab\r\n0\r\n" + trailers + b"\r\n")
        (asked,) = echo.asked
        assert asked["body"] == "ab"
        assert [name for name, _ in asked["headers"]] == ["host", "transfer-encoding", "connection"]
        for endless in (b"0\r\nX: " + b"x" * 100_000, b"2;ext=" + b"x" * 100_000):
            error_of(await said(port, head + endless, endless[10:]), 431)


# Time


@pytest.mark.parametrize("sent", [b"G", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
async def test_a_head_that_does_not_end_in_time_is_refused(live: Live, sent: bytes) -> None:
    async with live(**AT_ONCE) as port:
        assert "0.5 seconds" in error_of(await said(port, sent), 408)


async def test_a_head_that_drips_does_not_gain_time(live: Live) -> None:
    async with live(**AT_ONCE) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            writer.write(b"x")
            await asyncio.sleep(0.05)
        error_of(await answer, 408)
        writer.close()


async def test_a_connection_that_says_nothing_is_closed_without_an_answer(live: Live) -> None:
    async with live(**AT_ONCE) as port:
        assert await said(port) == b""


async def test_a_body_that_stops_arriving_is_refused(live: Live, echo: Echo) -> None:
    async with live(**AT_ONCE) as port:
        for line, body in (
            ("Content-Length: 9", b"ab"),
            ("Transfer-Encoding: chunked", b"2\r\nab"),
        ):
            echo.gone.clear()
            answer = await said(port, request("/", line, method="POST") + body)
            assert "No byte of the body" in error_of(answer, 408)
            await echo.gone.wait()
    assert echo.asked == []


async def test_an_answer_that_nobody_takes_ends_with_its_connection(live: Live, echo: Echo) -> None:
    async with live(**AT_ONCE) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(request("/flood"))
        await echo.gone.wait()
        writer.close()


async def test_a_quiet_stream_and_a_slow_reader_go_on(live: Live, echo: Echo) -> None:
    async with live(head_seconds=0.2, client_silence_seconds=2) as port:
        quiet, one = await asyncio.open_connection("127.0.0.1", port)
        one.write(request("/wait", "Connection: close"))
        assert b"begun" in await quiet.readuntil(b"begun")
        slow, other = await asyncio.open_connection("127.0.0.1", port, limit=1)
        other.write(request("/flood"))

        async def read_slowly() -> None:
            while await slow.read(20_000):  # noqa: ASYNC110 - the pauses make it slow
                await asyncio.sleep(0.01)

        reading = asyncio.create_task(read_slowly())
        for _ in range(3):
            # Three of these take longer than a silence may.
            error_of(await said(port, b"G"), 408)
        assert not echo.gone.is_set()
        echo.go_on.set()
        assert (await quiet.read()).endswith(b"0\r\n\r\n")
        reading.cancel()
        for writer in (one, other):
            writer.close()


# How many


async def test_connections_are_counted_by_address_and_in_all(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    for setting in ("connections_per_address", "connections"):
        async with live(**{setting: 3}) as port:
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            for _, writer in held:
                writer.write(b"G")
            await asyncio.sleep(0.05)
            for _ in range(5):
                assert "Too many connections" in error_of(await said(port), 503)
            held[0][1].close()
            answer = b""
            while not answer.startswith(b"HTTP/1.1 200 "):
                # The place is free once the server has seen the end of the other one.
                answer = await said(port, LAST)
            for _, writer in held:
                writer.close()
        lines = [line for line in caplog.messages if f"(PROXY_{setting.upper()})" in line]
        assert len(lines) == 1


async def test_requests_that_wait_for_an_answer_are_bounded(live: Live, echo: Echo) -> None:
    async with live(pipelined_requests=4) as port:
        answer = await said(port, request("/one") * 100)
    assert answer.count(b"HTTP/1.1 200 ") == len(echo.asked) == 5
    assert b"HTTP/1.1 400" not in answer


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_the_limit_of_open_files_is_raised() -> None:
    program = """
import resource
from proxy.web.connections import file_limit, raise_file_limit
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
raise_file_limit()
print(file_limit() or 10**9)
"""
    found = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert int(found) > 64


# HTTP that is broken or has two meanings


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /\r\n\r\n",
        request(version="HTTP/0.9"),
        request(version="HTTP/2.0"),
        request(version="HTTP/1.2"),
        request(host=""),
        request("/", "Host: b"),
        request("/", "Host: a"),
        request("/", "Transfer-Encoding: gzip, chunked", method="POST") + b"0\r\n\r\n",
        request("/", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked", method="POST"),
        request("/", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", method="POST"),
        request("/", "Transfer-Encoding: chunked", method="POST", version="HTTP/1.0"),
        request("/", "Transfer-Encoding: chunked", "Content-Length: 5", method="POST"),
        request("/", "Content-Length: 5", "Content-Length: 5", method="POST"),
        request("/", "Content-Length: +5", method="POST"),
        request("/", "Transfer-Encoding: chunked", method="POST") + b"2\r\nabX",
        request("/", "X : y"),
        request("/", "X: y", " folded"),
        request("/\u4f60\u597d"),
        request("a:80", method="CONNECT"),
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00" * 100,
    ],
)
async def test_http_with_a_fault_is_refused_in_the_shape_of_every_error(
    live: Live, echo: Echo, sent: bytes
) -> None:
    async with live() as port:
        assert error_of(await said(port, sent), 400)
    assert echo.asked == []


async def test_what_comes_behind_a_broken_request_is_not_served(live: Live, echo: Echo) -> None:
    async with live() as port:
        error_of(await said(port, request("/", "Host: b"), LAST), 400)
        answer = await said(port, request("/one") + b"broken\r\n\r\n" + LAST)
    assert [asked["path"] for asked in echo.asked] == ["/one"]
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("together", [True, False])
async def test_a_request_that_offers_another_protocol_keeps_its_body(
    live: Live, echo: Echo, together: bool
) -> None:
    """Java's client offers `h2c` with every first request."""
    offer = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAA"]
    head = request("/", *offer, "Content-Length: 21", method="POST")
    body = b"GET /inner HTTP/1.1\r\n"
    async with live() as port:
        await said(port, *([head + body + LAST] if together else [head, body, LAST]))
    assert [(asked["path"], asked["body"]) for asked in echo.asked] == [
        ("/", body.decode()),
        ("/last", ""),
    ]
    assert ["upgrade", "h2c"] not in echo.asked[0]["headers"]


async def test_broken_http_fills_no_log(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with live() as port:
        for number in range(60):
            await said(port, b"broken %d\r\n\r\n" % number)
            await said(port, request("/", "Host: b"), request("/", "Upgrade: x"))
    assert 1 <= len([line for line in caplog.messages if "127.0.0.1: " in line]) <= 3
    assert len(caplog.messages) < 20
    assert "broken" not in caplog.text
