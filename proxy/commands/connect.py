"""Which database a command works on: the one that is named, a running server's, or its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from proxy.database import Database, connect
from proxy.embedded import EmbeddedDatabase
from proxy.settings import Settings


@asynccontextmanager
async def database_server(
    settings: Settings, on_died: Callable[[str], None] | None = None
) -> AsyncIterator[tuple[EmbeddedDatabase | None, Settings]]:
    """Yield the embedded database while it is needed, and the settings that name it."""
    if settings.mongodb_uri.get_secret_value():
        yield None, settings
        return
    async with EmbeddedDatabase(settings, on_died=on_died) as embedded:
        # The embedded server needs its own URI options; they are part of it.
        yield embedded, settings.model_copy(update={"mongodb_uri": SecretStr(embedded.uri)})


@asynccontextmanager
async def beside(settings: Settings) -> AsyncIterator[Settings]:
    """Yield the database of a running server if there is one, else one for this command alone."""
    uri_file = settings.data_dir / "mongodb-uri"
    if not settings.mongodb_uri.get_secret_value() and await asyncio.to_thread(uri_file.exists):
        uri = (await asyncio.to_thread(uri_file.read_text)).strip()
        if await _answers(urlsplit(uri)):
            yield settings.model_copy(update={"mongodb_uri": SecretStr(uri)})
            return
    async with database_server(settings) as (_, found):
        yield found


async def _answers(address: SplitResult) -> bool:
    try:
        _, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """Yield a database connection for as long as a command needs it."""
    database = connect(settings.mongodb_uri.get_secret_value(), settings.mongodb_database)
    try:
        yield database
    finally:
        database.close()
