"""Directories for embedded servers, prepared once: making a user takes two starts."""

import asyncio
import functools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.embedded import EmbeddedDatabase, EmbeddedError
from proxy.embedded.state import find_program
from proxy.settings import Settings
from tests.conftest import IN_CI, make_settings


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose server was started and stopped once."""
    try:
        find_program()
    except EmbeddedError as error:
        if IN_CI:
            pytest.fail(str(error))
        pytest.skip(str(error))
    return _started_and_stopped(tmp_path_factory.getbasetemp() / "prepared" / "data")


@functools.cache
def _started_and_stopped(directory: Path) -> Path:
    """Return the directory; once a process, for every module that has the fixture."""

    async def start_and_stop() -> None:
        async with EmbeddedDatabase(make_settings(data_dir=directory)):
            pass

    asyncio.run(start_and_stop())
    return directory


@pytest.fixture(scope="session")
def running(
    prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Settings, EmbeddedDatabase]]:
    """A running server, for tests that leave it as it is: a start takes a second of a processor.

    It was started by a process that has a provider's key, and a switch of the server's.
    """
    data_dir = tmp_path_factory.mktemp("running") / "data"
    shutil.copytree(prepared, data_dir)
    settings = make_settings(data_dir=data_dir)
    database = EmbeddedDatabase(settings)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_API_KEY", "sk-secret")
        environment.setenv("SECANTUS_DATA_NONLOGGED", "1")
        asyncio.run(database.start())
    yield settings, database
    asyncio.run(database.stop())


@pytest.fixture
def settings(prepared: Path, tmp_path: Path) -> Settings:
    """Settings with a prepared data directory of their own."""
    shutil.copytree(prepared, tmp_path / "data")
    return make_settings(data_dir=tmp_path / "data")


@pytest.fixture
def new(prepared: Path, tmp_path: Path) -> Settings:
    """Settings whose data directory does not exist yet."""
    del prepared
    return make_settings(data_dir=tmp_path / "new")
