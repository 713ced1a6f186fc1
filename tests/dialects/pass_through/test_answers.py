"""Each endpoint by OpenAI's own client, and how its answers fail."""

import base64
import json
import struct
from typing import Any

import openai
import pytest

from tests.dialects.chat_completions.conftest import KEY
from tests.dialects.pass_through.conftest import Passing, PassingTo
from tests.fakes.faults import SECRET
from tests.fakes.openai_upstream import OpenAIUpstream, frame
from tests.fakes.poe_upstream import PoeUpstream
from tests.fakes.scripted import cut, head, script, whole

COUNTED = {"prompt_tokens": 8, "total_tokens": 8}


def embeddings(*vectors: Any) -> dict[str, Any]:
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": data, "model": "embed-1", "usage": COUNTED}


def text_chunk(text: str, reason: str | None = None) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
    return frame({"id": "c", "object": "text_completion", "created": 1, "choices": [choice]})


async def test_embeddings_as_floats_and_as_base64(
    passing: Passing, upstream: OpenAIUpstream
) -> None:
    upstream.play(whole(200, embeddings([0.5, -1.0])))
    found = await passing.sdk.embeddings.create(
        model="embed-1", input=["漢"], encoding_format="float", dimensions=2
    )
    assert found.data[0].embedding == [0.5, -1.0]
    # OpenAI's client asks for base64 by itself, and decodes it.
    packed = base64.b64encode(struct.pack("<2f", 0.25, 4.0)).decode()
    upstream.play(whole(200, embeddings(packed)))
    found = await passing.sdk.embeddings.create(model="embed-1", input="x")
    assert found.data[0].embedding == [0.25, 4.0]
    first, second = upstream.requests
    assert first.path == "/v1/embeddings"
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert first.json == {
        "model": "embed-1",
        "input": ["漢"],
        "encoding_format": "float",
        "dimensions": 2,
    }
    assert second.json["encoding_format"] == "base64"
    assert [call.usage.prompt_tokens for call in passing.calls] == [8, 8]
    assert {(call.status, call.model, call.usage.provenance) for call in passing.calls} == {
        ("complete", "embed-1", "reported")
    }


async def test_a_long_answer_is_passed_on_as_its_bytes_and_counted(
    passing: Passing, upstream: OpenAIUpstream
) -> None:
    body = json.dumps(embeddings([0.123456789] * 30_000)).encode()
    upstream.play(script(head(200, "application/json"), body[:70_000], body[70_000:]))
    answer = await passing.http.post("/v1/embeddings", json={"model": "embed-1", "input": "x"})
    assert answer.content == body
    assert answer.headers["x-model"] == "openai/embed-1"
    assert passing.calls[0].usage.prompt_tokens == 8


async def test_what_the_upstream_does_not_count_is_estimated(
    passing: Passing, upstream: OpenAIUpstream
) -> None:
    upstream.play(whole(200, {**embeddings([1.0]), "usage": None}))
    for given in ("eight by", ["eight by"], [1, 2], [[1], [2]]):
        await passing.http.post("/v1/embeddings", json={"model": "embed-1", "input": given})
    assert [call.usage.prompt_tokens for call in passing.calls] == [2, 2, 2, 2]
    assert passing.calls[0].usage.provenance == "estimated"


