"""Nobody but the owner of the data directory gets in."""

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import socket
import stat
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError

from proxy.embedded import EmbeddedDatabase, EmbeddedError
from proxy.settings import Settings
from tests.support.processes import client_of, record_of, remember

pytestmark = pytest.mark.slow

_INSTALLED = Path(__file__).parent.parent / "mongosh/node_modules/.bin/mongosh"
MONGOSH = shutil.which("mongosh") or (str(_INSTALLED) if _INSTALLED.exists() else None)


def without_certificate(uri: str) -> list[str]:
    """The same address, as somebody sees it who cannot read the data directory."""
    bare = uri.partition("&tls=")[0]
    return [bare, f"{bare}&tls=true&tlsAllowInvalidCertificates=true"]


def test_a_stranger_without_the_password_is_refused(
    running: tuple[Settings, EmbeddedDatabase],
) -> None:
    settings, database = running
    password = record_of(settings)["password"]
    for uri in (
        database.uri.replace(f"proxy:{password}@", ""),
        database.uri.replace(password, "x" * len(password)),
    ):
        with client_of(uri) as client, pytest.raises(OperationFailure):
            client.proxy.things.find_one()
        with client_of(uri) as client, pytest.raises(OperationFailure):
            client.admin.command({"createUser": "me", "pwd": "x", "roles": ["root"]})


def test_a_stranger_without_a_certificate_gets_no_command_through(
    running: tuple[Settings, EmbeddedDatabase],
) -> None:
    _, database = running
    for uri in without_certificate(database.uri):
        with (
            MongoClient[Any](uri, serverSelectionTimeoutMS=500) as client,
            pytest.raises(ServerSelectionTimeoutError),
        ):
            client.admin.command("ping")


async def test_a_first_start_lets_nobody_in_while_it_has_no_log_in_nor_later(new: Settings) -> None:
    record = new.data_dir / "embedded.json"
    planted: list[str] = []
    over = threading.Event()

    def plant() -> None:
        while not over.is_set():
            port = json.loads(record.read_text())["port"] if record.exists() else 0
            if not port:
                continue
            address = f"mongodb://127.0.0.1:{port}/?directConnection=true&retryWrites=false"
            for uri in (address, *without_certificate(f"{address}&tls=")[1:]):
                with (
                    contextlib.suppress(PyMongoError),
                    MongoClient[Any](uri, serverSelectionTimeoutMS=100) as client,
                ):
                    client.proxy.api_keys.insert_one({"_id": "mine", "scopes": ["admin"]})
                    planted.append(uri)

    planting = asyncio.create_task(asyncio.to_thread(plant))
    umask = os.umask(0)
    try:
        async with EmbeddedDatabase(new) as database:
            with client_of(database.uri) as client:
                assert client.proxy.api_keys.find_one() is None
    finally:
        os.umask(umask)
        over.set()
        await planting
    assert planted == []
    only_its_owner_reads(new.data_dir)


def only_its_owner_reads(directory: Path) -> None:
    """Check the mode of all that a first start has made, whatever the process's own mask is."""
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (directory, *directory.iterdir())
    }
    assert modes == {
        "new": 0o700,
        "mongodb": 0o700,
        "tls": 0o700,
        "proxy.lock": 0o600,
        "embedded.json": 0o600,
        "embedded.toml": 0o600,
        "embedded.log": 0o600,
        "mongodb-uri": 0o600,
    }
    for path in [*(directory / "mongodb").iterdir(), *(directory / "tls").iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_bytes_of_a_stranger_do_not_end_the_server(
    running: tuple[Settings, EmbeddedDatabase],
) -> None:
    settings, database = running
    depth = 20_000
    # {"a": {"a": … {}}}, each document with its length in front.
    nested = b"\x05\0\0\0\0"
    for _ in range(depth):
        nested = b"\x03a\0" + nested + b"\0"
        nested = (len(nested) + 4).to_bytes(4, "little") + nested
    body = (0).to_bytes(4, "little") + b"\0" + nested
    message = struct.pack("<iiii", 16 + len(body), 1, 0, 2013) + body
    port = record_of(settings)["port"]
    for sent in (message, b"\x16\x03\x01" + b"\xff" * 70_000, b"\0" * 100):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.settimeout(10)
            with contextlib.suppress(OSError):
                stranger.sendall(sent)
                stranger.recv(1024)
    with client_of(database.uri) as client:
        client.admin.command("ping")
    assert database.failure == ""


@pytest.mark.skipif(MONGOSH is None, reason="mongosh is missing: scripts/install-test-tools")
def test_the_printed_line_opens_a_shell(running: tuple[Settings, EmbeddedDatabase]) -> None:
    _, database = running
    line = database.shell_command.replace("mongosh", shlex.quote(str(MONGOSH)), 1)
    script = "db.things.insertOne({_id: 1}); print(db.getName(), db.things.countDocuments())"
    done = subprocess.run(
        ["sh", "-c", f"{line} --quiet --norc --eval '{script}'"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "proxy 1", done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such modes")
async def test_the_modes_of_an_older_data_directory_are_mended(settings: Settings) -> None:
    settings.data_dir.chmod(0o755)
    (settings.data_dir / "proxy.lock").chmod(0o644)
    async with EmbeddedDatabase(settings):
        assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE((settings.data_dir / "proxy.lock").stat().st_mode) == 0o600


async def test_a_deleted_password_is_made_anew_strangers_are_dropped_and_the_data_stays(
    settings: Settings,
) -> None:
    async with EmbeddedDatabase(settings) as database:
        first = database.uri
        with client_of(first) as client:
            client.proxy.things.insert_one({"_id": 1})
            client.admin.command({"createUser": "stranger", "pwd": "x", "roles": ["root"]})
    (settings.data_dir / "embedded.json").unlink()
    async with EmbeddedDatabase(settings) as database:
        assert database.uri != first
        with client_of(database.uri) as client:
            assert client.proxy.things.find_one() == {"_id": 1}
            users = client.admin.command("usersInfo")["users"]
            assert [user["user"] for user in users] == ["proxy"]


async def test_a_wrong_password_in_the_record_is_named(settings: Settings) -> None:
    remember(settings, password="guess")
    with pytest.raises(EmbeddedError, match=r"does not accept the password in .*embedded\.json"):
        await EmbeddedDatabase(settings).start()


def test_the_shell_line_names_a_file_and_not_the_password(
    running: tuple[Settings, EmbeddedDatabase],
) -> None:
    settings, database = running
    password = record_of(settings)["password"]
    assert password not in database.shell_command
    assert database.shell_command.startswith('mongosh "$(cat ')
    line = database.shell_command.replace("mongosh", "printf %s", 1)
    pasted = subprocess.check_output(["sh", "-c", line], text=True)
    assert pasted == database.uri
    assert password not in database.log_file.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_neither_keys_nor_switches_reach_the_server(
    running: tuple[Settings, EmbeddedDatabase],
) -> None:
    _, database = running
    environment = of_process(database.pid, "environ")
    assert b"sk-secret" not in environment
    assert b"SECANTUS" not in environment
    assert b"\0--sync-on-commit\0" in of_process(database.pid, "cmdline")


def of_process(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()
