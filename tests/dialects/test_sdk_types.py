"""What we write in OpenAI's shapes, read by the types of OpenAI's own SDK."""

import json
from typing import Any

import httpx
import pytest
from openai.types import ErrorObject, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from proxy.database import Database
from tests.conftest import client_of, make_settings, running_app

COMPLETIONS = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "echo", "messages": [{"role": "user", "content": "你好"}]}


def chunks(text: str) -> list[Any]:
    """The frames of a stream without `[DONE]`."""
    frames = [frame.removeprefix("data: ") for frame in text.split("\n\n") if frame]
    assert frames[-1] == "[DONE]"
    return [json.loads(frame) for frame in frames[:-1] if not frame.startswith(":")]


@pytest.mark.parametrize("with_memory", [False, True])
async def test_completions_and_chunks_are_the_sdks_types(mock: Database, with_memory: bool) -> None:
    async with running_app(mock, make_settings()) as app, client_of(app) as client:
        body = dict(BODY)
        if with_memory:
            created = await client.post("/v1/chat/conversations", json={})
            body["conversation"] = created.json()["conversation_id"]
        whole = await client.post(COMPLETIONS, json=body)
        completion = ChatCompletion.model_validate(whole.json(), strict=True)
        assert completion.choices[0].message.content
        assert completion.usage is not None
        streamed = await client.post(
            COMPLETIONS,
            json={**body, "stream": True, "stream_options": {"include_usage": True}},
        )
        parsed = [
            ChatCompletionChunk.model_validate(chunk, strict=True)
            for chunk in chunks(streamed.text)
        ]
        assert "".join(c.choices[0].delta.content or "" for c in parsed if c.choices)
        assert parsed[-1].usage is not None


async def test_models_and_errors_are_the_sdks_types(mock: Database) -> None:
    async with running_app(mock, make_settings()) as app, client_of(app) as client:
        listed: httpx.Response = await client.get("/v1/models")
        models = [Model.model_validate(each, strict=True) for each in listed.json()["data"]]
        assert [model.id for model in models] == ["echo"]
        for response in (
            await client.post(COMPLETIONS, json={**BODY, "messages": []}),
            await client.post(COMPLETIONS, json={**BODY, "messages": "x"}),
            await client.get("/v1/models/unknown"),
            await client.get("/v1/nowhere"),
        ):
            assert response.is_error
            ErrorObject.model_validate(response.json()["error"], strict=True)
