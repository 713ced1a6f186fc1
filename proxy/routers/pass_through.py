"""OpenAI's other endpoints: embeddings, legacy completions, pictures, audio, moderations.

A call goes to the provider of its model as bytes and comes back as bytes. It is counted and
limited like a chat completion, and its failures have the same shape.
"""

from typing import Any

from fastapi import Request, Response

from proxy.access.origins import UPLOADS
from proxy.access.reply_slots import begins_reply
from proxy.caller import CallerInfo
from proxy.dialects.chat_completions.stateless import Answer, Call
from proxy.dialects.endpoints import COMPLETIONS
from proxy.dialects.pass_through.answer import PassedOn
from proxy.dialects.pass_through.call import JsonContent, PassedCall
from proxy.dialects.pass_through.upload import Upload
from proxy.errors import TooLarge, UnsupportedMediaType
from proxy.providers.registry import Registry, Route
from proxy.schemas.common import ASKS_A_MODEL
from proxy.schemas.completions import read_passed
from proxy.schemas.pass_through import BYTES, STREAM, body_of, form_of, json_of
from proxy.web.dependencies import Caller
from proxy.web.handlers import is_json
from proxy.web.routes import api_router
from proxy.web.state import state_of

router = api_router("/v1", tag="Pass-through")

CHOOSES_ITSELF = frozenset(
    ("/moderations", "/images/generations", "/images/edits", "/images/variations")
)
"""Where a call that names no model has the provider's own default: no chat model can do it."""

FAILURES: dict[int | str, dict[str, Any]] = {
    status: said for status, said in ASKS_A_MODEL.items() if status != 200
}

ANSWER: dict[int | str, dict[str, Any]] = {
    **FAILURES,
    200: {
        "description": "The provider's answer as it came",
        "content": {"application/json": {"schema": {}}},
    },
}

