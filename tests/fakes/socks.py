"""A SOCKS5 proxy on loopback (RFC 1928) that takes every name for one upstream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

REFUSED = 5


@asynccontextmanager
async def socks_proxy(origin: str | None) -> AsyncIterator[tuple[str, list[str]]]:
    """Its address, and the names it was asked for; without an origin it refuses."""
    names: list[str] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await _serve(reader, writer, origin, names)
        writer.close()
        tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"127.0.0.1:{port}", names
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, origin: str | None, names: list[str]
) -> None:
    _, methods = await reader.readexactly(2)
    await reader.readexactly(methods)
    writer.write(b"\x05\x00")
    head = await reader.readexactly(4)
    if head[3] == 3:
        (length,) = await reader.readexactly(1)
        names.append((await reader.readexactly(length)).decode())
    else:
        await reader.readexactly(4)
    await reader.readexactly(2)
    status = REFUSED if origin is None else 0
    writer.write(bytes([5, status, 0, 1, 0, 0, 0, 0, 0, 0]))
    if origin is None:
        await writer.drain()
        return
    address = urlsplit(origin)
    upstream_reader, upstream_writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        await asyncio.gather(_pipe(reader, upstream_writer), _pipe(upstream_reader, writer))
    finally:
        upstream_writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
