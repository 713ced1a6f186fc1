"""What all tests share: databases, the application, a client, a live server."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn
from mongomock_motor import AsyncMongoMockClient

from proxy.app import create_app
from proxy.credentials import Verifier
from proxy.database import Database
from proxy.providers.echo import EchoProvider
from proxy.providers.registry import provider_tables
from proxy.settings import Settings
from proxy.web.protocol import protocol_of
from tests.fakes.live import PromptServer
from tests.fakes.wire_server import find_program, wire_server
from tests.support.clients import client_at
from tests.support.databases import (
    ReadOnceDatabase,
    Ready,
    close_database,
    made_ready,
    open_database,
    restore,
)
from tests.support.given_settings import GivenSettings
from tests.support.passwords import QUICK
from tests.support.secret_watch import SecretWatch
from tests.support.stored_documents import documents_of_wrong_type

IN_CI = bool(os.environ.get("CI"))


def make_settings(**fields: Any) -> Settings:
    """Settings of a test: nothing from the developer's own environment or files."""
    defaults: dict[str, Any] = {
        "retry_budget_seconds": 0,
        "shutdown_grace_seconds": 0.2,
        "storage_retry_seconds": 2,
    }
    return GivenSettings(**{**defaults, **fields})


SLOW = {"wire_uri", "chromium", "node", "tools"}
"""Fixtures of a database server, a browser, and the programs of others."""


TOGETHER = (
    ("browser/", "documents/", "plans/", "test_mongosh.py", "streaming/test_kill_nine.py"),
    ("embedded/", "sdk/"),
    (
        *("commands/", "streaming/test_partition.py", "streaming/test_processes.py"),
        *("access/test_processes.py", "dialects/responses/test_workers.py"),
    ),
)
"""Slow tests that one process runs, as long as it has the time, and all others in another one.

They share what takes seconds to begin: a browser; a data directory; a process that is forked. Each
group takes about as long as any other.
"""


def _group_of(item: pytest.Item) -> int:
    """Return which group of `TOGETHER` a test belongs to; the last number for the others."""
    path = item.nodeid.removeprefix("tests/")
    return next((n for n, names in enumerate(TOGETHER) if path.startswith(names)), len(TOGETHER))


def _allowed_seconds(item: pytest.Item) -> float:
    """Return how long a test may take, where it says so itself."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker else 0


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    """Mark what needs another program as slow, and put what is left in an order for processes.

    A test that says itself that it is slow mostly waits, one that does not never does. So half of
    the processes begin with their share of the slow ones and the others with most of their other
    tests, and no processor is idle. What may take longest comes first of the slow ones: one that
    comes last of all would be waited for alone.
    """
    own = {item for item in items if item.get_closest_marker("slow")}
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        needed = SLOW.intersection(getattr(item, "fixturenames", ()))
        if needed or parameters.get("database") == "wire":
            item.add_marker(pytest.mark.slow)
    yield
    processes = int(getattr(config, "workerinput", {}).get("workercount", 1))
    long = sorted((item for item in items if item in own), key=_allowed_seconds, reverse=True)
    short = [item for item in items if item not in own]
    # Each process begins with as many tests as any other.
    size = len(items) / processes
    items.clear()
    for process in range(processes):
        mine = [item for item in long if _group_of(item) % processes == process]
        count = round(size * (process + 1)) - len(items) - len(mine)
        others, short = short[:count], short[count:]
        before = len(others) * 3 // 4 if process % 2 else 0
        items += [*others[:before], *mine, *others[before:]]
    items += short


@pytest.fixture(scope="session")
def empty_directories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield an empty directory, the same one until something has been written there."""

    def directories() -> Iterator[Path]:
        while True:
            directory = tmp_path_factory.mktemp("empty")
            while not any(directory.iterdir()):
                yield directory

    return directories()


@pytest.fixture(autouse=True)
def _clean_environment(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    empty_directories: Iterator[Path],
) -> None:
    """Take the developer's settings away, and begin in an empty directory.

    A directory of its own, made and removed, would make a small test half as dear again.
    """
    for name in list(os.environ):
        if name.startswith(("PROXY_", "OPENAI_", "POE_")):
            monkeypatch.delenv(name)
    wants_one = "tmp_path" in request.fixturenames
    monkeypatch.chdir(request.getfixturevalue("tmp_path") if wants_one else next(empty_directories))


@pytest.fixture(autouse=True)
def _no_secret_in_logs() -> Iterator[None]:
    watch = SecretWatch()
    logging.getLogger().addHandler(watch)
    yield
    logging.getLogger().removeHandler(watch)
    assert watch.found == []


_shared = ExitStack()
"""What the processes of the tests share; it ends with the one that watches over them."""


