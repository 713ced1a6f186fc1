"""Whatever a provider sends, the end of a reply is stored with its text; the next turn works."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from proxy.providers.base import CompletionRequest, Delta, Usage
from tests.conftest import LiveServer
from tests.fakes.openai_upstream import OpenAIUpstream, chunk, frame
from tests.support.completions import PATH, call, chunks, said
from tests.support.replies import create, history, provider, say, streaming

DONE = b"data: [DONE]\n\n"


class Odd:
    """A provider that breaks its contract with the deltas it is given."""

    name = "odd"

    def __init__(self, *deltas: Delta) -> None:
        self.deltas = deltas
        self.requests: list[CompletionRequest] = []

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        yield Delta()
        yield Delta(text="all ")
        for delta in self.deltas:
            yield delta
        yield Delta(text="said")
        yield Delta(finish_reason="stop")

    async def list_models(self) -> list[dict[str, Any]]:
        return []

    async def close(self) -> None:
        return None


@pytest.mark.parametrize(
    "delta",
    [
        Delta(extra={"x": object()}),
        Delta(extra={"x": {"y": {1, 2}}}, parts=({"type": "image_url", "image_url": 5},)),
        Delta(usage=Usage(2**80, -5, "reported", {"a\x00b": 1, "$set": 2, "big": 2**70})),
        Delta(usage=Usage("many", None, "reported", {"x": float("nan")})),  # type: ignore[arg-type]
        Delta(tool_calls=({"index": 0, "function": 5}, {"index": "x"})),
        Delta(reasoning="half \ud83d"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_end_is_stored_whatever_raises(
    live: LiveServer, delta: Delta, stream: bool
) -> None:
    async with live(providers=[Odd(delta)]) as client:
        id_ = await create(client)
        if stream:
            async with streaming(client, id_) as frames:
                await frames.rest()
                text = frames.text
        else:
            answer = await say(client, id_)
            assert answer.status_code == 200, answer.text
            text = answer.json()["reply"]
        assert text.startswith("all ")
        assert text.endswith("said")
        _, reply = await history(client, id_)
        assert reply["content"] == text
        assert reply["status"] == "complete"
        counts = reply.get("usage", {})
        assert all(0 <= each <= 2**53 for each in counts.values() if isinstance(each, int))
        again = await say(client, id_, "again")
        assert again.status_code == 200
        assert (await client.get("/v1/usage")).status_code == 200


async def test_what_cannot_be_kept_is_named(live: LiveServer) -> None:
    async with live(providers=[Odd(Delta(extra={"x": object()}))]) as client:
        id_ = await create(client)
        await say(client, id_)
        _, reply = await history(client, id_)
    assert reply["error"]["type"] == "incomplete_record"
    assert "payload" in reply["error"]["message"]


ARGUMENTS = {
    "index": 0,
    "id": "a",
    "type": "function",
    "function": {"name": "weather", "arguments": {"city": "x"}},
}


@pytest.mark.parametrize("stream", [False, True])
async def test_arguments_that_are_an_object_become_text_everywhere(
    live: LiveServer, openai: OpenAIUpstream, stream: bool
) -> None:
    openai.play(
        openai.chunks(
            chunk({"content": "Let me look."}),
            chunk({"tool_calls": [ARGUMENTS]}),
            chunk(finish_reason="tool_calls") + DONE,
        )
    )
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        response = await client.post(PATH, json=call(conversation=id_, stream=stream))
        _, reply = await history(client, id_)
        assert reply["content"] == "Let me look."
        (stored,) = reply["payload"]["tool_calls"]
        assert stored["function"] == {"name": "weather", "arguments": '{"city":"x"}'}
        if stream:
            found = chunks(response)
            assert said(found) == "Let me look."
            (told,) = [c for f in found for c in f["choices"][0]["delta"].get("tool_calls", ())]
            assert told["function"] == stored["function"]
        else:
            message = response.json()["choices"][0]["message"]
            assert message["tool_calls"] == [stored]


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_picture_is_a_reply(live: LiveServer, openai: OpenAIUpstream, stream: bool) -> None:
    openai.play(openai.chunks(chunk({"images": [PICTURE]}), chunk(finish_reason="stop") + DONE))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        async with streaming(client, id_) as frames:
            await frames.rest()
        _, reply = await history(client, id_)
        link = f"/v1/chat/messages/{reply['id']}/parts/0"
        assert frames.text == reply["content"] == f"![image]({link})"
        assert reply["payload"]["images"] == [PICTURE]
        found = await client.get(link)
        assert found.content == b"\x89PNG\r\n\x1a\n"
        assert found.headers["content-type"] == "image/png"
        assert (await client.get(f"/v1/chat/messages/{reply['id']}/parts/1")).status_code == 404
        response = await client.post(PATH, json=call(conversation=id_, stream=stream))
        if stream:
            deltas = [f["choices"][0]["delta"] for f in chunks(response) if f["choices"]]
            assert [d["images"] for d in deltas if "images" in d] == [[PICTURE]]
        else:
            assert response.json()["choices"][0]["message"]["images"] == [PICTURE]


async def test_a_part_that_is_no_picture_is_a_download(
    live: LiveServer, openai: OpenAIUpstream
) -> None:
    page = {"type": "file", "file": {"file_data": "data:text/html;base64,PHNjcmlwdD4="}}
    openai.play(openai.chunks(chunk({"content": [page]}), chunk(finish_reason="stop") + DONE))
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        await say(client, id_)
        _, reply = await history(client, id_)
        found = await client.get(f"/v1/chat/messages/{reply['id']}/parts/0")
    assert found.headers["content-type"] == "application/octet-stream"
    assert found.headers["content-disposition"].startswith("attachment")
    assert found.headers["x-content-type-options"] == "nosniff"


async def test_usage_that_no_database_takes_costs_no_reply(
    live: LiveServer, openai: OpenAIUpstream
) -> None:
    nested: Any = 1
    for _ in range(400):
        nested = {"a": nested}
    counted = {"prompt_tokens": 2**70, "completion_tokens": -3, "a\x00b": 1, "deep": nested}
    openai.play(
        openai.chunks(
            chunk({"content": "Hello"}),
            chunk(finish_reason="stop") + frame({"choices": [], "usage": counted}) + DONE,
        )
    )
    async with live(providers=[provider(openai)]) as client:
        id_ = await create(client)
        assert (await say(client, id_)).json()["reply"] == "Hello"
        _, reply = await history(client, id_)
        assert reply["usage"] == {
            "prompt_tokens": 2**53,
            "completion_tokens": 0,
            "total_tokens": 2**53,
            "provenance": "reported",
        }
        await asyncio.sleep(0)
        assert (await say(client, id_, "again")).status_code == 200
