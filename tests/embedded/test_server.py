"""Starting, stopping, dying: data and port stay."""

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
from pymongo.errors import PyMongoError

from proxy.embedded import EmbeddedDatabase, EmbeddedError
from proxy.settings import Settings
from tests.conftest import make_settings
from tests.support.depth import cases
from tests.support.processes import client_of, gone, remember, until

pytestmark = pytest.mark.slow


async def test_a_stop_and_a_start_keep_data_port_and_password_and_renew_certificates(
    settings: Settings,
) -> None:
    certificate = settings.data_dir / "tls" / "client.pem"
    async with EmbeddedDatabase(settings) as database:
        first, shown = database.uri, certificate.read_bytes()
        with client_of(first) as client:
            client.proxy.things.insert_one({"_id": 1})
    assert gone(database.pid)
    async with EmbeddedDatabase(settings) as again:
        assert again.uri == first
        assert certificate.read_bytes() != shown
        with client_of(again.uri) as client:
            assert client.proxy.things.find_one() == {"_id": 1}


async def test_a_restart_awaits_an_idle_moment_trims_the_journal_and_keeps_all_else(
    settings: Settings,
) -> None:
    settings = settings.model_copy(update={"embedded_restart_mib": 1})
    certificate = settings.data_dir / "tls" / "client.pem"
    died: list[str] = []
    async with EmbeddedDatabase(settings, on_died=died.append) as database:
        pid, uri, shown = database.pid, database.uri, certificate.read_bytes()
        asked: list[int] = []

        async def is_idle() -> bool:
            asked.append(database.pid)
            return len(asked) == 3

        with client_of(uri) as client:
            documents = [{"_id": i, "text": os.urandom(500_000).hex()} for i in range(80)]
            client.proxy.things.insert_many(documents)
            client.proxy.things.delete_many({})
            before = await database.size_bytes()
            task = asyncio.create_task(database.trim_when_idle(is_idle, interval_seconds=0.01))
            await until(lambda: database.pid != pid)
            assert asked[:3] == [pid, pid, pid]
            await asyncio.to_thread(client.admin.command, "ping")
            task.cancel()
            await asyncio.wait([task])
            assert await database.size_bytes() < before
            assert (database.uri, certificate.read_bytes()) == (uri, shown)
            assert client.proxy.things.count_documents({}) == 0
    await database.stop()
    # Neither a restart nor a stop is taken for a death.
    assert (died, database.failure) == ([], "")


async def test_a_taken_port_is_left_to_its_owner(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        remember(settings, port=port)
        async with EmbeddedDatabase(settings) as database:
            assert f":{port}/" not in database.uri
            assert (settings.data_dir / "mongodb-uri").read_text().strip() == database.uri


@pytest.mark.parametrize("attempt", range(cases(1, in_ci=3)))
async def test_a_killed_server_is_reported_and_keeps_what_it_acknowledged(
    settings: Settings, attempt: int
) -> None:
    del attempt
    heard: list[str] = []
    called = threading.Event()

    def on_died(sentence: str) -> None:
        heard.append(sentence)
        called.set()

    async with EmbeddedDatabase(settings, on_died=on_died) as database:
        waiting = asyncio.create_task(database.died())
        acknowledged = await write_until_killed(database)
        sentence = await waiting
        assert "ended by itself (signal 9)" in sentence
        assert await database.died() == sentence
        await asyncio.to_thread(called.wait)
        assert heard == [sentence]
        assert database.failure == sentence
    async with EmbeddedDatabase(settings) as database:
        with client_of(database.uri) as client:
            stored = {document["_id"] for document in client.proxy.things.find()}
    assert len(acknowledged) >= 400
    assert acknowledged - stored == set()


async def write_until_killed(database: EmbeddedDatabase) -> set[str]:
    """Write from four threads, kill the server in the middle; the acknowledged ids."""
    acknowledged: list[list[str]] = [[] for _ in range(4)]
    with client_of(database.uri) as client:

        def write(thread: int) -> None:
            for number in range(100_000):
                name = f"{thread}-{number}"
                try:
                    client.proxy.things.insert_one({"_id": name})
                except PyMongoError:
                    return
                acknowledged[thread].append(name)

        writers = [asyncio.to_thread(write, thread) for thread in range(4)]
        writing = asyncio.gather(*writers)
        await until(lambda: min(map(len, acknowledged)) >= 100)
        os.kill(database.pid, signal.SIGKILL)
        await writing
    return {name for names in acknowledged for name in names}


async def test_a_start_that_is_cancelled_leaves_nothing_behind(settings: Settings) -> None:
    database = EmbeddedDatabase(settings)
    task = asyncio.create_task(database.start())
    await until(lambda: bool(database.pid))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone(database.pid)
    async with EmbeddedDatabase(settings):
        pass


async def test_data_of_another_version_is_not_touched(new: Settings) -> None:
    new.data_dir.mkdir()
    (new.data_dir / "embedded.json").write_text(json.dumps({"version": "0.5.0"}))
    with pytest.raises(EmbeddedError, match=r"was written by secantusdb 0\.5\.0 .*proxy export"):
        await EmbeddedDatabase(new).start()
    assert list((new.data_dir / "mongodb").iterdir()) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"version": "1", "colour": "blue"}', "null"])
async def test_a_broken_record_is_named(new: Settings, text: str) -> None:
    new.data_dir.mkdir()
    (new.data_dir / "embedded.json").write_text(text)
    with pytest.raises(EmbeddedError, match=r"embedded\.json cannot be read"):
        await EmbeddedDatabase(new).start()


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match="cannot be used: Not a directory"):
        await EmbeddedDatabase(make_settings(data_dir=tmp_path / "file" / "data")).start()


async def test_files_it_cannot_read_are_reported_in_its_own_words(settings: Settings) -> None:
    (settings.data_dir / "mongodb" / "WiredTiger.turtle").write_text("not a turtle")
    with pytest.raises(EmbeddedError, match=r"did not start: .*failed to open storage"):
        await EmbeddedDatabase(settings).start()


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("echo no such package >&2; exit 1", "no such package"),
        ("exit 1", "CalledProcessError"),
        ("echo", "JSONDecodeError"),
        (None, "No such file or directory"),
    ],
)
async def test_certificates_that_cannot_be_made_are_told(
    new: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, does: str | None, said: str
) -> None:
    program = tmp_path / "python"
    if does is not None:
        program.write_text(f"#!/bin/sh\n{does}\n")
        program.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(program))
    with pytest.raises(EmbeddedError, match=rf"cannot be made \({said}\): .*PROXY_MONGODB_URI"):
        await EmbeddedDatabase(new).start()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_ctrl_c_in_the_terminal_does_not_reach_what_makes_certificates(
    new: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho group $(cut -d' ' -f5 /proc/$$/stat) >&2\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(program))
    with pytest.raises(EmbeddedError, match=r"\(group \d+\)") as caught:
        await EmbeddedDatabase(new).start()
    assert f"(group {os.getpgid(0)})" not in str(caught.value)