@cache
def _shared_server() -> str:
    return _shared.enter_context(wire_server())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Start one database server for all processes, each of which has a database of its own there.

    A server for each would take a seventh more of the processors.
    """
    wants_one = node.config.option.markexpr != "not slow" and "TEST_MONGODB_URI" not in os.environ
    if wants_one and find_program() is not None:
        node.workerinput["wire_uri"] = _shared_server()


def pytest_unconfigure() -> None:
    """End what the processes shared."""
    _shared.close()


@pytest.fixture(scope="session")
def wire_uri(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database server that speaks MongoDB's protocol; skipped visibly where there is none."""
    given = getattr(request.config, "workerinput", {}).get("wire_uri")
    if uri := os.environ.get("TEST_MONGODB_URI") or given:
        yield uri
        return
    if find_program() is None:
        if IN_CI:
            pytest.fail("no MongoDB-compatible server: install the 'embedded' dependency group")
        pytest.skip("no MongoDB-compatible server (set TEST_MONGODB_URI)")
    with wire_server() as uri:
        yield uri


@pytest.fixture
async def new_wire(wire_uri: str) -> AsyncIterator[Database]:
    """A new database on a real wire server, for tests of what makes it ready: indexes, the view."""
    name = f"test_{uuid4().hex[:12]}"
    database = open_database(wire_uri, name)
    yield database
    assert await documents_of_wrong_type(database) == []
    await database.client.drop_database(name)
    await close_database(database)


@pytest.fixture(scope="session")
def ready(wire_uri: str) -> Ready:
    """The database that the tests of this process use in turn."""
    return asyncio.run(made_ready(wire_uri, f"test_{uuid4().hex[:12]}"))


@pytest.fixture
async def wire(wire_uri: str, ready: Ready) -> AsyncIterator[Database]:
    """A database on a real wire server, ready and empty; what a test leaves has the right types."""
    database = open_database(wire_uri, ready.name, is_ready=True)
    yield database
    assert await restore(database, ready) == []
    await close_database(database)


class MockDatabase(ReadOnceDatabase):
    """mongomock_motor's client says that it is motor's own; this says what it is."""


@pytest.fixture
def mock() -> Database:
    """A database in memory: fast, but without unique multikey indexes or transactions."""
    return MockDatabase(AsyncMongoMockClient()["proxy"])


@pytest.fixture(params=["mock", "wire"])
def database(request: pytest.FixtureRequest) -> Database:
    """Both databases in turn."""
    found: Database = request.getfixturevalue(request.param)
    return found


@asynccontextmanager
async def running_app(database: Database, settings: Settings, **options: Any) -> AsyncIterator[Any]:
    """The application with its lifespan, without a server.

    Its echo hurries: where nothing else is configured, it takes a tenth of its usual time. So do
    passwords, of which it stores hashes that protect nothing.
    """
    is_mock = isinstance(database, MockDatabase)
    if not provider_tables(settings):
        options.setdefault("providers", [EchoProvider(delay_seconds=0.001)])
    app = create_app(settings, database=database, create_indexes=not is_mock, **options)
    async with app.router.lifespan_context(app):
        app.state.verifier = Verifier(QUICK)
        yield app


@asynccontextmanager
async def client_of(app: Any, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls the application directly; bodies arrive whole."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1:8000", **options
    ) as client:
        yield client


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application with the built-in echo, on both databases in turn."""
    async with running_app(database, make_settings()) as app, client_of(app) as client:
        yield client


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """A live uvicorn on a free loopback port; yields its address."""
    # Of another protocol number, asyncio would not turn Nagle's algorithm off: 40 ms an answer.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app,
            http=protocol_of(app.state.settings),
            proxy_headers=bool(app.state.settings.trusted_proxies),
            forwarded_allow_ips=[str(each) for each in app.state.settings.trusted_proxies],
            ws="none",
            # Its own handlers would be set up anew for each test.
            log_config=None,
            log_level="warning",
            access_log=False,
            # As a server has it: after uvicorn's five seconds a client on a busy machine would
            # ask on a connection that is closed just then.
            timeout_keep_alive=75,
            lifespan="on",
        )
        server = PromptServer(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.create_task(server.serve(sockets=[listener]))
        ready = asyncio.create_task(server.ready.wait())
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        assert not task.done(), "the server did not start"
        app.state.verifier = Verifier(QUICK)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.end()
            await task


LiveServer = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def live(wire: Database) -> LiveServer:
    """`async with live(providers=…, **settings) as client`: a live server on a real database."""

    @asynccontextmanager
    async def start(
        *, providers: Any = None, database: Database | None = None, **fields: Any
    ) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(make_settings(**fields), database=database or wire, providers=providers)
        async with (
            serving(app) as url,
            client_at(url, timeout=30) as client,
        ):
            client.app = app  # type: ignore[attr-defined]
            yield client

    return start
