"""`proxy serve`: the database, the listening socket, one worker or several, and their end."""

import argparse
import asyncio
import errno
import gc
import logging
import multiprocessing
import os
import shlex
import signal
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from prometheus_client import start_http_server
from uvicorn.supervisors import Multiprocess

import proxy
from proxy import __version__
from proxy.access.auth import check_exposure, has_keys
from proxy.commands.allocator import give_memory_back
from proxy.commands.connect import database_server, opened
from proxy.embedded import EmbeddedDatabase, check_not_taken
from proxy.providers.registry import Registry, provider_tables
from proxy.settings import Settings, SettingsError, load_settings
from proxy.streaming.leases import recover_all_workers
from proxy.web.connections import raise_file_limit
from proxy.web.logs import configure_logging
from proxy.web.metrics import registry
from proxy.web.protocol import protocol_of

log = logging.getLogger("proxy")

GC_OBJECTS = 2_500
"""Objects more than there were at the last look before the garbage collector looks again."""

WORKER_SILENCE_SECONDS = 60
"""How long a worker that is asked for a sign of life may take, when another one has died."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A database that is ready to be served from."""

    settings: Settings
    """With the address of the database."""
    embedded: EmbeddedDatabase | None
    is_locked: bool
    """Whether a key is needed to come in."""


def serve(settings: Settings, arguments: argparse.Namespace) -> int:
    """Start the database if it is the embedded one, then serve until a signal comes."""
    give_memory_back()
    if arguments.workers is not None:
        settings = load_settings(workers=arguments.workers)
    # What is wrong with the providers is told before anything is started.
    Registry(settings)
    configure_logging(settings)
    raise_file_limit()
    with _listen(settings) as listener, tempfile.TemporaryDirectory() as folder:
        # Where each of several workers writes its numbers.
        numbers = Path(folder) if settings.workers > 1 else None
        with _metrics_port(settings, numbers):
            if numbers is None:
                return _serve_one(settings, listener)
            return _serve_many(settings, listener, numbers)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Of another protocol number, asyncio's own loop would not turn Nagle's algorithm off.
    listener = socket.socket(family, proto=socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Connections inherit it. Of an idle stream only heartbeats wait, which fill no buffer.
            milliseconds = min(int(settings.client_silence_seconds * 1000), 2**31 - 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        listener.listen(2048)
    except (OSError, UnicodeError) as error:
        listener.close()
        raise _cannot_listen(settings, error) from None
    listener.set_inheritable(True)
    return listener


@contextmanager
def _metrics_port(settings: Settings, numbers: Path | None) -> Iterator[None]:
    """While this is entered, a thread answers `/metrics` on a port of its own, if one is set."""
    if not settings.metrics_address:
        yield
        return
    host, _, port = settings.metrics_address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry(numbers))
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"PROXY_METRICS_ADDRESS: cannot listen on {settings.metrics_address} "
            f"({getattr(error, 'strerror', None) or 'no such port'}); choose another address"
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _cannot_listen(settings: Settings, error: OSError | UnicodeError) -> SettingsError:
    if isinstance(error, UnicodeError | socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return SettingsError(
            f"PROXY_HOST: {settings.host!r} is no address of this machine; 127.0.0.1 is this "
            "machine alone, 0.0.0.0 all its addresses"
        )
    if not settings.mongodb_uri.get_secret_value():
        # Mostly it is ourselves, started twice.
        check_not_taken(settings.data_dir)
    return SettingsError(
        f"PROXY_PORT: cannot listen on {settings.host}:{settings.port} "
        f"({os.strerror(error.errno or 0)}); choose another port, or stop what uses it"
    )


class Server(uvicorn.Server):
    """Ends by returning: uvicorn's own raises the signal again, which would cut our clean-up."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; a second time, without waiting for anything."""
        del sig, frame
        self.force_exit = self.should_exit
        self.should_exit = True


class Workers(Multiprocess):
    """Replaces a worker that has died, not one that is slow.

    uvicorn's own kills a worker that is silent for five seconds. On a busy machine one that is
    still importing is, and so is the next, for ever.
    """

    def init_processes(self) -> None:
        """Start them deaf to Ctrl-C, which a terminal sends to all of them, until they serve.

        They are told to end by this process; an import that is interrupted prints its stack.
        """
        ours = signal.signal(signal.SIGINT, signal.SIG_IGN)
        super().init_processes()
        signal.signal(signal.SIGINT, ours)

    def keep_subprocess_alive(self) -> None:
        """Look closer only where one has died: a silent one would hold up Ctrl-C as well."""
        if not all(worker.process.is_alive() for worker in self.processes):
            super().keep_subprocess_alive()


def _config(app: FastAPI | Callable[[], FastAPI], settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=not isinstance(app, FastAPI),
        workers=settings.workers,
        http=protocol_of(settings),
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        timeout_worker_healthcheck=WORKER_SILENCE_SECONDS,
    )


def _application(settings: Settings) -> FastAPI:
    """Make the application, which a process that only watches over workers never imports."""
    gc.disable()
    from proxy.app import create_app  # noqa: PLC0415

    app = create_app(settings)
    _settle_interpreter()
    return app


def _serve_one(settings: Settings, listener: socket.socket) -> int:
    config = _config(partial(_application, settings), settings)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        return runner.run(_serve_in_loop(settings, listener))


async def _serve_in_loop(settings: Settings, listener: socket.socket) -> int:
    async with _prepared(settings) as prepared:
        embedded = prepared.embedded
        app = _application(prepared.settings)
        server = Server(_config(app, settings))
        print_banner(prepared, listener)
        tasks = [asyncio.create_task(server.serve(sockets=[listener]))]
        if embedded is not None:

            async def is_idle() -> bool:
                return not (app.state.engine.running or server.server_state.tasks)

            tasks.append(asyncio.create_task(_stop_when_dead(embedded)))
            tasks.append(asyncio.create_task(embedded.trim_when_idle(is_idle)))
        serving, *watching = tasks
        await asyncio.wait([serving])
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        return _ended(embedded, failed=serving.exception() is not None or not server.started)


def _serve_many(settings: Settings, listener: socket.socket, numbers: Path) -> int:
    async def start() -> Prepared:
        return await stack.enter_async_context(_prepared(settings, on_died=_end_at_once))

    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        try:
            prepared = runner.run(start())
            # Workers are new processes: they read the same settings, and where the database is.
            os.environ["PROXY_MONGODB_URI"] = prepared.settings.mongodb_uri.get_secret_value()
            os.environ["PROXY_WORKERS"] = str(settings.workers)
            app = partial(worker_app, on_embedded=prepared.embedded is not None, numbers=numbers)
            config = _config(app, settings)
            print_banner(prepared, listener)
            Workers(config, sockets=[listener]).run()
            return _ended(prepared.embedded, failed=False)
        finally:
            runner.run(stack.aclose())


def worker_app(*, on_embedded: bool, numbers: Path) -> FastAPI:
    """Return the application of a worker, which ends with the process that began it."""
    give_memory_back()
    settings = load_settings()
    configure_logging(settings)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent, on_embedded), daemon=True).start()
    app = _application(settings)
    app.state.metrics_directory = numbers
    return app


