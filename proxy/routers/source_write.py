"""`POST /v1/write-source-code`: the changes that a model's reply describes, carried out."""

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncGenerator, Generator
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import Query, Request, Response
from starlette.concurrency import iterate_in_threadpool

from proxy.documents.project import Project, StoredProject
from proxy.errors import Forbidden, UnsupportedMediaType
from proxy.plans.diff import unified_diff
from proxy.responses import EventStream
from proxy.schemas.source_write import SourceWrite, SourceWriteEvent, read_source_write
from proxy.source_code.edit_paths import EditError
from proxy.source_code.edit_tree import TreeLimits
from proxy.source_code.edits import EditOptions, Edits, Event
from proxy.source_code.roots import SourceRoots
from proxy.sse import DONE, encode
from proxy.streaming.engine import Engine
from proxy.web.dependencies import AppSettings, Caller, ReplyEngine
from proxy.web.handlers import is_json
from proxy.web.routes import api_router
from proxy.web.state import state_of

router = api_router("/v1/write-source-code", tag="Projects")

PATH = router.prefix

log = logging.getLogger(__name__)

LEVELS = {"warning": {"info", "success"}, "error": {"info", "success", "warning"}}
"""The types of events that a `log_level` leaves out."""

_EVENTS = (
    'data: {"message":"[1/1] create_file src/hello.py","type":"progress",'
    '"timestamp":"2026-02-01T09:00:00.000Z","data":{"step_index":1,"title":"Step [1/1] - Say '
    'hello","action":"create_file","file_path":"src/hello.py"}}\n\n'
    'data: {"message":"Done: create_file src/hello.py","type":"success",'
    '"timestamp":"2026-02-01T09:00:00.004Z","data":{"step_index":1,"action":"create_file",'
    '"file_path":"src/hello.py"}}\n\n'
    'data: {"message":"1 of 1 steps done, 0 failed, 0 not understood","type":"summary",'
    '"timestamp":"2026-02-01T09:00:00.005Z","data":{"total_tasks":1,"successful_tasks":1,'
    '"failed_tasks":0,"invalid_tasks":0,"success_rate":"100.0%","execution_time":"0.01s"}}\n\n'
    "data: [DONE]\n\n"
)

# Written by hand: a large body is read in a thread.
DESCRIPTION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": SourceWrite.model_json_schema()}},
    }
}


@router.post(
    "",
    summary="Write a model's reply into a project's files",
    response_model=SourceWriteEvent,
    responses={
        200: {
            "description": "One event after the other, at last a `summary` and `[DONE]`",
            "content": {"text/event-stream": {"example": _EVENTS}},
        },
        403: {"description": "PROXY_SOURCE_WRITE is off, or the directory is no project's"},
    },
    openapi_extra=DESCRIPTION,
)
async def write_source_code(
    request: Request,
    caller: Caller,
    settings: AppSettings,
    engine: ReplyEngine,
    dry_run: bool = Query(False, description="Change nothing; `data.diff` is a unified diff"),
) -> Response:
    """Each block is one step: whole or not at all, and a bad one does not stop the others.

    What is replaced or deleted is kept in the server's data directory (`data.backup_path`).
    """
    if not settings.source_write:
        raise Forbidden(
            "This server does not write source code; its operator can allow it with "
            "PROXY_SOURCE_WRITE=true",
            code="source_write_off",
        )
    if not is_json(request.headers.get("content-type", "")):
        raise UnsupportedMediaType
    body = await asyncio.to_thread(read_source_write, await request.body())
    projects = await Project.newest_first(caller.owner)
    options = EditOptions(
        data_dir=settings.data_dir.resolve(),
        limits=TreeLimits(
            settings.source_write_file_bytes, settings.source_entries, settings.source_depth
        ),
        diff=unified_diff,
        dry_run=dry_run,
        keep_backups=body.backup_enabled,
        backup_days=settings.source_backup_days,
        redact=not settings.source_allow_unredacted,
        caller=caller.key_id or caller.owner or "-",
    )
    roots = state_of(request).source_roots
    allowed = await roots.of(caller.owner)
    edits = await asyncio.to_thread(_begin, body, projects, roots, allowed, options)
    hidden = LEVELS.get(body.log_level.strip().lower(), set())
    return EventStream(_frames(edits.run(), hidden, None if dry_run else engine))


def _begin(
    body: SourceWrite,
    projects: list[StoredProject],
    roots: SourceRoots,
    allowed: list[Path],
    options: EditOptions,
) -> Edits:
    """Open the directory of a project of the caller's.

    Raises:
        Forbidden: it is no project's, or outside of `source_roots`.
        NotFound: it is gone.
        Conflict: another call is writing there.
    """
    wanted = os.path.normpath(body.root_dir.strip())
    directories = {os.path.normpath(raw["ai_work_dir"]) for raw in projects if raw["ai_work_dir"]}
    if wanted not in directories:
        raise Forbidden(
            "root_dir: there is no project of yours with this source directory; set a project's "
            "'ai_work_dir' to it",
            param="root_dir",
        )
    root = roots.resolve(wanted, allowed)
    try:
        return Edits(root, body.files_content, options)
    except EditError as error:
        raise Forbidden(str(error)) from None


async def _frames(
    events: Generator[Event, None, None], hidden: set[str], engine: Engine | None
) -> AsyncGenerator[bytes, None]:
    """Give the frames of a run; with an engine it goes on to its end when its client is lost.

    Half of a change helps nobody.
    """
    try:
        async for event in iterate_in_threadpool(events):
            if event["type"] not in hidden:
                yield encode(event)
    except Exception:
        log.exception("a source write failed")
        yield encode({"error": {"message": "The server failed; its log says why"}})
    finally:
        if engine is None:
            await asyncio.to_thread(events.close)
        else:
            engine.in_background(asyncio.to_thread(partial(deque, events, 0)))
    yield DONE
