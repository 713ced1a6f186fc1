"""The `proxy` command: serve, and what an operator does beside it."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from pymongo.errors import PyMongoError
from uvicorn.supervisors import Multiprocess

from proxy import __version__
from proxy.app import create_app
from proxy.backup import BackupError, Counts, export_database, import_database
from proxy.database import Database, connect
from proxy.embedded import EmbeddedDatabase, EmbeddedError
from proxy.engine import bury_workers
from proxy.providers.registry import build_providers
from proxy.settings import Settings, SettingsError, load_settings
from proxy.source_code.command import run_digest_command

log = logging.getLogger("proxy")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 2 for a wrong setting or argument."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["digest"]:
        # It has options of its own, and needs neither settings nor a database.
        return run_digest_command(argv[1:])
    arguments = _parser().parse_args(argv)
    try:
        settings = load_settings()
        command: Callable[[Settings, argparse.Namespace], int] = arguments.command
        return command(settings, arguments)
    except (SettingsError, EmbeddedError) as error:
        print(f"proxy: {error}", file=sys.stderr)
        return 2
    except BackupError as error:
        print(f"proxy: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except PyMongoError as error:
        print(f"proxy: the database does not answer ({type(error).__name__})", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="proxy", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(command=serve, workers=None)
    commands = parser.add_subparsers(metavar="COMMAND")
    sub = commands.add_parser("serve", help="start the server (the default)")
    sub.add_argument("--workers", type=int, help="worker processes (PROXY_WORKERS)")
    sub.set_defaults(command=serve)
    commands.add_parser(
        "digest", help="print a directory's source as one text (digest --help)", add_help=False
    )
    sub = commands.add_parser("export", help="write the whole database to one file")
    sub.add_argument("file", type=Path)
    sub.set_defaults(command=export_to)
    sub = commands.add_parser("import", help="fill an empty database from such a file")
    sub.add_argument("file", type=Path)
    sub.set_defaults(command=import_from)
    return parser


# Moving everything


def export_to(settings: Settings, arguments: argparse.Namespace) -> int:
    """Write every document to one file, to move to another database or version of one."""
    _print_counts("exported", _with_database(settings, export_database, arguments.file))
    return 0


def import_from(settings: Settings, arguments: argparse.Namespace) -> int:
    """Read such a file into an empty database."""
    _print_counts("imported", _with_database(settings, import_database, arguments.file))
    return 0


def _with_database(
    settings: Settings, work: Callable[[Any, Path], Awaitable[Counts]], file: Path
) -> Counts:
    async def run() -> Counts:
        async with _database_server(settings) as (_, found), opened(found) as database:
            return await work(database.database, file)

    return asyncio.run(run())


def _print_counts(done: str, counts: Counts) -> None:
    for name, count in sorted(counts.items()):
        print(f"{count:>10} {name}")
    print(f"{sum(counts.values()):>10} documents {done}")


# Serving


def serve(settings: Settings, arguments: argparse.Namespace) -> int:
    """Start the database if it is the embedded one, then serve until a signal comes."""
    if arguments.workers is not None:
        settings = load_settings(workers=arguments.workers)
    check_exposure(settings)
    build_providers(settings)
    _configure_logging(settings)
    with _listen(settings) as listener:
        runner = _serve_one if settings.workers == 1 else _serve_many
        return runner(settings, listener)


def check_exposure(settings: Settings) -> None:
    """Without keys only this machine may come in.

    Raises:
        SettingsError: a public address without keys.
    """
    if not settings.is_loopback and not settings.api_keys:
        raise SettingsError(
            f"PROXY_HOST: {settings.host} can be reached from other machines and no key is set; "
            "set PROXY_API_KEYS=<a long random text> or bind 127.0.0.1"
        )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise SettingsError(
            f"PROXY_PORT: cannot listen on {settings.host}:{settings.port} ({reason}); "
            "choose another port, or stop what uses it"
        ) from None
    listener.set_inheritable(True)
    return listener


class Server(uvicorn.Server):
    """Ends by returning: uvicorn's own raises the signal again, which would cut our clean-up."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; a second time, without waiting for anything."""
        del sig, frame
        self.force_exit = self.should_exit
        self.should_exit = True


def _config(app: FastAPI | str, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )


def _serve_one(settings: Settings, listener: socket.socket) -> int:
    config = _config("", settings)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        return runner.run(_serve_in_loop(settings, listener))


