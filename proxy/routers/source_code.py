"""`/v1/projects/{id}/complete-source-code`: what people feed a model with."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from itertools import islice
from typing import Annotated, Any, Literal

import orjson
from fastapi import Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from proxy.documents.source_manifest import AnsweredDigest
from proxy.errors import Forbidden
from proxy.schemas.source_code import SourceCodeOut
from proxy.source_code.base import DigestOptions, Format, Tree
from proxy.source_code.result import Digest, chunks
from proxy.web.dependencies import AppSettings, Caller, LoadedProject
from proxy.web.routes import api_router
from proxy.web.state import state_of

router = api_router("/v1/projects", tag="Projects")

Pattern = Annotated[str, Query(max_length=1000)]
CLIENT_LEFT = 499
"""A status for the log: nobody reads the answer."""
NO_TEXT = "-no-text"
"""Ends the ETag of an answer without the text."""

_TREES: dict[str, Tree] = {"false": "none", "": "none", "true": "top", "only": "only"}


@router.get(
    "/{project_id}/complete-source-code",
    response_model=SourceCodeOut,
    summary="Get a project's source as one text",
    responses={
        200: {"content": {"text/plain": {}}},
        304: {"description": "The digest named by If-None-Match is still the same"},
        403: {"description": "The directory is not one that the server may read"},
        408: {"description": "Reading took too long"},
    },
)
async def get_complete_source_code(
    request: Request,
    caller: Caller,
    project: LoadedProject,
    settings: AppSettings,
    form: Annotated[Format, Query(alias="format")] = "plain",
    include: Annotated[list[Pattern], Query(max_length=20)] = [],  # noqa: B006
    exclude: Annotated[list[Pattern], Query(max_length=20)] = [],  # noqa: B006
    max_tokens: Annotated[int | None, Query(ge=1)] = None,
    tree: Literal["false", "true", "only", ""] = "false",
    since: Annotated[str, Query(max_length=200)] = "",
    lines: bool = False,
    redact: bool = True,
    text: bool = True,
    accept: Annotated[str, Header()] = "",
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    """Every text file that the project's own `.gitignore` files do not leave out, by path.

    `include` and `exclude` are gitignore-style patterns and may be repeated. `max_tokens`
    takes whole files by path as long as they fit. `since` is the ETag of an earlier
    answer: only files that changed since then are in the text. `Accept: text/plain`
    streams the text alone. With `text=false` everything but the text is answered: what a
    choice would send, before it is sent. Secrets are redacted.
    """
    if not redact and not settings.source_allow_unredacted:
        raise Forbidden("This server redacts secrets always; leave 'redact=false' out")
    options = DigestOptions(
        format=form,
        include=tuple(include),
        exclude=tuple(exclude),
        max_tokens=max_tokens,
        tree=_TREES[tree],
        lines=lines,
        redact=redact,
    )
    digests = state_of(request).digests
    directory = project.get("ai_work_dir")
    owner, id_, choice = caller.owner, project["_id"], _choice(directory, options)
    known: bool | None = None
    if since_etag := _bare(since):
        earlier = await AnsweredDigest.recall(owner, id_, f"{choice}:{since_etag}")
        known = earlier is not None
        options = replace(options, since=earlier)
    digest = await _while_connected(request, digests.make(owner, directory, options))
    if digest is None:
        return Response(status_code=CLIENT_LEFT)
    etag = await asyncio.to_thread(digest.etag)
    if options.tree != "only" and text:
        await AnsweredDigest.store(
            owner, id_, f"{choice}:{etag}", digest.manifest, kept=settings.source_answers
        )
    as_text = text and _quality(accept, "text/plain") > _quality(accept, "application/json")
    suffix = "-text" if as_text else "" if text else NO_TEXT
    headers = {
        "ETag": f'"{etag}{suffix}"',
        "Vary": "Accept",
        "Cache-Control": "private, no-cache",
    }
    if _matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if as_text:
        headers["X-Total-Tokens"] = str(digest.total_tokens)
        headers["X-Skipped"] = str(len(digest.skipped_rows))
        headers["Content-Length"] = str(digest.total_bytes)
        return StreamingResponse(_text(digest), media_type="text/plain", headers=headers)
    named = None if known is None else {"etag": since_etag, "known": known}
    return StreamingResponse(
        _json(digest, named, text), media_type="application/json", headers=headers
    )


async def _while_connected(request: Request, making: Coroutine[Any, Any, Digest]) -> Digest | None:
    """Return the digest; None, and its making given up, when the client left before."""

    async def leaves() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    made, left = asyncio.create_task(making), asyncio.create_task(leaves())
    try:
        await asyncio.wait((made, left), return_when=asyncio.FIRST_COMPLETED)
        return await made if made.done() else None
    finally:
        made.cancel()
        left.cancel()


def _choice(directory: str | None, options: DigestOptions) -> str:
    """Names the directory and the choice of its files: between others nothing is compared."""
    choice = (directory, options.include, options.exclude, options.redact)
    return hashlib.sha256(repr(choice).encode("utf-8", "replace")).hexdigest()[:16]


async def _text(digest: Digest) -> AsyncIterator[bytes]:
    for chunk in chunks(digest.pieces):
        yield chunk


async def _json(
    digest: Digest, since: dict[str, object] | None, text: bool
) -> AsyncIterator[bytes]:
    """Yield the body, without ever holding the escaped text as a whole."""
    yield b'{"completeSourceCode":"'
    for chunk in chunks(digest.pieces if text else ()):
        yield orjson.dumps(chunk.decode())[1:-1]
    yield b'","since":' + orjson.dumps(since) + b","
    for chunk in chunks(islice(digest.summary(), 1, None)):
        yield chunk


def _bare(etag: str) -> str:
    """Return what stands between the quotes, of the text's ETag that of the whole answer."""
    return etag.strip().removeprefix("W/").strip('"').removesuffix("-text").removesuffix(NO_TEXT)


def _matches(if_none_match: str, etag: str) -> bool:
    wanted = {item.strip().removeprefix("W/") for item in if_none_match.split(",")}
    return "*" in wanted or etag in wanted


def _quality(accept: str, media_type: str) -> float:
    """How much a client wants a type; of the ranges that name it the most exact counts."""
    best = (-1, 0.0)
    for item in accept.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        ranges = ["*/*", media_type.split("/", maxsplit=1)[0] + "/*", media_type]
        if name in ranges:
            given = next((p[2:] for p in parameters if p.startswith("q=")), "1")
            try:
                best = max(best, (ranges.index(name), float(given)))
            except ValueError:
                continue
    return best[1]
