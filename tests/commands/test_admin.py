"""`proxy keys` and `proxy users`, as an operator types them."""

import argparse
import asyncio
import io
import os
import shlex
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from proxy.commands.admin import add_admin_commands
from proxy.commands.arguments import duration
from proxy.commands.cli import main
from proxy.credentials import is_well_formed
from proxy.database import Database
from proxy.documents.user import Session, User
from proxy.errors import ProxyError
from tests.support.command import command
from tests.support.keys import bearer, locked, status

pytestmark = pytest.mark.slow


async def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_admin_commands(parser.add_subparsers())
    arguments = parser.parse_args(words)
    code: int = await arguments.run(arguments)
    return code


async def test_a_key_made_in_a_shell_opens_the_server(
    wire: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    async with locked(wire) as client:
        await run("keys", "create", "laptop", "--owner", "ada", "--rpm", "60", "--expires", "90d")
        key = capsys.readouterr().out.strip()
        assert is_well_formed(key)
        me = (await client.get("/v1/auth/me", headers=bearer(key))).json()
        assert (me["name"], me["owner"], me["scopes"]) == (
            "laptop",
            "ada",
            ["chat", "plan", "project"],
        )

        await run("keys", "list")
        table = capsys.readouterr().out
        assert "laptop" in table
        assert key[-4:] in table
        assert key not in table
        await run("keys", "list", "--owner", "bob")
        assert "laptop" not in capsys.readouterr().out

        await run("keys", "show", "laptop")
        shown = capsys.readouterr().out
        assert "requests a minute  60" in shown
        assert "working" in shown

        await run("keys", "rotate", "laptop")
        (rotated,) = capsys.readouterr().out.splitlines()
        assert await status(client, rotated) == 200

        await run("keys", "revoke", "laptop", "--owner", "ada")
        capsys.readouterr()
        await run("keys", "show", "laptop")
        assert "revoked" in capsys.readouterr().out


async def test_a_key_that_is_not_there_is_named(database: Database) -> None:
    async with locked(database):
        for action in ("show", "revoke", "rotate"):
            with pytest.raises(ProxyError, match="no key 'laptop'"):
                await run("keys", action, "laptop")
        await run("keys", "create", "laptop", "--owner", "ada")
        await run("keys", "create", "laptop", "--owner", "bob")
        with pytest.raises(ProxyError, match="several keys"):
            await run("keys", "show", "laptop")


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "create", ""),
        ("keys", "create", "x", "--owner", "a b"),
        ("keys", "create", "x", "--owner", "*"),
        ("keys", "create", "x", "--scope", "root"),
        ("keys", "create", "x", "--rpm", "-1"),
        ("keys", "create", "x", "--expires", "tomorrow"),
        ("keys", "create", "x", "--expires", "0d"),
        ("keys",),
        ("users", "create"),
    ],
)
async def test_a_wrong_argument_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        await run(*words)
    assert caught.value.code == 2


def test_durations() -> None:
    assert duration("90d") == timedelta(days=90)
    assert duration("30m") == timedelta(minutes=30)
    assert duration("4w") == timedelta(weeks=4)


async def test_users_are_made_changed_and_removed(
    wire: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def type_in(password: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(password + "\n"))

    async with locked(wire) as client:

        async def log_in(password: str) -> int:
            body = {"userName": "ada", "password": password}
            return (await client.post("/v1/auth/login", json=body)).status_code

        type_in("correct horse")
        await run("users", "create", "Ada", "--password-stdin")
        assert "sees what belongs to 'Ada'" in capsys.readouterr().out
        assert await log_in("correct horse") == 200
        type_in("other horse")
        with pytest.raises(ProxyError, match="already a user"):
            await run("users", "create", "ADA", "--password-stdin")

        type_in("zebra crossing 42")
        await run("users", "password", "ada", "--password-stdin")
        assert await Session.collection().count_documents({}) == 0
        assert await log_in("correct horse") == 401
        assert await log_in("zebra crossing 42") == 200

        capsys.readouterr()
        await run("users", "list")
        listed = capsys.readouterr().out
        assert "Ada" in listed
        assert "argon2" not in listed
        await run("users", "delete", "ada")
        assert await Session.collection().count_documents({}) == 0
        assert await log_in("zebra crossing 42") == 401
        assert await User.list_all() == []


async def test_a_short_password_and_a_name_that_is_no_owner_are_refused(
    wire: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with locked(wire):
        monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
        with pytest.raises(ProxyError, match="8 to 1024 characters"):
            await run("users", "create", "ada", "--password-stdin")
        with pytest.raises(ProxyError, match="--owner"):
            await run("users", "create", "Ada Lovelace", "--password-stdin")
        with pytest.raises(ProxyError, match="no user 'ada'"):
            await run("users", "delete", "ada")


async def test_chinese_names_need_no_option_and_keep_the_table_straight(
    wire: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with locked(wire) as client:
        for name in ("小明", "wang"):
            monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
            await run("users", "create", name, "--password-stdin")
        body = {"userName": "小明", "password": "correct horse"}
        assert (await client.post("/v1/auth/login", json=body)).status_code == 200
        assert (await client.get("/v1/auth/me")).json()["owner"] == "小明"
        capsys.readouterr()
        await run("users", "list")
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("NAME  OWNER  SCOPES")
        assert lines[1].startswith("wang  wang   chat")
        assert lines[2].startswith("小明  小明   chat")


def test_without_a_terminal_the_password_is_not_asked_for(tmp_path: Path, wire_uri: str) -> None:
    """As in a container without `-it`."""
    process = command(
        tmp_path,
        *("users", "create", "ada"),
        PROXY_MONGODB_URI=wire_uri,
        PROXY_MONGODB_DATABASE="test_no_tty",
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err == (
        "proxy: There is no terminal to ask for the password; send it with --password-stdin\n"
    )


async def test_the_command_line_says_in_one_sentence_what_is_wrong(
    wire_uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROXY_MONGODB_URI", wire_uri)
    monkeypatch.setenv("PROXY_MONGODB_DATABASE", "test_admin_commands")
    # The command brings an event loop of its own.
    assert await asyncio.to_thread(main, ["keys", "revoke", "nothing"]) == 1
    assert capsys.readouterr().err.startswith("proxy: There is no key 'nothing'")


def test_a_reader_that_has_seen_enough_is_no_failure(
    tmp_path: Path, wire: Database, wire_uri: str
) -> None:
    environment = {
        **os.environ,
        "PROXY_MONGODB_URI": wire_uri,
        "PROXY_MONGODB_DATABASE": wire.database.name,
    }
    done = subprocess.run(
        ["sh", "-c", f"{shlex.quote(sys.executable)} -m proxy keys list | true; true"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
