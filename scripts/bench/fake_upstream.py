"""A fake of OpenAI's API that costs next to nothing: `python fake_upstream.py PORT`.

The model's name says what comes: `text-<chunks>-<pace in ms>`. Every chunk is a write of its
own; with a pace of 0 they follow each other at once.
"""

import asyncio
import functools
import sys
from typing import Any

import httptools
import orjson
import uvloop

WORDS = ("say ", "it \\\\ ", 'with "quotes" ', "漢字 ", "and\n", "\u2028 ", "😀 ")


def piece(index: int) -> str:
    return f"{index} {WORDS[index % len(WORDS)]}"


@functools.cache
def text_of(model: str) -> str:
    return "".join(piece(index) for index in range(shape_of(model)[0]))


def shape_of(model: str) -> tuple[int, int]:
    """Chunks and pace in milliseconds."""
    _, chunks, pace = model.rsplit("/", 1)[-1].split("-")
    return int(chunks), int(pace)


def _envelope(kind: str, model: str) -> dict[str, object]:
    return {"id": "chatcmpl-fake", "object": kind, "created": 1_700_000_000, "model": model}


def _frame(model: str, delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    body = {**_envelope("chat.completion.chunk", model), "choices": [choice]}
    data = b"data: " + orjson.dumps(body) + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


@functools.cache
def frames_of(model: str) -> list[bytes]:
    chunks, _ = shape_of(model)
    done = b"data: [DONE]\n\n"
    return [
        _frame(model, {"role": "assistant", "content": ""}),
        *(_frame(model, {"content": piece(index)}) for index in range(chunks)),
        _frame(model, {}, "stop"),
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(done), done),
    ]


@functools.cache
def whole_of(model: str) -> bytes:
    message = {"role": "assistant", "content": text_of(model), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 24, "completion_tokens": 20, "total_tokens": 44}
    return _answer(
        orjson.dumps({**_envelope("chat.completion", model), "choices": [choice], "usage": usage})
    )


def _response(model: str) -> dict[str, object]:
    part = {"type": "output_text", "text": text_of(model), "annotations": [], "logprobs": []}
    item = {"id": "msg_fake", "type": "message", "role": "assistant", "status": "completed"}
    usage = {
        "input_tokens": 24,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 44,
    }
    about = {"id": "resp_fake", "object": "response", "created_at": 1_700_000_000, "model": model}
    return {**about, "status": "completed", "output": [{**item, "content": [part]}], "usage": usage}


def _event(number: int, kind: str, **fields: object) -> bytes:
    body = orjson.dumps({"type": kind, "sequence_number": number, **fields})
    data = b"event: %b\ndata: %b\n\n" % (kind.encode(), body)
    return b"%x\r\n%s\r\n" % (len(data), data)


@functools.cache
def events_of(model: str) -> list[bytes]:
    """Return the same stream in OpenAI's Responses."""
    response = _response(model)
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    item: Any = response["output"][0]  # type: ignore[index]
    at = {"item_id": item["id"], "output_index": 0}
    part = {**item["content"][0], "text": ""}
    chunks, _ = shape_of(model)
    return [
        _event(0, "response.created", response=begun),
        _event(1, "response.in_progress", response=begun),
        _event(2, "response.output_item.added", output_index=0, item={**item, "content": []}),
        _event(3, "response.content_part.added", **at, content_index=0, part=part),
        *(
            _event(
                4 + index,
                "response.output_text.delta",
                **at,
                content_index=0,
                delta=piece(index),
                logprobs=[],
            )
            for index in range(chunks)
        ),
        _event(4 + chunks, "response.output_item.done", output_index=0, item=item),
        _event(5 + chunks, "response.completed", response=response) + b"0\r\n\r\n",
    ]


@functools.cache
def response_of(model: str) -> bytes:
    return _answer(orjson.dumps(_response(model)))


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


class Upstream(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.body = b""
        self.parser = httptools.HttpRequestParser(self)
        self.resumed = asyncio.Event()
        self.resumed.set()

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def pause_writing(self) -> None:
        self.resumed.clear()

    def resume_writing(self) -> None:
        self.resumed.set()

    def connection_lost(self, _: Exception | None) -> None:
        self.resumed.set()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        if not body:
            models = [{"id": "text-20-0", "object": "model", "created": 0, "owned_by": "fake"}]
            self.transport.write(_answer(orjson.dumps({"object": "list", "data": models})))
            return
        asked = orjson.loads(body)
        if asked.get("stream"):
            frames = events_of if "input" in asked else frames_of
            self.task = asyncio.ensure_future(self.stream(asked["model"], frames(asked["model"])))
        elif "input" in asked:
            self.transport.write(response_of(asked["model"]))
        else:
            self.transport.write(whole_of(asked["model"]))

    async def stream(self, model: str, frames: list[bytes]) -> None:
        _, pace = shape_of(model)
        self.transport.write(STREAM_HEAD)
        loop = asyncio.get_running_loop()
        due = loop.time()
        for frame in frames:
            if pace:
                due += pace / 1000
                await asyncio.sleep(due - loop.time())
            elif not self.resumed.is_set():
                await self.resumed.wait()
            if self.transport.is_closing():
                return
            self.transport.write(frame)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
