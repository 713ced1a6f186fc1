"""A file of conversations, read while it arrives: one conversation at a time is in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import ijson

from proxy.documents.base import Raw
from proxy.documents.conversation_import import ImportedConversation, store_imported
from proxy.documents.message import FIXED_BYTES, size_bytes
from proxy.errors import ProxyError, TooLarge, Unprocessable
from proxy.settings import Settings
from proxy.transfer.chatgpt_file import is_chatgpt, read_chatgpt
from proxy.transfer.conversation_file import read_file
from proxy.transfer.json_depth import DepthGuard

READ_BYTES = 64 * 1024
"""How much is parsed at a time: in a thread, but no other runs within one call of the parser."""

MAX_ERRORS = 100
"""Conversations that cannot be read before the rest of a file is left alone."""

BOM = b"\xef\xbb\xbf"

MAX_DEPTH = 100

UNREADABLE = (ijson.JSONError, UnicodeDecodeError)
"""What the parser raises over a broken file."""

BROKEN = "From here on the file is not valid JSON; what came before it is imported"


async def import_conversations(
    owner: str, body: AsyncIterator[bytes], settings: Settings, worker: str
) -> dict[str, list[Raw]]:
    """Import a conversation, or a list of them, of ours or of ChatGPT's.

    A conversation that cannot be read is an entry of `errors` and the others go on.
    `{"imported": [{"index", "conversation_id", "name", "messages"}], "errors": [{"index",
    "message"}]}`.

    Raises:
        Unprocessable: the file is not JSON from its very beginning.
    """
    imported: list[Raw] = []
    errors: list[Raw] = []
    index = 0
    async for item in _items(body, settings):
        if len(errors) == MAX_ERRORS:
            sentence = f"{MAX_ERRORS} conversations cannot be read; the rest was not looked at"
            errors.append({"index": index, "message": sentence})
            break
        try:
            if isinstance(item, Unprocessable):
                raise item
            read = await asyncio.to_thread(_read, item, settings)
            id_ = await store_imported(
                owner,
                read,
                worker=worker,
                tail_messages=settings.tail_messages,
                tail_bytes=settings.tail_bytes,
            )
            name = read.fields["name"]
            imported.append(
                {
                    "index": index,
                    "conversation_id": id_,
                    "name": name,
                    "messages": len(read.messages),
                }
            )
        except (Unprocessable, TooLarge) as error:
            errors.append({"index": index, "message": error.detail})
        index += 1
    if errors and not imported:
        first: ProxyError = Unprocessable(errors[0]["message"], extra={"errors": errors})
        raise first
    return {"imported": imported, "errors": errors}


def _read(item: Any, settings: Settings) -> ImportedConversation:
    read = read_chatgpt(item) if is_chatgpt(item) else read_file(item)
    for message in read.messages:
        if size_bytes(message.fields) > settings.message_bytes + FIXED_BYTES:
            raise TooLarge(f"A message is larger than {settings.message_bytes} bytes")
    return read


async def _items(body: AsyncIterator[bytes], settings: Settings) -> AsyncIterator[Any]:
    """Yield the items of a JSON list, or the one object.

    A broken file ends with an `Unprocessable`.
    """
    found: list[Any] = []
    parser: Any = None
    guard = DepthGuard(MAX_DEPTH)
    since_item = 0
    nodes = 0
    async for chunk in _joined(body):
        if parser is None:
            chunk = chunk.removeprefix(BOM)  # noqa: PLW2901
            prefix = "item" if chunk.lstrip()[:1] == b"[" else ""
            parser = ijson.items_coro(_Append(found), prefix, use_float=True)
        try:
            if await asyncio.to_thread(guard.exceeds, chunk):
                yield Unprocessable(f"The file nests deeper than {MAX_DEPTH} levels")
                return
            if guard.nodes - nodes > settings.import_conversation_values:
                yield Unprocessable(
                    f"A conversation has more than {settings.import_conversation_values} values"
                )
                return
            await asyncio.to_thread(parser.send, chunk)
        except UNREADABLE:
            for item in found:
                yield item
            yield Unprocessable(BROKEN, code="invalid_json")
            return
        if found:
            since_item, nodes = 0, guard.nodes
        since_item += len(chunk)
        for item in found:
            yield item
        found.clear()
        if since_item > settings.import_conversation_bytes:
            yield Unprocessable(
                f"A conversation is longer than {settings.import_conversation_bytes} bytes"
            )
            return
    try:
        if parser is None:
            raise ijson.IncompleteJSONError
        parser.close()
    except UNREADABLE:
        yield Unprocessable(BROKEN, code="invalid_json")
    for item in found:
        yield item


class _Append:
    """A target of ijson's push interface."""

    def __init__(self, found: list[Any]) -> None:
        self.send = found.append

    def close(self) -> None:
        """Nothing is open."""


async def _joined(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Network reads put together to `READ_BYTES`."""
    held: list[bytes] = []
    size = 0
    async for data in body:
        held.append(data)
        size += len(data)
        if size >= READ_BYTES:
            yield b"".join(held)
            held.clear()
            size = 0
    if size:
        yield b"".join(held)
