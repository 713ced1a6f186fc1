"""Nobody but the owner of the data directory gets in."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from pymongo.errors import OperationFailure

from proxy.embedded import EmbeddedDatabase, EmbeddedError
from proxy.settings import Settings
from tests.support.processes import client_of, record_of, remember


async def test_a_stranger_without_the_password_is_refused(settings: Settings) -> None:
    async with EmbeddedDatabase(settings) as database:
        password = record_of(settings)["password"]
        for uri in (
            database.uri.replace(f"proxy:{password}@", ""),
            database.uri.replace(password, "x" * len(password)),
        ):
            with client_of(uri) as client, pytest.raises(OperationFailure):
                client.proxy.things.find_one()
            with client_of(uri) as client, pytest.raises(OperationFailure):
                client.admin.command({"createUser": "me", "pwd": "x", "roles": ["root"]})


async def test_a_user_made_while_the_server_was_open_is_dropped(settings: Settings) -> None:
    async with EmbeddedDatabase(settings) as database:
        with client_of(database.uri) as client:
            client.admin.command({"createUser": "stranger", "pwd": "x", "roles": ["root"]})
    # As if the first start had been killed after it had made the user.
    remember(settings, protected=False)
    async with EmbeddedDatabase(settings) as database:
        with client_of(database.uri) as client:
            users = client.admin.command("usersInfo")["users"]
            assert [user["user"] for user in users] == ["proxy"]


async def test_a_deleted_password_is_made_anew_and_the_data_stays(settings: Settings) -> None:
    async with EmbeddedDatabase(settings) as database:
        first = database.uri
        with client_of(first) as client:
            client.proxy.things.insert_one({"_id": 1})
    (settings.data_dir / "embedded.json").unlink()
    async with EmbeddedDatabase(settings) as database:
        assert database.uri != first
        with client_of(database.uri) as client:
            assert client.proxy.things.find_one() == {"_id": 1}


async def test_a_wrong_password_in_the_record_is_named(settings: Settings) -> None:
    remember(settings, password="guess")
    with pytest.raises(EmbeddedError, match=r"does not accept the password in .*embedded\.json"):
        await EmbeddedDatabase(settings).start()


async def test_what_holds_the_password_is_for_its_owner_only(new: Settings) -> None:
    umask = os.umask(0)
    try:
        async with EmbeddedDatabase(new):
            pass
    finally:
        os.umask(umask)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (new.data_dir, *new.data_dir.iterdir())
    }
    assert modes.pop("proxy.lock") & 0o111 == 0
    assert modes == {
        "new": 0o700,
        "mongodb": 0o700,
        "embedded.json": 0o600,
        "embedded.toml": 0o600,
        "embedded.log": 0o600,
        "mongodb-uri": 0o600,
    }
    for path in (new.data_dir / "mongodb").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


async def test_the_shell_line_names_a_file_and_not_the_password(settings: Settings) -> None:
    async with EmbeddedDatabase(settings) as database:
        password = record_of(settings)["password"]
        assert password not in database.shell_command
        assert database.shell_command.startswith('mongosh "$(cat ')
        line = database.shell_command.replace("mongosh", "printf %s", 1)
        pasted = await asyncio.to_thread(subprocess.check_output, ["sh", "-c", line], text=True)
        assert pasted == database.uri
        assert password not in database.log_file.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_neither_keys_nor_switches_reach_the_server(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("SECANTUS_DATA_NONLOGGED", "1")
    async with EmbeddedDatabase(settings) as database:
        environment = of_process(database.pid, "environ")
        assert b"sk-secret" not in environment
        assert b"SECANTUS" not in environment
        assert b"\0--sync-on-commit\0" in of_process(database.pid, "cmdline")


def of_process(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()