async def test_a_legacy_completion_whole_and_streamed(
    passing: Passing, upstream: OpenAIUpstream
) -> None:
    choice = {"index": 0, "text": " there", "logprobs": None, "finish_reason": "length"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    body = {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
    upstream.play(whole(200, {**body, "usage": usage}))
    found = await passing.sdk.completions.create(model="m", prompt="Hello", max_tokens=2, echo=True)
    assert (found.choices[0].text, found.choices[0].finish_reason) == (" there", "length")
    assert upstream.requests[0].path == "/v1/completions"
    assert upstream.requests[0].json["echo"] is True

    chunks = (text_chunk("Hel"), text_chunk("lo 漢"), text_chunk("", "stop"), b"data: [DONE]\n\n")
    upstream.play(upstream.chunks(*chunks))
    stream = await passing.sdk.completions.create(model="m", prompt="Say", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "Hello 漢"
    assert [(c.status, c.usage.provenance) for c in passing.calls] == [
        ("complete", "reported"),
        ("complete", "estimated"),
    ]
    assert passing.calls[1].usage.completion_tokens == 3


async def test_a_legacy_stream_that_breaks_ends_with_an_error(
    passing: Passing, upstream: OpenAIUpstream
) -> None:
    upstream.play(script(head(), text_chunk("Hel"), cut()))
    stream = await passing.sdk.completions.create(model="m", prompt="Say", stream=True)
    got = []

    async def read() -> None:
        async for chunk in stream:
            got.append(chunk.choices[0].text)

    with pytest.raises(openai.APIError, match="broke"):
        await read()
    assert got == ["Hel"]
    assert passing.calls[0].status == "failed"


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_legacy_answer_has_the_shape_that_was_asked_for(
    passing: Passing, upstream: OpenAIUpstream, wanted: bool
) -> None:
    choice = {"index": 0, "text": "Hi", "finish_reason": "stop"}
    body = {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
    streamed = upstream.chunks(text_chunk("Hi"), text_chunk("", "stop"), b"data: [DONE]\n\n")
    upstream.play(whole(200, body) if wanted else streamed)
    found: Any = await passing.sdk.completions.create(model="m", prompt="x", stream=wanted)
    texts = [c.choices[0].text async for c in found] if wanted else [found.choices[0].text]
    assert texts == ["Hi"]


async def test_a_picture_as_a_whole_and_as_events(
    passing: Passing, upstream: OpenAIUpstream
) -> None:
    usage = {"input_tokens": 5, "output_tokens": 100, "total_tokens": 105}
    upstream.play(whole(200, {"created": 1, "data": [{"b64_json": "QUJD"}], "usage": usage}))
    found = await passing.sdk.images.generate(prompt="a lighthouse", size="1024x1024")
    assert found.data is not None
    assert found.data[0].b64_json == "QUJD"
    # Without a model the provider takes its own: a chat model can make none.
    assert "model" not in upstream.requests[0].json
    assert (passing.calls[0].model, passing.calls[0].usage.completion_tokens) == ("default", 100)

    large = "QUJD" * 300_000
    upstream.play(
        upstream.chunks(
            frame({"type": "image_generation.partial_image", "b64_json": large}),
            frame({"type": "image_generation.completed", "b64_json": "QUJD", "usage": usage}),
        )
    )
    stream = await passing.sdk.images.generate(prompt="x", model="image-1", stream=True)
    events: list[Any] = [event async for event in stream]
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert events[0].b64_json == large
    assert passing.calls[1].usage.completion_tokens == 100


async def test_speech_comes_as_bytes_while_it_is_spoken(
    passing: Passing, upstream: OpenAIUpstream
) -> None:
    audio = bytes(range(256)) * 1000
    upstream.play(script(head(200, "audio/mpeg"), audio[:1000], audio[1000:]))
    async with passing.sdk.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="Good morning"
    ) as spoken:
        assert spoken.headers["content-type"] == "audio/mpeg"
        assert await spoken.read() == audio
    assert upstream.requests[0].json["voice"] == "alloy"
    assert passing.calls[0].usage.prompt_tokens == 3


async def test_audio_that_breaks_is_no_whole_answer(
    passing: Passing, upstream: OpenAIUpstream
) -> None:
    upstream.play(script(head(200, "audio/mpeg"), b"some sound", cut()))
    with pytest.raises(openai.APIConnectionError):
        await passing.sdk.audio.speech.create(model="tts-1", voice="alloy", input="x")
    assert passing.calls[0].status == "truncated"


async def test_moderation(passing: Passing, upstream: OpenAIUpstream) -> None:
    upstream.play(whole(200, {"id": "m", "model": "omni", "results": []}))
    found = await passing.sdk.moderations.create(input=["a", "b"])
    assert found.model == "omni"
    assert upstream.requests[0].json == {"input": ["a", "b"]}
    await passing.http.post("/v1/moderations", json={"input": "a", "model": "default"})
    assert upstream.requests[1].json == {"input": "a"}
    assert passing.calls[0].usage is None


@pytest.mark.parametrize(
    ("status", "error", "mapped"),
    [
        (400, openai.BadRequestError, 400),
        (401, openai.InternalServerError, 502),
        (404, openai.NotFoundError, 404),
        (429, openai.RateLimitError, 429),
        (500, openai.InternalServerError, 502),
    ],
)
async def test_a_refusal_is_mapped_as_for_completions(
    passing: Passing,
    upstream: OpenAIUpstream,
    status: int,
    error: type[openai.APIStatusError],
    mapped: int,
) -> None:
    # Which sentence a 404 gets depends on the list of models, which a server gets in its own time.
    await passing.http.get("/v1/models")
    upstream.play(whole(status, {"error": {"message": f"no {KEY} in /srv/models/x"}}))
    with pytest.raises(error) as caught:
        await passing.sdk.embeddings.create(model="test-model", input="x")
    assert caught.value.status_code == mapped
    assert KEY not in caught.value.response.text
    assert "/srv/models" not in caught.value.response.text
    assert caught.value.response.json()["detail"]
    assert passing.calls[0].status == "failed"
    if status == 404:
        assert "or it does not serve /embeddings" in caught.value.message


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>log in</html>", "text/html"),
        (b"<html>log in</html>", "application/json"),
        (b'{"data": [', "application/json"),
        (b'{"error": {"message": "secret-detail", "type": "server_error"}}', "application/json"),
        (b"", "application/json"),
    ],
)
async def test_what_is_no_answer_is_an_error(
    passing: Passing, upstream: OpenAIUpstream, body: bytes, content_type: str
) -> None:
    upstream.play(whole(200, body, content_type))
    answer = await passing.http.post("/v1/embeddings", json={"model": "m", "input": "x"})
    assert answer.status_code == 502
    assert "html" not in answer.text
    assert answer.json()["error"]["type"].startswith(("upstream", "truncated"))


async def test_an_error_among_events_ends_them(passing: Passing, upstream: OpenAIUpstream) -> None:
    upstream.play(
        upstream.chunks(
            frame({"type": "transcript.text.delta", "delta": "Hel"}),
            frame({"error": {"message": SECRET, "type": "server_error"}}),
            frame({"type": "transcript.text.delta", "delta": "lo"}),
        )
    )
    answer = await passing.http.post(
        "/v1/audio/speech", json={"model": "m", "input": "x", "stream_format": "sse"}
    )
    assert '"delta": "Hel"' in answer.text
    assert '"lo"' not in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")
    assert passing.calls[0].status == "failed"


async def test_a_type_that_a_browser_would_show_is_bytes(
    passing: Passing, upstream: OpenAIUpstream
) -> None:
    upstream.play(whole(200, b"<svg/>", "image/svg+xml"))
    answer = await passing.http.post("/v1/audio/speech", json={"model": "m", "input": "x"})
    assert answer.headers["content-type"] == "application/octet-stream"


PASSED = ("embeddings", "moderations", "images/generations", "audio/speech", "completions")


@pytest.mark.parametrize("path", PASSED)
async def test_a_provider_without_the_endpoint_says_what_to_do(
    passing_to: PassingTo, poe: PoeUpstream, path: str
) -> None:
    body = {"model": "GPT-4o", "input": "x", "prompt": "x"}
    async with passing_to(poe_base_url=poe.base_url, poe_api_key="p-key-0123456789") as passing:
        by_poe = await passing.http.post(f"/v1/{path}", json=body)
    async with passing_to() as passing:
        by_echo = await passing.http.post(f"/v1/{path}", json=body)
    for answer, name in ((by_poe, "poe"), (by_echo, "echo")):
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "unsupported_endpoint"
        assert answer.json()["detail"].startswith(f"Provider '{name}' has no ")
        assert "; " in answer.json()["detail"]
    assert poe.requests == []


async def test_a_provider_that_lacks_the_endpoint_is_named(
    passing_to: PassingTo, upstream: OpenAIUpstream
) -> None:
    upstream.play(whole(404, b"404 page not found", "text/plain"))
    models = {"vectors": {"route": ["openai/embed-1"]}}
    async with passing_to(openai_base_url=upstream.base_url, models=models) as passing:
        answer = await passing.http.post("/v1/embeddings", json={"model": "vectors", "input": "x"})
    assert answer.status_code == 404
    assert "'embed-1'" in answer.json()["detail"]
    assert "page not found" not in answer.text


async def test_a_route_goes_on_to_the_next_provider(
    passing_to: PassingTo, upstream: OpenAIUpstream, poe: PoeUpstream
) -> None:
    upstream.play(whole(200, embeddings([1.0])))
    models = {"vectors-*": {"route": ["poe/GPT-4o", "openai/embed-1"]}}
    async with passing_to(
        openai_base_url=upstream.base_url,
        poe_base_url=poe.base_url,
        poe_api_key="p-key-0123456789",
        models=models,
    ) as passing:
        await passing.sdk.embeddings.create(model="vectors-large", input="x")
        await passing.sdk.embeddings.create(model="openai/test-model", input="x")
    assert [request.json["model"] for request in upstream.requests] == ["embed-1", "test-model"]
    assert [call.provider for call in passing.calls] == ["openai", "openai"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": 5}, "model"),
        ({"model": "m" * 501}, "model"),
        ({"model": "m", "stream": "yes"}, "stream"),
        ([], None),
    ],
)
async def test_a_wrong_body_is_refused_here(
    passing: Passing, upstream: OpenAIUpstream, body: Any, param: str | None
) -> None:
    for path in PASSED:
        answer = await passing.http.post(f"/v1/{path}", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param
    form = await passing.http.post("/v1/embeddings", data={"model": "m"})
    assert form.status_code == 415
    assert upstream.requests == []
