"""Forms with files: kept within a limit, sent on as their bytes, the model found and changed."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from proxy.dialects.pass_through.upload import Upload
from proxy.errors import BadRequest
from proxy.providers.upstream import StreamedBody
from tests.dialects.chat_completions.conftest import KEY
from tests.dialects.pass_through.conftest import Passing, PassingTo
from tests.fakes.openai_upstream import OpenAIUpstream, frame
from tests.fakes.poe_upstream import PoeUpstream
from tests.fakes.scripted import whole

TYPE = "multipart/form-data; boundary=XyZ"
TEXT = {"text": "Good morning", "usage": {"type": "duration", "seconds": 2}}
AUDIO = b"RIFF--XyZ no boundary\r\n--Xy, \r\n\r" + bytes(range(256))
LARGE = AUDIO * 11_000


def part(name: str, value: bytes, more: str = "") -> bytes:
    return (
        f'--XyZ\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode()
        + value
        + b"\r\n"
    )


FILE = part("file", AUDIO, '; filename="a.wav"\r\nContent-Type: audio/wav')
END = b"--XyZ--\r\n"


async def in_pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def upload(data: bytes, size: int = 65_536, memory_bytes: int = 1024) -> Upload:
    found = Upload(TYPE, memory_bytes=memory_bytes, directory=None)
    return await found.read(in_pieces(data, size))


async def sent(body: StreamedBody) -> bytes:
    data = b"".join([block async for block in body.chunks])
    assert len(data) == body.length
    return data


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 100_000])
@pytest.mark.parametrize("memory_bytes", [0, 1_000_000])
async def test_only_the_models_name_changes(size: int, memory_bytes: int) -> None:
    for form in (
        FILE + part("model", b"whisper-1") + part("stream", b"true"),
        part("model", b"whisper-1") + part("stream", b"true") + FILE,
        part("model", b"whisper-1", "\r\nContent-Type: text/plain") + FILE + part("stream", b"1"),
        part("stream", b"True") + FILE + part("model", b"whisper-1"),
    ):
        found = await upload(form + END, size, memory_bytes)
        assert (found.model, found.wants_stream) == ("whisper-1", True)
        assert await sent(found.body_for("whisper-1")) == form + END
        changed = (form + END).replace(b"\r\n\r\nwhisper-1\r\n", b"\r\n\r\nlarge-v3\r\n")
        assert await sent(found.body_for("large-v3")) == changed
        # Another route asks again.
        assert await sent(found.body_for("whisper-1")) == form + END
        found.close()


@pytest.mark.parametrize("before", [b"", b"\r\n"])
async def test_a_form_without_a_model_gets_one(before: bytes) -> None:
    found = await upload(before + FILE + END)
    assert found.model is None
    assert await sent(found.body_for("")) == before + FILE + END
    named = await sent(found.body_for("whisper-1"))
    assert named == part("model", b"whisper-1") + FILE + END
    empty = await upload(part("model", b"") + FILE + END)
    assert empty.model == ""
    assert await sent(empty.body_for("m")) == part("model", b"m") + FILE + END
    for each in (found, empty):
        each.close()


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"no form at all",
        FILE,
        FILE[:-20],
        FILE + b"--XyZ",
        part("model", b"m") + part("model", b"other") + END,
        part("model", b"m" * 501) + END,
        part("model", b"m" * 50_000) + END,
        part("model", b"m\x00") + END,
        part("model", b"m\r\nX: y") + END,
        part("model", b"\xff") + END,
        b"--XyZ\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END,
        b"--XyZ\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END,
        b"--XyZ\r\n" + b"".join(b"H%d: x\r\n" % n for n in range(99)) + b"\r\nx\r\n" + END,
        b"--XyZ\r\nA: " + b"x" * 100_000 + b"\r\n\r\nx\r\n" + END,
    ],
)
@pytest.mark.parametrize("size", [1, 65_536])
async def test_what_is_no_form_is_refused(form: bytes, size: int) -> None:
    with pytest.raises(BadRequest) as caught:
        await upload(form, size)
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "text/plain", "multipart/mixed; boundary=x", ""]
)
def test_a_form_says_its_boundary(content_type: str) -> None:
    with pytest.raises(BadRequest):
        Upload(content_type, memory_bytes=10, directory=None)


async def test_a_transcription_by_openais_client(
    passing: Passing, upstream: OpenAIUpstream, tmp_path: Path
) -> None:
    (tmp_path / "a.wav").write_bytes(LARGE)
    upstream.play(whole(200, TEXT))
    found = await passing.sdk.audio.transcriptions.create(
        model="openai/whisper-1", file=tmp_path / "a.wav", language="en"
    )
    assert found.text == "Good morning"
    request = upstream.requests[0]
    assert request.path == "/v1/audio/transcriptions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert int(request.headers["content-length"]) == len(request.body)
    media_type, _, boundary = request.headers["content-type"].partition("; boundary=")
    assert media_type == "multipart/form-data"
    assert request.body.startswith(f"--{boundary}".encode())
    assert LARGE in request.body
    assert b'name="model"\r\n\r\nwhisper-1\r\n' in request.body
    assert b'name="language"\r\n\r\nen\r\n' in request.body
    assert [(call.model, call.status) for call in passing.calls] == [("whisper-1", "complete")]


async def test_a_transcription_as_text_and_as_events(
    passing: Passing, upstream: OpenAIUpstream
) -> None:
    upstream.play(whole(200, b"1\n00:00 --> 00:01\nHi\n", "text/plain; charset=utf-8"))
    text: Any = await passing.sdk.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", AUDIO), response_format="srt"
    )
    assert text == "1\n00:00 --> 00:01\nHi\n"
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 4, "total_tokens": 18}
    upstream.play(
        upstream.chunks(
            frame({"type": "transcript.text.delta", "delta": "Good"}),
            frame({"type": "transcript.text.done", "text": "Good", "usage": usage}),
        )
    )
    stream = await passing.sdk.audio.transcriptions.create(
        model="gpt-4o-transcribe", file=("a.wav", AUDIO), stream=True
    )
    assert [event.type async for event in stream] == [
        "transcript.text.delta",
        "transcript.text.done",
    ]
    assert passing.calls[1].usage.prompt_tokens == 14


async def test_translations_and_pictures(passing: Passing, upstream: OpenAIUpstream) -> None:
    upstream.play(whole(200, TEXT))
    # OpenAI's client has these two as deprecated.
    form: Any = {"data": {"model": "whisper-1"}, "files": {"file": ("a.wav", AUDIO)}}
    assert (await passing.http.post("/v1/audio/translations", **form)).json() == TEXT
    upstream.play(whole(200, {"created": 1, "data": [{"url": "https://pictures.example/1"}]}))
    await passing.sdk.images.edit(image=("a.png", b"png"), prompt="brighter")
    await passing.http.post("/v1/images/variations", **form)
    made = await passing.http.post("/v1/images/edits", json={"prompt": "x", "model": "m"})
    assert made.json()["data"][0]["url"] == "https://pictures.example/1"
    assert [request.path for request in upstream.requests] == [
        "/v1/audio/translations",
        "/v1/images/edits",
        "/v1/images/variations",
        "/v1/images/edits",
    ]
    # Without a model the provider takes its own.
    assert b'name="model"' not in upstream.requests[1].body
    assert b"brighter" in upstream.requests[1].body


async def test_a_form_goes_to_the_next_route_whole(
    passing_to: PassingTo, upstream: OpenAIUpstream
) -> None:
    async with OpenAIUpstream() as second:
        upstream.play(whole(500, {"error": {"message": "overloaded"}}))
        second.play(whole(200, TEXT))
        async with passing_to(
            providers={
                "one": {"base_url": upstream.base_url},
                "two": {"base_url": second.base_url},
            },
            models={"ears": {"route": ["one/a", "two/whisper-large"]}},
        ) as passing:
            found = await passing.sdk.audio.transcriptions.create(
                model="ears", file=("a.wav", LARGE)
            )
        assert found.text == "Good morning"
        assert LARGE in second.requests[0].body
        assert b"\r\n\r\nwhisper-large\r\n" in second.requests[0].body
        assert passing.calls[0].provider == "two"


async def test_a_form_over_its_limit_is_a_413(
    passing_to: PassingTo, upstream: OpenAIUpstream
) -> None:
    async with passing_to(
        openai_base_url=upstream.base_url, upload_bytes=50_000, body_bytes=2_000
    ) as passing:
        with pytest.raises(openai.APIStatusError) as caught:
            await passing.sdk.audio.transcriptions.create(
                model="whisper-1", file=("a.wav", b"x" * 60_000)
            )
        as_json = await passing.http.post(
            "/v1/images/edits", json={"model": "m", "prompt": "x" * 3_000}
        )
    assert caught.value.status_code == 413
    assert "50000 bytes" in caught.value.message
    assert as_json.status_code == 413
    assert "2000 bytes" in as_json.json()["detail"]
    assert upstream.requests == []


async def test_a_provider_without_audio_says_so(passing_to: PassingTo, poe: PoeUpstream) -> None:
    async with passing_to(poe_base_url=poe.base_url, poe_api_key="p-key-0123456789") as passing:
        with pytest.raises(openai.BadRequestError, match="has no transcriptions"):
            await passing.sdk.audio.transcriptions.create(model="GPT-4o", file=("a.wav", AUDIO))


async def test_without_keys_only_uploads_may_be_forms_and_no_foreign_page_sends_one(
    passing: Passing, upstream: OpenAIUpstream
) -> None:
    upstream.play(whole(200, TEXT))
    form = {"data": {"model": "m"}, "files": {"file": ("a.wav", AUDIO)}}
    path = "/v1/audio/transcriptions"
    assert (await passing.http.post(path, **form)).status_code == 200  # type: ignore[arg-type]
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        refused = await passing.http.post(path, headers=headers, **form)  # type: ignore[arg-type]
        assert refused.status_code == 403
    elsewhere = await passing.http.post("/v1/projects", **form)  # type: ignore[arg-type]
    assert elsewhere.status_code == 415
    urlencoded = await passing.http.post(path, data={"model": "m"})
    assert urlencoded.status_code == 415
    assert len(upstream.requests) == 1
    assert json.loads(urlencoded.text)["detail"]
