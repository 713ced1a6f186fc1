"""One owner a directory, and no server without one."""

import asyncio
import os
import signal
import sys

import pytest

from proxy.embedded import EmbeddedDatabase, EmbeddedError
from proxy.embedded.child import is_running_on, record_lock_is_held
from proxy.settings import Settings
from tests.support.processes import (
    client_of,
    end,
    gone,
    has_mapped,
    remember,
    start_bare_server,
    start_owner,
    until,
)

pytestmark = pytest.mark.slow


async def test_a_second_owner_of_the_directory_is_told_so(
    running: tuple[Settings, EmbeddedDatabase],
) -> None:
    settings, database = running
    with pytest.raises(EmbeddedError, match=rf"Another proxy \(process {os.getpid()}\)"):
        await EmbeddedDatabase(settings).start()
    with client_of(database.uri) as client:
        client.admin.command("ping")


def test_a_ctrl_c_in_the_terminal_reaches_the_owner_only(
    running: tuple[Settings, EmbeddedDatabase],
) -> None:
    _, database = running
    assert os.getpgid(database.pid) != os.getpgid(0)


@pytest.mark.skipif(sys.platform != "linux", reason="the next start ends it elsewhere")
async def test_no_server_outlives_a_killed_owner(settings: Settings) -> None:
    owner, pid = await asyncio.to_thread(start_owner, settings.data_dir)
    assert is_running_on(pid, settings.data_dir.resolve() / "mongodb")
    # What makes certificates takes 9 MiB: another process had them.
    assert not has_mapped(owner.pid, "/cryptography/")
    end(owner, at_once=True)
    await until(lambda: gone(pid))


async def test_the_start_after_a_killed_owner_takes_its_lock_and_waits_for_the_files(
    settings: Settings,
) -> None:
    owner, pid = await asyncio.to_thread(start_owner, settings.data_dir)
    lock = settings.data_dir / "proxy.lock"
    assert lock.read_text() == str(owner.pid)
    end(owner, at_once=True)
    async with EmbeddedDatabase(settings) as database:
        assert gone(pid)
        assert lock.read_text() == str(os.getpid())
        with client_of(database.uri) as client:
            client.proxy.things.insert_one({"_id": 1})


async def test_a_server_that_outlived_its_owner_is_ended_by_the_next_start(
    settings: Settings,
) -> None:
    storage = settings.data_dir.resolve() / "mongodb"
    # What is left behind where the kernel does not end a child with its parent.
    orphan = await asyncio.to_thread(start_bare_server, storage)
    remember(settings, pid=orphan.pid)
    assert record_lock_is_held(storage / "WiredTiger.lock")
    async with EmbeddedDatabase(settings) as database:
        # Asked to end, never killed; it may be asked before it has set up how it ends.
        assert orphan.wait() in (0, -signal.SIGTERM)
        assert database.pid != orphan.pid


async def test_files_that_a_stranger_has_open_are_left_alone(settings: Settings) -> None:
    storage = settings.data_dir.resolve() / "mongodb"
    other = await asyncio.to_thread(start_bare_server, storage)
    try:
        with pytest.raises(EmbeddedError, match="Another program has the files"):
            await EmbeddedDatabase(settings).start()
        assert other.poll() is None
    finally:
        end(other)