_CHUNK = (
    'data: {"id":"cmpl-1","object":"text_completion","created":1769860800,"model":'
    '"gpt-3.5-turbo-instruct","choices":[{"index":0,"text":"Hello!","logprobs":null,'
    '"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)

AUDIO: dict[int | str, dict[str, Any]] = {
    **FAILURES,
    200: {
        "description": "The audio as it comes, or events",
        "content": {"audio/mpeg": {"schema": BYTES}},
    },
}

PICTURE = {"prompt": "A lighthouse at dusk", "model": "gpt-image-1"}
SPOKEN = {"file": "<audio>", "model": "whisper-1"}


@router.post(
    "/completions",
    summary="Legacy completion, as OpenAI's API has it",
    response_model=dict[str, Any],
    responses={
        **FAILURES,
        200: {
            "description": "A `text_completion`, or with `stream` its chunks as events",
            "content": {"text/event-stream": {"example": _CHUNK}},
        },
    },
    openapi_extra=body_of(
        json_of({"model": "gpt-3.5-turbo-instruct", "prompt": "Say hello"}, stream=STREAM)
    ),
)
@begins_reply
async def create_text_completion(request: Request, caller: Caller) -> Response:
    """Pass a prompt on; providers without this endpoint say so, their models chat."""
    raw, state = await _read_json(request), request.app.state
    state.engine.check_open()
    body = read_passed(raw)
    routes = await state.registry.resolve(body.get("model") or "")
    return Answer(Call(caller.owner, body, raw, routes, COMPLETIONS), state.engine, state.settings)


@router.post(
    "/embeddings",
    summary="Embeddings, as OpenAI's API has them",
    response_model=dict[str, Any],
    responses=ANSWER,
    openapi_extra=body_of(
        json_of({"model": "text-embedding-3-small", "input": ["a text", "another"]})
    ),
)
@begins_reply
async def create_embeddings(request: Request, caller: Caller) -> Response:
    """Return vectors of texts; `encoding_format` is the provider's affair."""
    return await _pass_on(request, caller, "/embeddings")


@router.post(
    "/moderations",
    summary="Moderation, as OpenAI's API has it",
    response_model=dict[str, Any],
    responses=ANSWER,
    openapi_extra=body_of(json_of({"model": "omni-moderation-latest", "input": "a text"})),
)
@begins_reply
async def create_moderation(request: Request, caller: Caller) -> Response:
    """Say whether a text is harmful; without a model the default provider takes its own."""
    return await _pass_on(request, caller, "/moderations")


@router.post(
    "/images/generations",
    summary="Make pictures, as OpenAI's API does",
    response_model=dict[str, Any],
    responses=ANSWER,
    openapi_extra=body_of(json_of(PICTURE, stream=STREAM)),
)
@begins_reply
async def create_image(request: Request, caller: Caller) -> Response:
    """Return pictures of a prompt; with `stream` the provider's events."""
    return await _pass_on(request, caller, "/images/generations")


@router.post(
    "/images/edits",
    summary="Change pictures, as OpenAI's API does",
    response_model=dict[str, Any],
    responses=ANSWER,
    openapi_extra=body_of(
        form_of({"image": "<png>", **PICTURE}, "image", "mask"), json_of(PICTURE, stream=STREAM)
    ),
)
@begins_reply
async def create_image_edit(request: Request, caller: Caller) -> Response:
    """Take a form with pictures, or JSON that names them, where the provider takes that."""
    return await _pass_on(request, caller, "/images/edits")


@router.post(
    "/images/variations",
    summary="Vary a picture, as OpenAI's API does",
    response_model=dict[str, Any],
    responses=ANSWER,
    openapi_extra=body_of(form_of({"image": "<png>", "model": "dall-e-2"}, "image")),
)
@begins_reply
async def create_image_variation(request: Request, caller: Caller) -> Response:
    """Take a form with one picture."""
    return await _pass_on(request, caller, "/images/variations")


@router.post(
    "/audio/speech",
    summary="Speak a text, as OpenAI's API does",
    response_class=Response,
    responses=AUDIO,
    openapi_extra=body_of(
        json_of({"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "Good morning"})
    ),
)
@begins_reply
async def create_speech(request: Request, caller: Caller) -> Response:
    """Pass audio on while it comes; with `stream_format` `sse` the provider's events."""
    return await _pass_on(request, caller, "/audio/speech")


@router.post(
    "/audio/transcriptions",
    summary="Write audio down, as OpenAI's API does",
    response_class=Response,
    responses=ANSWER,
    openapi_extra=body_of(form_of(SPOKEN, "file")),
)
@begins_reply
async def create_transcription(request: Request, caller: Caller) -> Response:
    """Take a form with an audio file; answer in JSON, text or events, as the form asks."""
    return await _pass_on(request, caller, "/audio/transcriptions")


@router.post(
    "/audio/translations",
    summary="Write audio down in English, as OpenAI's API does",
    response_class=Response,
    responses=ANSWER,
    openapi_extra=body_of(form_of(SPOKEN, "file")),
)
@begins_reply
async def create_translation(request: Request, caller: Caller) -> Response:
    """Take a form with an audio file."""
    return await _pass_on(request, caller, "/audio/translations")


async def _pass_on(request: Request, caller: CallerInfo, path: str) -> Response:
    state = state_of(request)
    settings = state.settings
    state.engine.check_open()
    content: JsonContent | Upload
    content_type = request.headers.get("content-type", "")
    if f"/v1{path}" in UPLOADS and not is_json(content_type):
        content = Upload(
            content_type,
            memory_bytes=settings.upload_memory_bytes,
            directory=settings.data_dir if settings.data_dir.is_dir() else None,
        )
        try:
            await content.read(request.stream())
            routes = await _routes(state.registry, path, content.model, can_leave_out=False)
        except BaseException:
            content.close()
            raise
    else:
        raw = await _read_json(request)
        body = read_passed(raw)
        content = JsonContent(body, raw, path)
        routes = await _routes(state.registry, path, body.get("model"))
    return PassedOn(PassedCall(caller.owner, path, routes, content), state.engine, settings)


async def _routes(
    registry: Registry, path: str, model: str | None, *, can_leave_out: bool = True
) -> list[Route]:
    # A form's field can be changed on its way, not left out.
    names_none = model is None or (can_leave_out and await registry.wanted(model) != model)
    if path in CHOOSES_ITSELF and names_none:
        return registry.unnamed()
    return await registry.resolve(model or "")


async def _read_json(request: Request) -> bytes:
    if not is_json(request.headers.get("content-type", "")):
        raise UnsupportedMediaType
    limit = state_of(request).settings.body_bytes
    parts: list[bytes] = []
    size = 0
    async for data in request.stream():
        size += len(data)
        if size > limit:
            raise TooLarge(f"A JSON body is at most {limit} bytes; send less at once")
        parts.append(data)
    return b"".join(parts)
