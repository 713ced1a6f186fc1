"""The least a Python gateway can be: an ASGI function that passes bytes through aiohttp.

`UPSTREAM=http://127.0.0.1:9000 uvicorn bare_gateway:app`. It checks no key, counts nothing,
knows no error and no second model: the floor that the proxy is measured against.
"""

import os
from pathlib import Path
from typing import Any

import aiohttp
from monitor import Monitor

URL = os.environ.get("UPSTREAM", "") + os.environ.get("ENDPOINT", "/v1/chat/completions")
HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}

_sessions: list[aiohttp.ClientSession] = []


def session() -> aiohttp.ClientSession:
    if not _sessions:
        _sessions.append(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=256 * 1024,
            )
        )
    return _sessions[0]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        if "GAPS" in os.environ:
            Monitor(Path(os.environ["GAPS"]))
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    async with session().post(URL, data=body, headers=HEADERS) as answer:
        kind = answer.headers["content-type"].encode()
        head = {"type": "http.response.start", "status": answer.status}
        if b"event-stream" not in kind:
            whole = await answer.read()
            length = (b"content-length", str(len(whole)).encode())
            await send({**head, "headers": [(b"content-type", kind), length]})
            await send({"type": "http.response.body", "body": whole})
            return
        await send({**head, "headers": [(b"content-type", kind)]})
        async for data in answer.content.iter_any():
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