def _settle_interpreter() -> None:
    """Let the garbage collector leave alone what stays.

    A request makes a few hundred objects and no cycles: with the defaults the collector took
    a sixth of the CPU of a chat completion, most of it for objects that were just in use. Of
    two thousand running replies its full pass takes a quarter of a second, in which nothing
    else runs, so that comes after millions of objects only; the passes before it stay short.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_OBJECTS, 5, 200)
    gc.enable()


def _end_with(parent: BaseProcess, on_embedded: bool) -> None:
    """Wait for the end of the parent; left alone, a worker would hold the port for ever.

    The embedded database ends with the parent. Any other is still there, and so the running
    replies have their grace.
    """
    parent.join()
    if on_embedded:
        _end_at_once("the process that holds the embedded database has ended")
    os.kill(os.getpid(), signal.SIGTERM)


@asynccontextmanager
async def _prepared(
    settings: Settings, on_died: Callable[[str], None] | None = None
) -> AsyncIterator[Prepared]:
    async with database_server(settings, on_died) as (embedded, found):
        async with opened(found) as database:
            await database.prepare()
            has_stored_keys = await has_keys()
            check_exposure(settings, has_stored_keys)
            if embedded is not None:
                # We hold the directory: no other worker can be alive on this database.
                await recover_all_workers()
        yield Prepared(found, embedded, has_stored_keys or bool(settings.api_keys))


async def _stop_when_dead(embedded: EmbeddedDatabase) -> None:
    _end_at_once(await embedded.died())


def _end_at_once(sentence: str) -> None:
    """End this process, because its database has gone for good.

    Nothing can be stored any more, and every orderly step would wait for a database: what
    was checkpointed is on disk, and the next start marks the rest interrupted.
    """
    log.error("%s; the server stops", sentence)
    logging.shutdown()
    os._exit(1)


def _ended(embedded: EmbeddedDatabase | None, *, failed: bool) -> int:
    return 1 if failed or (embedded is not None and embedded.failure) else 0


def print_banner(prepared: Prepared, listener: socket.socket) -> None:
    """Where it is, where the data is, who answers, and how to look inside."""
    settings, embedded = prepared.settings, prepared.embedded
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    providers = ", ".join(provider_tables(settings)) or (
        "echo (built in; set OPENAI_API_KEY or POE_API_KEY to talk to models)"
    )
    lines = [
        ("Address", f"{address}   (reference: {address}/docs)"),
        ("Providers", providers),
    ]
    if embedded is not None:
        lines.append(("Data", f"{embedded.directory} (embedded database)"))
        lines.append(("Look inside", embedded.shell_command + _reading_aids()))
    else:
        lines.append(("Data", f"the database at PROXY_MONGODB_URI, {settings.mongodb_database!r}"))
        lines.append(("Look inside", 'mongosh "$PROXY_MONGODB_URI"' + _reading_aids()))
    if prepared.is_locked:
        lines.append(("Keys", "needed: `proxy keys create NAME` makes one"))
    else:
        lines.append(("Keys", "none: open to this machine only (`proxy keys create` locks it)"))
        lines.append(("Log-in", "any name and password, while there is no key and no user"))
    print(f"Poe OpenAI Proxy {__version__}")
    for label, text in lines:
        print(f"  {label:<12} {text}")
    print("  Ctrl-C stops it", flush=True)


def _reading_aids() -> str:
    """Return mongosh's option that loads `chat(ID)`, `last()` and the like."""
    package = Path(proxy.__file__).parent
    for file in (package / "mongosh.js", package.parent / "scripts" / "mongosh.js"):
        if file.exists():
            shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
            return f" --shell {shlex.quote(str(shown))}"
    return ""