async def _serve_in_loop(settings: Settings, listener: socket.socket) -> int:
    async with _prepared(settings) as (embedded, with_database):
        app = create_app(with_database)
        server = Server(_config(app, settings))
        print_banner(settings, listener, embedded)
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


def _serve_many(settings: Settings, listener: socket.socket) -> int:
    async def start() -> tuple[EmbeddedDatabase | None, Settings]:
        return await stack.enter_async_context(_prepared(settings, on_died=_end_myself))

    stack = contextlib.AsyncExitStack()
    with asyncio.Runner() as runner:
        try:
            embedded, settings = runner.run(start())
            # Workers are new processes: they read the same settings, and where the database is.
            os.environ["PROXY_MONGODB_URI"] = settings.mongodb_uri.get_secret_value()
            os.environ["PROXY_WORKERS"] = str(settings.workers)
            config = _config("proxy.cli:worker_app", settings)
            print_banner(settings, listener, embedded)
            Multiprocess(config, sockets=[listener]).run()
            return _ended(embedded, failed=False)
        finally:
            runner.run(stack.aclose())


def worker_app() -> FastAPI:
    """The application of one of several workers."""
    settings = load_settings()
    _configure_logging(settings)
    return create_app(settings)


@asynccontextmanager
async def _database_server(
    settings: Settings, on_died: Callable[[str], None] | None = None
) -> AsyncIterator[tuple[EmbeddedDatabase | None, Settings]]:
    """The embedded database while it is needed, and the settings that name it."""
    if settings.mongodb_uri.get_secret_value():
        yield None, settings
        return
    async with EmbeddedDatabase(settings, on_died=on_died) as embedded:
        # The embedded server needs its own URI options; they are part of it.
        yield embedded, settings.model_copy(update={"mongodb_uri": SecretStr(embedded.uri)})


@asynccontextmanager
async def _prepared(
    settings: Settings, on_died: Callable[[str], None] | None = None
) -> AsyncIterator[tuple[EmbeddedDatabase | None, Settings]]:
    """The same, ready to be served from."""
    async with _database_server(settings, on_died) as (embedded, found):
        if embedded is not None:
            async with opened(found) as database:
                await database.prepare()
                # We hold the directory: no other worker can be alive on this database.
                await bury_workers()
        yield embedded, found


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """A database connection for as long as a command needs it."""
    database = connect(settings.mongodb_uri.get_secret_value(), settings.mongodb_database)
    try:
        yield database
    finally:
        database.close()


async def _stop_when_dead(embedded: EmbeddedDatabase) -> None:
    log.error(await embedded.died())
    signal.raise_signal(signal.SIGTERM)


def _end_myself(sentence: str) -> None:
    log.error(sentence)
    os.kill(os.getpid(), signal.SIGTERM)


def _ended(embedded: EmbeddedDatabase | None, *, failed: bool) -> int:
    return 1 if failed or (embedded is not None and embedded.failure) else 0


def print_banner(
    settings: Settings, listener: socket.socket, embedded: EmbeddedDatabase | None
) -> None:
    """Where it is, where the data is, who answers, and how to look inside."""
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    names = [provider.name for provider in build_providers(settings)]
    providers = ", ".join(names)
    if names == ["echo"]:
        providers += " (built in; set OPENAI_API_KEY or POE_API_KEY to talk to models)"
    lines = [
        ("Address", f"{address}   (reference: {address}/docs)"),
        ("Providers", providers),
    ]
    if embedded is not None:
        lines.append(("Data", f"{Path(embedded.directory)} (embedded database)"))
        lines.append(("Look inside", embedded.shell_command))
    else:
        lines.append(("Data", f"the database at PROXY_MONGODB_URI, {settings.mongodb_database!r}"))
        lines.append(("Look inside", 'mongosh "$PROXY_MONGODB_URI"'))
    if settings.api_keys:
        lines.append(("Keys", f"{len(settings.api_keys)} from PROXY_API_KEYS"))
    else:
        lines.append(("Keys", "none: open to this machine only (set PROXY_API_KEYS to lock it)"))
    print(f"Poe OpenAI Proxy {__version__}")
    for label, text in lines:
        print(f"  {label:<12} {text}")
    print("  Ctrl-C stops it", flush=True)


def _configure_logging(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for noisy in ("pymongo", "uvicorn.error", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
